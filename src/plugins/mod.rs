//! The registry: every plugin by name, with the names it had before.
//!
//! Adding a plugin is a file and a line here. Names of qpsmtpd 0.84 to 1.0 are aliases that say once
//! what the plugin is called now; plugins of that time that are not built are entries that say why
//! and what to use instead, so that an upgrade never keeps mail down.

pub mod auth;
pub mod ident;
pub mod load;
pub mod logging;
pub mod queue;
pub mod virus;

pub mod attachment;
pub mod autowhitelist_relayrcpt;
pub mod badmailfrom;
pub mod badmailfromto;
pub mod badrcptto;
pub mod bcc;
pub mod bogus_bounce;
pub mod check_goodrcptto;
pub mod check_smtp_forward;
pub mod connection_time;
pub mod content_log;
pub mod count_unrecognized_commands;
pub mod denysoft_multi_rcpt;
pub mod disclaimer;
pub mod dkim;
pub mod dkim_sign;
pub mod dmarc;
pub mod dns_whitelist_soft;
pub mod dnsbl;
pub mod dont_require_anglebrackets;
pub mod dspam;
pub mod earlytalker;
pub mod exe_filter;
pub mod fcrdns;
pub mod greylisting;
pub mod handler;
pub mod headers;
pub mod helo;
pub mod hosts_allow;
pub mod karma;
pub mod loadcheck;
pub mod r#loop;
pub mod milter;
pub mod naughty;
pub mod noop_counter;
pub mod peers;
pub mod per_user_config;
pub mod quit_fortune;
pub mod rcpt_map;
pub mod rcpt_ok;
pub mod rcpt_regexp;
pub mod relay;
pub mod resolvable_fromhost;
pub mod rhsbl;
pub mod rspamd;
pub mod sender_permitted_from;
pub mod spamassassin;
pub mod tls;
pub mod tnef2mime;
pub mod uribl;
pub mod whitelist;

use crate::plugin::log::Output;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Plugin};
use std::sync::Arc;

include!(concat!(env!("OUT_DIR"), "/headers.rs"));

/// Makes a plugin of its line.
pub type Loader = fn(&mut Args, &Setup<'_>) -> Arc<dyn Plugin>;

/// What stands behind a name.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A plugin.
    Plugin(Loader),
    /// A logger: a line of the file `logging`.
    Logger(fn(&[&str]) -> Result<Output, String>),
    /// The line `peers`: the lists under `peers/` take its place.
    Peers,
    /// The line `tls`: the certificate, which the daemon itself offers.
    Tls,
    /// Not built: why, and what to use instead.
    Gone(&'static str),
}

/// One name.
pub struct Entry {
    /// As lines and logs spell it.
    pub name: &'static str,
    /// Names it had before, or has elsewhere.
    pub aliases: &'static [&'static str],
    /// What it is.
    pub kind: Kind,
    /// It judges what is known of a client's address or name: users on a listener for submission are
    /// spared it.
    pub reputation: bool,
}

const fn plugin(name: &'static str, aliases: &'static [&'static str], load: Loader) -> Entry {
    Entry { name, aliases, kind: Kind::Plugin(load), reputation: false }
}

/// A plugin that judges what is known of the client's address or name.
const fn reputation(name: &'static str, aliases: &'static [&'static str], load: Loader) -> Entry {
    Entry { name, aliases, kind: Kind::Plugin(load), reputation: true }
}

const fn logger(name: &'static str, load: fn(&[&str]) -> Result<Output, String>) -> Entry {
    Entry { name, aliases: &[], kind: Kind::Logger(load), reputation: false }
}

const fn gone(name: &'static str, why: &'static str) -> Entry {
    Entry { name, aliases: &[], kind: Kind::Gone(why), reputation: false }
}

/// All names, in alphabetical order.
pub static REGISTRY: &[Entry] = &[
    plugin("attachment", &[], attachment::load),
    plugin("auth/auth_checkpassword", &["auth_checkpassword"], auth::auth_checkpassword::load),
    plugin("auth/auth_cvm_unix_local", &["auth_cvm_unix_local"], auth::auth_cvm_unix_local::load),
    plugin("auth/auth_flat_file", &["auth_flat_file"], auth::auth_flat_file::load),
    plugin("auth/auth_imap", &["auth_imap"], auth::auth_imap::load),
    plugin("auth/auth_ldap_bind", &["auth_ldap_bind"], auth::auth_ldap_bind::load),
    gone(
        "auth/auth_vpopmail",
        "the libraries of vpopmail are not read; let its program vchkpw check passwords",
    ),
    gone(
        "auth/auth_vpopmail_sql",
        "the tables of vpopmail are not read; let its program vchkpw check passwords",
    ),
    gone(
        "auth/auth_vpopmaild",
        "vpopmaild is not asked; let the program vchkpw of vpopmail check passwords",
    ),
    plugin("auth/authdeny", &["authdeny"], auth::authdeny::load),
    plugin("auth/dovecot", &[], auth::dovecot::load),
    plugin("auth/system", &[], auth::system::load),
    plugin("autowhitelist_relayrcpt", &[], autowhitelist_relayrcpt::load),
    plugin(
        "badmailfrom",
        &["check_badmailfrom", "check_badmailfrom_patterns", "badmailfrom_patterns"],
        badmailfrom::load,
    ),
    plugin("badmailfromto", &["check_badmailfromto"], badmailfromto::load),
    plugin(
        "badrcptto",
        &["check_badrcptto", "check_badrcptto_patterns", "badrcptto_patterns"],
        badrcptto::load,
    ),
    plugin("bcc", &[], bcc::load),
    plugin("bogus_bounce", &["check_bogus_bounce"], bogus_bounce::load),
    plugin("check_goodrcptto", &[], check_goodrcptto::load),
    plugin("check_smtp_forward", &[], check_smtp_forward::load),
    plugin("connection_time", &[], connection_time::load),
    plugin("content_log", &[], content_log::load),
    plugin("count_unrecognized_commands", &[], count_unrecognized_commands::load),
    plugin("denysoft_multi_rcpt", &[], denysoft_multi_rcpt::load),
    plugin("disclaimer", &[], disclaimer::load),
    plugin("dkim", &[], dkim::load),
    plugin("dkim_sign", &[], dkim_sign::load),
    plugin("dmarc", &[], dmarc::load),
    reputation("dns_whitelist_soft", &["async/dns_whitelist_soft"], dns_whitelist_soft::load),
    reputation("dnsbl", &["async/dnsbl", "check_dnsbl"], dnsbl::load),
    gone("domainkeys", "DomainKeys gave way to DKIM in 2007, and nobody signs with it any more"),
    plugin("dont_require_anglebrackets", &[], dont_require_anglebrackets::load),
    plugin("dspam", &[], dspam::load),
    reputation(
        "earlytalker",
        &["async/check_earlytalker", "async/earlytalker", "check_earlytalker"],
        earlytalker::load,
    ),
    plugin("exe_filter", &[], exe_filter::load),
    reputation("fcrdns", &["check_fcrdns"], fcrdns::load),
    reputation("greylisting", &["denysoft_greylist"], greylisting::load),
    plugin("handler", &[], handler::load),
    plugin("headers", &["check_basicheaders"], headers::load),
    reputation("helo", &["check_spamhelo"], helo::load),
    gone("help", "HELP is answered by the daemon itself, in a few lines"),
    plugin("hosts_allow", &[], hosts_allow::load),
    gone(
        "http_config",
        "settings are read from the config folder only; fetch them into it by a timer",
    ),
    reputation("ident/geoip", &["geoip"], ident::geoip::load),
    reputation("ident/p0f", &["p0f"], ident::p0f::load),
    reputation("karma", &[], karma::load),
    plugin("loadcheck", &[], loadcheck::load),
    logger("logging/adaptive", logging::adaptive::load),
    gone("logging/apache", "there is no Apache to log for; use logging/file or logging/syslog"),
    gone(
        "logging/connection_id",
        "it never worked; every log line carries the number of its connection",
    ),
    logger("logging/devnull", logging::devnull::load),
    logger("logging/file", logging::file::load),
    plugin("logging/logterse", &["logterse"], logging::logterse::load),
    logger("logging/syslog", logging::syslog::load),
    gone(
        "logging/transaction_id",
        "it never worked; replies and logs carry the numbers of connection and message",
    ),
    logger("logging/warn", logging::warn::load),
    plugin("loop", &["check_loop"], r#loop::load),
    plugin("milter", &[], milter::load),
    plugin("naughty", &[], naughty::load),
    plugin("noop_counter", &[], noop_counter::load),
    gone(
        "parse_addr_withhelo",
        "addresses and parameters are parsed by the daemon itself, by RFC 5321",
    ),
    Entry { name: "peers", aliases: &[], kind: Kind::Peers, reputation: false },
    plugin("per_user_config", &[], per_user_config::load),
    gone(
        "qmail_deliverable",
        "what its daemon is asked over HTTP is written down nowhere; list the mailboxes in \
         goodrcptto for check_goodrcptto, or let check_smtp_forward ask the server that has them",
    ),
    plugin("queue/discard", &[], queue::discard::load),
    plugin("queue/exim-bsmtp", &[], queue::exim_bsmtp::load),
    plugin("queue/lmtp", &[], queue::lmtp::load),
    plugin("queue/maildir", &["maildir"], queue::maildir::load),
    plugin("queue/pipe", &[], queue::pipe::load),
    gone(
        "queue/postfix-queue",
        "the protocol of Postfix's cleanup is its own and changes with its releases; use \
         queue/smtp-forward to a smtpd of that Postfix on loopback",
    ),
    plugin("queue/qmail-queue", &[], queue::qmail_queue::load),
    plugin("queue/smtp-forward", &[], queue::smtp_forward::load),
    plugin("quit_fortune", &[], quit_fortune::load),
    gone("random_error", "it refuses good mail at random; test clients with a dialogue instead"),
    plugin("rcpt_map", &[], rcpt_map::load),
    plugin("rcpt_ok", &[], rcpt_ok::load),
    plugin("rcpt_regexp", &[], rcpt_regexp::load),
    plugin("relay", &["check_relay", "check_norelay", "norelay", "relay_only"], relay::load),
    plugin(
        "resolvable_fromhost",
        &[
            "async/require_resolvable_fromhost",
            "async/resolvable_fromhost",
            "require_resolvable_fromhost",
        ],
        resolvable_fromhost::load,
    ),
    reputation("rhsbl", &["async/rhsbl", "check_rhsbl"], rhsbl::load),
    plugin("rspamd", &[], rspamd::load),
    reputation("sender_permitted_from", &[], sender_permitted_from::load),
    plugin("spamassassin", &[], spamassassin::load),
    gone("stunnel", "a client could name its own address; PROXY headers belong to the file listen"),
    Entry { name: "tls", aliases: &[], kind: Kind::Tls, reputation: false },
    gone("tls_cert", "it made weak certificates; `mailreeve tls selfsigned NAME` makes a good one"),
    plugin("tnef2mime", &[], tnef2mime::load),
    plugin("uribl", &["async/uribl"], uribl::load),
    gone("user_config", "no plugin of qpsmtpd ever asked it, so nothing is lost with it"),
    gone("virus/aveclient", "this scanner is no longer sold; scan with ClamAV"),
    gone("virus/bitdefender", "this scanner is no longer sold; scan with ClamAV"),
    gone("virus/check_for_hi_virus", "it looked for one virus of 2004; scan with ClamAV"),
    plugin("virus/clamav", &["clamav"], virus::clamav::load),
    plugin("virus/clamdscan", &["clamdscan"], virus::clamdscan::load),
    gone("virus/hbedv", "this scanner is no longer sold; scan with ClamAV"),
    gone(
        "virus/kavscanner",
        "this scanner is no longer sold, and it never refused anything; scan with ClamAV",
    ),
    gone("virus/klez_filter", "it looked for one virus of 2002; scan with ClamAV"),
    plugin("virus/pattern_filter", &["pattern_filter"], virus::pattern_filter::load),
    gone("virus/sophie", "this scanner is no longer maintained; scan with ClamAV"),
    gone("virus/uvscan", "this scanner is no longer sold; scan with ClamAV"),
    plugin("whitelist", &["whitelist_soft"], whitelist::load),
];

/// Finds an entry by its name or an old one.
pub fn find(name: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.name == name || entry.aliases.contains(&name))
}

/// The manual of a plugin: the header of its file.
pub fn manual(entry: &Entry) -> Option<&'static str> {
    let file = entry.name.replace('-', "_");
    HEADERS.iter().find(|(name, _)| *name == file).map(|(_, header)| *header)
}

#[cfg(test)]
mod tests;
