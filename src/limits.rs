//! Every bound in the program: its value, why it is that, and the dialogue that proves it.
//!
//! A client, a DNS answer or a config file can make nothing grow past what stands here. A test
//! (`tests/tidy.rs`) checks that each bound a client can reach names a dialogue that exists.

use std::time::Duration;

/// Longest command line in octets, CR LF included (RFC 5321 4.5.3.1.4 asks for 512).
/// dialogue: limits/command-line
pub const COMMAND_LINE_MAX: usize = 2_048;

/// Longest line of AUTH in octets, CR LF included: a response of 12,288 (RFC 4954 section 4) behind
/// `AUTH ` and the longest name of a mechanism. dialogue: limits/auth-line
pub const AUTH_LINE_MAX: usize = 12_288 + 5 + 20 + 3;

/// A line in the dialogue that has not ended after this many octets ends the session.
/// dialogue: limits/command-flood
pub const COMMAND_FLOOD_MAX: usize = 64 * 1_024;

/// Longest line of a message in octets without its CR LF; longer ones refuse the message.
/// dialogue: limits/text-line
pub const TEXT_LINE_MAX: usize = 1_024 * 1_024;

/// Longest local part in octets (RFC 5321 4.5.3.1.1). dialogue: limits/local-part
pub const LOCAL_PART_MAX: usize = 64;

/// Longest domain in octets (RFC 5321 4.5.3.1.2). dialogue: limits/domain
pub const DOMAIN_MAX: usize = 255;

/// Longest label of a domain in octets (RFC 1035 2.3.4). dialogue: limits/domain
pub const LABEL_MAX: usize = 63;

/// Longest path in octets, angle brackets and source route included (RFC 5321 4.5.3.1.3 asks for
/// 256; a full local part and domain are 322, and a route may stand before them).
/// dialogue: limits/path
pub const PATH_MAX: usize = 1_024;

/// Recipients of one message (RFC 5321 4.5.3.1.8 asks for 100); more get 452 4.5.3.
/// dialogue: limits/recipients
pub const RECIPIENTS_MAX: usize = 1_000;

/// Refused recipients over `RECIPIENTS_MAX` before they count as errors.
pub const RECIPIENTS_OVERSHOOT: usize = 1_000;

/// ESMTP parameters of one MAIL or RCPT. dialogue: limits/parameters
pub const PARAMETERS_MAX: usize = 16;

/// Failed logins of one connection before 421. dialogue: auth/too-many
pub const LOGIN_FAILURES_MAX: u32 = 3;

/// Failed logins from one network (IPv4 address, IPv6 /64) within [`LOGIN_MEMORY`] after which one more
/// ends a connection.
pub const LOGIN_FAILURES_OF_NETWORK: u32 = 10;

/// How long failed logins are remembered of a network.
pub const LOGIN_MEMORY: Duration = Duration::from_secs(3_600);

/// Longest that the answer to a failed login is held back.
pub const LOGIN_DELAY_MAX: Duration = Duration::from_secs(16);

/// Time for the PROXY header of a connection. Proven in `tests/daemon/proxy.rs`.
pub const PROXY_TIME_MAX: Duration = Duration::from_secs(3);

/// Time for a TLS handshake.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a client whose handshake failed is offered no STARTTLS.
pub const TLS_REST: Duration = Duration::from_secs(3_600);

/// Addresses that are remembered for a failed handshake, and networks for failed logins.
pub const REMEMBERED_MAX: usize = 4_096;

/// Refused commands in a session before each further reply is delayed.
pub const ERRORS_SOFT: u32 = 10;

/// Refused commands in a session before 421. dialogue: limits/errors
pub const ERRORS_HARD: u32 = 20;

/// Commands without a message between two messages (NOOP, RSET, EHLO, VRFY, HELP, QUIT aside)
/// before 421. dialogue: limits/junk-commands
pub const JUNK_COMMANDS_MAX: u32 = 100;

/// Commands answered 503 after a 554 greeting before the connection is closed.
/// dialogue: limits/refused-greeting
pub const REFUSED_COMMANDS_MAX: u32 = 20;

/// BDAT chunks of one message. dialogue: limits/chunks
pub const CHUNKS_MAX: u32 = 100_000;

/// Header block of a message in octets. dialogue: limits/header-block
pub const HEADER_BLOCK_MAX: usize = 1_024 * 1_024;

/// Fields in a header block. dialogue: limits/header-fields
pub const HEADER_FIELDS_MAX: usize = 1_000;

/// `Received:` fields before a message is taken to loop (RFC 5321 6.3 asks for at least 100).
/// dialogue: limits/received
pub const RECEIVED_MAX: usize = 100;

/// Parts of one message, nested messages' parts included; what lies behind them is not taken apart.
pub const MIME_PARTS_MAX: usize = 1_000;

/// How deep parts may lie in one another; deeper ones are not taken apart.
pub const MIME_DEPTH_MAX: usize = 100;

/// Octets of an encoded container (a message in base64) that are decoded to be taken apart.
pub const MIME_UNPACKED_MAX: usize = 4 * 1_024 * 1_024;

/// Encoded containers within one another that are taken apart.
pub const MIME_UNPACKED_DEPTH_MAX: usize = 4;

/// Attributes of one TNEF stream, and properties of one attribute, that are looked at.
pub const TNEF_ATTRIBUTES_MAX: usize = 10_000;

/// Attachments of one TNEF stream that are looked at.
pub const TNEF_ATTACHMENTS_MAX: usize = 1_000;

/// Messages within one another in TNEF that are looked at.
pub const TNEF_DEPTH_MAX: usize = 10;

/// Octets that the compressed text of a message in TNEF may have.
pub const TNEF_TEXT_MAX: usize = 4 * 1_024 * 1_024;

/// Entries of all zip archives of one message that are looked at.
pub const ZIP_ENTRIES_MAX: usize = 10_000;

/// Octets that are inflated of all zip archives of one message.
pub const ZIP_INFLATED_MAX: usize = 64 * 1_024 * 1_024;

/// Compressed archives within one another that are looked at.
pub const ZIP_DEPTH_MAX: usize = 4;

/// URIs of one message that are looked at.
pub const URIS_MAX: usize = 10_000;

/// Foreign text in one log line, octets; the rest is cut with a mark.
pub const LOG_TEXT_MAX: usize = 1_000;

/// Lines waiting for the log thread; when the ring is full lines are dropped and counted.
pub const LOG_RING_LINES: usize = 8_192;

/// Octets of log lines waiting for the log thread.
pub const LOG_RING_BYTES: usize = 2 * 1_024 * 1_024;

/// One line of a reply in octets, CR LF included (RFC 5321 4.5.3.1.5).
pub const REPLY_LINE_MAX: usize = 512;

/// Lines of one reply that a plugin gives.
pub const REPLY_LINES_MAX: usize = 20;

/// A config file in octets; a larger one is an error.
pub const CONFIG_FILE_MAX: u64 = 16 * 1_024 * 1_024;

/// Folders with settings of single recipients (`DOMAIN`, `DOMAIN/USER`).
pub const OWN_FOLDERS_MAX: usize = 4_096;

/// A database of networks and places in octets; it is held in memory. City files are of 60 to 120 MiB.
pub const GEO_FILE_MAX: u64 = 256 * 1_024 * 1_024;

/// A line of a config file in octets.
pub const CONFIG_LINE_MAX: usize = 64 * 1_024;

/// Files one setting may `$include`, nested ones counted.
pub const CONFIG_INCLUDES_MAX: usize = 100;

/// Time that the plugins of one hook may wait for answers, all together.
pub const HOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// The same behind the end of the message.
pub const MESSAGE_HOOK_TIME_MAX: Duration = Duration::from_secs(20);

/// Times that one hook's plugins are run again because answers came in.
pub const HOOK_ROUNDS_MAX: u32 = 32;

/// Questions of one hook's plugins.
pub const HOOK_QUESTIONS_MAX: usize = 150;

/// Octets of answers that one hook's plugins are given.
pub const HOOK_ANSWERS_MAX: usize = 64 * 1_024;

/// Octets of an answer that is small, and may have the last quarter of [`HOOK_ANSWERS_MAX`]: a policy is
/// told in less, a DKIM key of 4,096 bits too.
pub const SMALL_ANSWER_MAX: usize = 1_024;

/// Octets of answers over all sessions; above it questions are answered "nobody knows".
pub const ANSWERS_IN_MEMORY_MAX: usize = 16 * 1_024 * 1_024;

/// A run of a plugin in the event loop that takes longer is logged with its name.
pub const INLINE_RUN_MAX: Duration = Duration::from_millis(2);

/// Message text gathered before it goes to the spool file, octets. Each session has at most two such
/// blocks: one that fills and one on its way to the disk.
pub const BODY_BLOCK: usize = 64 * 1_024;

/// Message text in memory over all sessions, octets; above it bodies go to the spool at once.
pub const BODIES_IN_MEMORY_MAX: usize = 16 * 1_024 * 1_024;

/// Replies waiting for a client that does not read; nothing more of its input is read above this.
pub const OUTPUT_MAX: usize = 64 * 1_024;

/// Octets read from one client in one turn.
pub const TURN_OCTETS: usize = 128 * 1_024;

/// Connections accepted from one listener in one turn.
pub const ACCEPTS_PER_TURN: usize = 64;

/// A session is ended at the next command after this.
pub const SESSION_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Message text has to come faster than this on average, octets per second, once the idle limit's
/// worth of time has passed.
pub const DATA_RATE_MIN: u64 = 500;

/// How much longer than the idle limit a slow message may take before it counts as slow, so that
/// silence is called silence.
pub const DATA_GRACE: Duration = Duration::from_secs(10);

/// When message text that began to come at `since` has come too slowly, `octets` so far.
pub fn slowest_text(since: Duration, octets: u64, idle_limit: Duration) -> Duration {
    since + idle_limit + DATA_GRACE + Duration::from_secs(octets / DATA_RATE_MIN)
}

/// Idle limit while more than 80 % of all connections are in use.
pub const STRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// After the last reply unread input is thrown away for this long, so that the client can read it.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// Octets thrown away after the last reply.
pub const LINGER_OCTETS_MAX: usize = 256 * 1_024;

/// Time for messages in hand when the daemon is told to stop.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(30);
