//! The plugin against a spamd of the test's own: what is asked, what is made of the answer.

use super::*;
use crate::client::spamd::tests::{answer, heard, serve};
use crate::config::files::Files;
use crate::plugins::tests::trial::Trial;
use std::path::PathBuf;

const TAKEN: &str = "250 ";

/// What a mail came to.
struct Played {
    reply: String,
    log: Vec<String>,
    /// What spamd was sent.
    question: String,
    /// The header as delivered, without Received and Authentication-Results; empty where refused.
    header: String,
}

struct Play<'a> {
    octets: Option<Vec<u8>>,
    closes: bool,
    arguments: &'a str,
    recipients: &'a [&'a str],
    header: &'a str,
    files: &'a [(&'a str, &'a str)],
}

impl Default for Play<'_> {
    fn default() -> Self {
        Play {
            octets: Some(answer("False ; -0.1 / 5.0", HAM)),
            closes: true,
            arguments: "",
            recipients: &["tim@example.com"],
            header: "Subject: x",
            files: &[],
        }
    }
}

const HAM: &str = "X-Spam-Checker-Version: SA 4\r\nX-Spam-Status: No, score=-0.1 required=5.0 \
    tests=A autolearn=ham\r\nX-Spam-Report: long\r\n\r\n";
const SPAM: &str = "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7.5 required=5.0 tests=A,\r\n\tB \
    autolearn=no\r\n\r\n";

fn spam() -> Option<Vec<u8>> {
    Some(answer("True ; 7.5 / 5.0", SPAM))
}

fn play(name: &str, it: Play<'_>) -> Played {
    let (path, thread) = match it.octets {
        Some(octets) => {
            let (path, thread) = serve(&format!("plugin-{name}"), octets, it.closes);
            (path, Some(thread))
        }
        None => (PathBuf::from("/nowhere/spamd.sock"), None),
    };
    let folder = std::env::temp_dir().join(format!("spamassassin-{}-{name}", std::process::id()));
    let _old = std::fs::remove_dir_all(&folder);
    let plugins = format!(
        "relay\nspamassassin spamd_socket {} {} loglevel +0\nrcpt_ok\nqueue/maildir {}\n",
        path.display(),
        it.arguments,
        folder.display()
    );
    let mut files = vec![("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
    files.extend(it.files);
    let mut trial = Trial::connect(&files, "192.0.2.1");
    trial.say("EHLO client.example");
    trial.say("MAIL FROM:<a@example.org>");
    for recipient in it.recipients {
        trial.say(&format!("RCPT TO:<{recipient}>"));
    }
    trial.say("DATA");
    let reply = trial.say(&format!("{}\r\n\r\nbody\r\n\r\n.", it.header));
    let log = trial.take_log();
    let log = log.iter().filter_map(|line| line.strip_prefix("spamassassin: "));
    let log = log.map(str::to_string).collect();
    let question = thread.map(|it| heard(&path, it)).unwrap_or_default();
    let mails = std::fs::read_dir(folder.join("new")).into_iter().flatten().flatten();
    let mails: Vec<_> = mails.map(|it| std::fs::read_to_string(it.path()).unwrap()).collect();
    let _done = std::fs::remove_dir_all(&folder);
    let header = mails.first().map(|mail| mail.split("\n\n").next().unwrap().replace('\r', ""));
    Played { reply, log, question, header: ours_out(&header.unwrap_or_default()) }
}

/// The header without the daemon's own fields and its folds.
fn ours_out(header: &str) -> String {
    let unfolded = header.replace("\n\t", " ").replace("\n ", " ");
    let is_ours = |line: &&str| {
        ["Received:", "Authentication-Results:", "Return-Path:", "Delivered-To:"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    unfolded.lines().filter(|line| !is_ours(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn ham_passes_with_its_fields() {
    let played = play("ham", Play { arguments: "reject 12", ..Play::default() });
    assert!(played.reply.starts_with(TAKEN), "{}", played.reply);
    assert_eq!(played.log, ["karma 1 (1)", "pass, Ham, -0.1 < 12.0, learn=ham"]);
    assert_eq!(
        played.header,
        "X-Spam-Checker-Version: SA 4\nX-Spam-Status: No, score=-0.1 required=5.0 tests=A \
         autolearn=ham\nSubject: x"
    );
    let question = played.question;
    assert!(question.contains("\r\nUser: tim\r\n\r\nX-Envelope-From: <a@example.org>\r\n"));
    assert!(question.contains("Authentication-Results: mx.example.net"), "{question}");
    assert!(question.contains("Received: from ") && question.ends_with("\r\n\r\nbody\r\n\r\n"));
}

#[test]
fn spam_is_refused_as_the_line_says() {
    const SCORE: &str = "spam score exceeded threshold [7.1]";
    for (name, arguments, reply, log) in [
        ("none", "", TAKEN, "error, reject disabled (Spam, 7.5, learn=no)"),
        ("zero", "reject 0", TAKEN, "error, reject disabled (Spam, 7.5, learn=no)"),
        ("high", "reject 12", TAKEN, "fail, tolerated, Spam, 7.5 < 12.0, learn=no"),
        ("old", "reject_threshold 7.5", "554 5.7.1 ", "fail, Spam, 7.5, > 7.5, learn=no"),
        ("prefs", "reject userprefs", "554 5.7.1 ", "fail, Spam, 7.5, > 5.0, learn=no"),
        ("soft", "reject 5 reject_type temp", "451 4.7.1 ", "fail, Spam, 7.5, > 5.0, learn=no"),
    ] {
        let played = play(name, Play { octets: spam(), arguments, ..Play::default() });
        let text = if reply == TAKEN { String::new() } else { format!("{reply}{SCORE}") };
        assert!(played.reply.starts_with(reply), "{name}: {}", played.reply);
        assert!(text.is_empty() || text == played.reply, "{name}: {}", played.reply);
        assert_eq!(played.log, ["karma -1 (-1)", log], "{name}");
    }
}

#[test]
fn fields_of_others_are_not_believed() {
    const FORGED: &str = "X-Spam-Status: No, score=-9\r\nX-Spam-User: root\r\nX-SPAM-Level: *\r\n\
                          Subject: x";
    const OURS: &str = "X-Spam-Flag: YES\nX-Spam-Status: Yes, score=7.5 required=5.0 tests=A, B \
                        autolearn=no";
    const RENAMED: &str = "X-Old-Spam-Status: No, score=-9\nX-Old-Spam-Level: *";
    const KEPT: &str = "X-Spam-Status: No, score=-9\nX-SPAM-Level: *";
    for (name, arguments, expected) in [
        ("rename", "", format!("{OURS}\n{RENAMED}\nSubject: x")),
        ("drop", "leave_old_headers drop", format!("{OURS}\nSubject: x")),
        ("keep", "leave_old_headers keep", format!("{OURS}\n{KEPT}\nSubject: x")),
        ("bare", "headers none", format!("{RENAMED}\nSubject: x")),
    ] {
        let it = Play { octets: spam(), arguments, header: FORGED, ..Play::default() };
        assert_eq!(play(name, it).header, expected, "{name}");
    }
    let absent = play("forged", Play { octets: None, header: FORGED, ..Play::default() });
    assert_eq!(absent.header, format!("{RENAMED}\nSubject: x"));
    let it = Play { octets: None, arguments: "size_limit 50", header: FORGED, ..Play::default() };
    let large = play("large", it);
    assert_eq!(large.header, format!("{RENAMED}\nSubject: x"));
    assert!(
        large.log.len() == 1 && large.log[0].starts_with("skip, too large ("),
        "{:?}",
        large.log
    );
}

#[test]
fn the_user_is_the_recipients_or_the_sites() {
    let two: &[&str] = &["tim@example.com", "tom@example.com"];
    let one: &[&str] = &["Tim@example.com"];
    let odd: &[&str] = &["\"../x\"@example.com"];
    let dash: &[&str] = &["-x@example.com"];
    for (name, arguments, recipients, user) in [
        ("one", "", one, "tim"),
        ("two", "", two, "mailreeve"),
        ("odd", "", odd, "mailreeve"),
        ("dash", "", dash, "mailreeve"),
        ("site", "spamd_user spam", one, "spam"),
        ("site2", "spamd_user spam per_user domain", one, "example.com/tim"),
        ("vpopmail", "spamd_user vpopmail", one, "tim@example.com"),
        ("vpopmail2", "spamd_user vpopmail", two, "vpopmail"),
        ("no", "per_user no", one, "mailreeve"),
    ] {
        let played = play(name, Play { arguments, recipients, ..Play::default() });
        assert!(played.question.contains(&format!("\r\nUser: {user}\r\n")), "{name}");
        let said = played.header.contains(&format!("X-Spam-User: {user}, 2 recipients"));
        assert_eq!(said, recipients.len() > 1, "{name}: {}", played.header);
    }
    let files: &[(&str, &str)] = &[("user", "smtpd:mail")];
    let played = play("file", Play { recipients: two, files, ..Play::default() });
    assert!(played.question.contains("\r\nUser: smtpd\r\n"), "{}", played.question);
}

#[test]
fn subjects_get_a_prefix() {
    let file: &[(&str, &str)] = &[("subject_prefix", "[junk mail]")];
    for (name, arguments, header, files, subject) in [
        ("munge", "munge_subject_threshold 5", "Subject: x", &[][..], "*** SPAM *** x"),
        ("below", "munge_subject_threshold 7.5", "Subject: x", &[], "x"),
        ("word", "munge_subject_threshold 2 subject_prefix [S]", "Subject: x", &[], "[S] x"),
        ("line", "munge_subject_threshold 2", "Subject: x", file, "[junk mail] x"),
        ("without", "munge_subject_threshold 2", "To: x", &[], "*** SPAM ***"),
    ] {
        let it = Play { octets: spam(), arguments, header, files, ..Play::default() };
        let header = play(name, it).header;
        let seen = header.lines().find_map(|line| line.strip_prefix("Subject: "));
        assert_eq!(seen, Some(subject), "{name}");
    }
    let it = Play { arguments: "munge_subject_threshold -5", ..Play::default() };
    assert!(play("hamlet", it).header.contains("\nSubject: x"), "it is no spam for spamd");
}

#[test]
fn without_a_verdict_the_mail_passes_and_the_log_says_so() {
    let half = answer("True ; 99 / 5", SPAM);
    let half = half.get(..half.len() - 20).unwrap().to_vec();
    for (name, octets, closes, expected) in [
        ("absent", None, true, "error, Could not connect to spamd: No such file or directory"),
        ("hangs", Some(Vec::new()), false, "error, Connection timed out"),
        (
            "dies",
            Some(half),
            true,
            "error, spamd closed the connection in the middle of its answer",
        ),
        (
            "garbage",
            Some(b"\x1b[2J`\r\n".to_vec()),
            true,
            "error, invalid response from spamd: ?[2J\\x60",
        ),
    ] {
        let arguments = "reject 1 timeout 1";
        let played = play(name, Play { octets, closes, arguments, ..Play::default() });
        assert!(played.reply.starts_with(TAKEN), "{name}: {}", played.reply);
        assert_eq!(played.log, [expected], "{name}");
        assert_eq!(played.header, "Subject: x", "{name}");
    }
}

#[test]
fn arguments() {
    for (line, complaints) in [
        ("", 0),
        ("reject 12 munge_subject_threshold 5 relayclient skip", 0),
        ("spamd_socket /run/spamd.sock leave_old_headers drop headers none timeout 30", 0),
        ("spamd_socket [::1]:783 reject_type soft size_limit 100000", 0),
        ("spamd_socket localhost:1783 spamd_user vpopmail", 0),
        ("spamd_socket spam.example:783", 1),
        ("spamd_socket spamd", 1),
        ("reject naughty", 1),
        ("reject_type never", 1),
        ("leave_old_headers perhaps headers some per_user who relayclient check", 4),
        ("spamd_user -x", 1),
        ("timeout 0 size_limit 0", 2),
        ("more", 1),
    ] {
        let files = Files::in_memory([]);
        let mut problems = Vec::new();
        let mut args = Args::of(&format!("spamassassin {line}"));
        load(&mut args, &Setup::new(&files, &mut problems));
        assert_eq!(args.finish().len(), complaints, "{line}");
    }
}
