//! The plugin against an Rspamd of the test's own: what is asked, what is made of the answer.

use super::*;
use crate::client::rspamd::tests::{answer, heard, serve, verdict};
use crate::config::files::Files;
use crate::plugins::tests::trial::Trial;
use std::path::PathBuf;

/// What a mail came to.
struct Played {
    reply: String,
    log: Vec<String>,
    /// What Rspamd was sent.
    question: String,
    /// The header as delivered, without the daemon's own fields; empty where refused.
    header: String,
}

/// Delivers a mail; `octets` is what Rspamd says, None if there is none.
fn play(name: &str, octets: Option<(Vec<u8>, bool)>, arguments: &str, header: &str) -> Played {
    let server = octets.map(|(octets, closes)| serve(&format!("plugin-{name}"), octets, 1, closes));
    let nowhere = PathBuf::from("/nowhere/rspamd.sock");
    let path = server.as_ref().map_or(&nowhere, |(path, _)| path);
    let folder = std::env::temp_dir().join(format!("rspamd-{}-mails-{name}", std::process::id()));
    let _old = std::fs::remove_dir_all(&folder);
    let plugins = format!(
        "relay\nrspamd socket {} {arguments} loglevel +0\nrcpt_ok\nqueue/maildir {}\n",
        path.display(),
        folder.display()
    );
    let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
    let mut trial = Trial::connect(&files, "192.0.2.1");
    trial.say("EHLO client.example");
    trial.say("MAIL FROM:<a@example.org>");
    trial.say("RCPT TO:<tim@example.com>");
    trial.say("RCPT TO:<tom@example.com>");
    trial.say("DATA");
    let reply = trial.say(&format!("{header}\r\n\r\nbody\r\n\r\n."));
    let log = trial.take_log();
    let log = log.iter().filter_map(|line| line.strip_prefix("rspamd: "));
    let log = log.map(str::to_string).collect();
    let question = server.map(|(path, thread)| heard(&path, thread)).unwrap_or_default();
    let mails = std::fs::read_dir(folder.join("new")).into_iter().flatten().flatten();
    let mails: Vec<_> = mails.map(|it| std::fs::read_to_string(it.path()).unwrap()).collect();
    let _done = std::fs::remove_dir_all(&folder);
    let header = mails.first().map(|mail| mail.split("\n\n").next().unwrap().replace('\r', ""));
    Played { reply, log, question, header: ours_out(&header.unwrap_or_default()) }
}

fn ours_out(header: &str) -> String {
    let unfolded = header.replace("\n\t", " ").replace("\n ", " ");
    let is_ours = |line: &&str| {
        ["Received:", "Authentication-Results:", "Return-Path:", "Delivered-To:"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    unfolded.lines().filter(|line| !is_ours(line)).collect::<Vec<_>>().join("\n")
}

fn said(action: &str, score: &str) -> Option<(Vec<u8>, bool)> {
    Some((answer(&verdict(action, score)), false))
}

#[test]
fn rspamd_is_told_of_client_and_envelope() {
    let played = play("told", said("no action", "1.5"), "", "Subject: x");
    assert!(played.reply.starts_with("250 "), "{}", played.reply);
    assert_eq!(played.log, ["pass, no action, 1.5 of 15.0"]);
    assert_eq!(
        played.header,
        "X-Spam-Status: No, score=1.5 required=15.0 tests=A, B_2\nSubject: x"
    );
    let (head, message) = played.question.split_once("\r\n\r\n").unwrap();
    let (_, fields) = head.split_once("Content-Length: ").unwrap();
    let fields: Vec<&str> = fields.lines().skip(1).collect();
    assert_eq!(
        fields,
        [
            "IP: 192.0.2.1",
            "Helo: client.example",
            "Queue-Id: 7",
            "From: <a@example.org>",
            "Rcpt: <tim@example.com>",
            "Rcpt: <tom@example.com>",
        ]
    );
    assert!(message.starts_with("Authentication-Results: mx.example.net"), "{message}");
    assert!(message.contains("\r\nSubject: x\r\n\r\nbody\r\n\r\n"), "{message}");
}

#[test]
fn each_action_is_done() {
    const SCORE: &str = "554 5.7.1 spam score exceeded threshold [7.1]";
    const SOFT: &str = "451 4.7.1 spam score exceeded threshold [7.1]";
    const LATER: &str = "451 4.7.1 Please try again later [7.1]";
    for (name, action, score, arguments, reply, words) in [
        ("reject", "reject", "20", "", SCORE, "fail, reject, 20.0 of 15.0, refused"),
        ("temp", "reject", "20", "reject_type temp", SOFT, "fail, reject, 20.0 of 15.0, refused"),
        ("no", "reject", "20", "reject no", "", "fail, tolerated, reject, 20.0 of 15.0"),
        ("high", "reject", "20", "reject 20.5", "", "fail, tolerated, reject, 20.0 of 15.0"),
        ("low", "add header", "7", "reject 7", SCORE, "fail, add header, 7.0 of 15.0, refused"),
        ("add", "add header", "7", "", "", "fail, tolerated, add header, 7.0 of 15.0"),
        (
            "soft",
            "soft reject",
            "5",
            "reject no",
            LATER,
            "fail, soft reject, 5.0 of 15.0, deferred",
        ),
        ("grey", "greylist", "5", "greylist defer", LATER, "fail, greylist, 5.0 of 15.0, deferred"),
        ("grey2", "greylist", "5", "", "", "pass, greylist, 5.0 of 15.0"),
        ("throw", "discard", "9", "", "", "fail, tolerated, discard, 9.0 of 15.0"),
    ] {
        let played = play(name, said(action, score), arguments, "Subject: x");
        let expected = if reply.is_empty() { "250 " } else { reply };
        assert!(played.reply.starts_with(expected), "{name}: {}", played.reply);
        let spam = !["greylist", "soft reject"].contains(&action);
        let karma = spam.then_some("karma -1 (-1)");
        assert_eq!(played.log, karma.into_iter().chain([words]).collect::<Vec<_>>(), "{name}");
        let kept = reply.is_empty() && action != "discard";
        assert_eq!(!played.header.is_empty(), kept, "{name}: {}", played.header);
        assert_eq!(played.header.contains("X-Spam-Flag: YES"), kept && spam, "{name}");
    }
}

#[test]
fn subjects_are_rewritten() {
    let own =
        verdict("rewrite subject", "9").replace("\"time_real", "\"subject\":\"S: x\",\"time_real");
    for (name, body, arguments, header, subject) in [
        ("own", own.clone(), "", "Subject: x", "S: x"),
        ("own-new", own, "", "To: x", "S: x"),
        ("prefix", verdict("rewrite subject", "9"), "", "Subject: x", "*** SPAM *** x"),
        ("word", verdict("rewrite subject", "9"), "subject_prefix [S]", "Subject: x", "[S] x"),
        ("no", verdict("add header", "9"), "", "Subject: x", "x"),
    ] {
        let played = play(name, Some((answer(&body), true)), arguments, header);
        let subjects = played.header.lines().filter_map(|line| line.strip_prefix("Subject: "));
        assert_eq!(subjects.collect::<Vec<_>>(), [subject], "{name}");
    }
}

#[test]
fn fields_of_others_are_not_believed() {
    const FORGED: &str = "X-Spam-Status: No, score=-9\r\nX-Spam-User: root\r\nSubject: x";
    const OURS: &str = "X-Spam-Status: No, score=1.0 required=15.0 tests=A, B_2";
    const RENAMED: &str = "X-Old-Spam-Status: No, score=-9";
    for (name, arguments, expected) in [
        ("rename", "", format!("{OURS}\n{RENAMED}\nSubject: x")),
        ("drop", "leave_old_headers drop", format!("{OURS}\nSubject: x")),
        ("bare", "headers none", format!("{RENAMED}\nSubject: x")),
        ("large", "max_size 50", format!("{RENAMED}\nSubject: x")),
    ] {
        let played = play(name, said("no action", "1"), arguments, FORGED);
        assert_eq!(played.header, expected, "{name}");
    }
    assert_eq!(play("forged", None, "", FORGED).header, format!("{RENAMED}\nSubject: x"));
}

#[test]
fn without_a_verdict_the_mail_passes_or_waits() {
    let whole = answer(&verdict("reject", "99"));
    let half = whole.get(..whole.len() - 20).unwrap().to_vec();
    for (name, octets, expected) in [
        ("absent", None, "error, Could not connect to rspamd: No such file or directory"),
        ("hangs", Some((Vec::new(), false)), "error, Connection timed out"),
        ("dies", Some((half, true)), "error, it closed the connection"),
        ("unknown", said("explode", "1"), "error, rspamd wants what is not known here: explode"),
        (
            "garbage",
            Some((b"\x1b[2J`\r\n\r\n".to_vec(), true)),
            "error, invalid response from rspamd: ?[2J\\x60",
        ),
    ] {
        let played = play(name, octets.clone(), "timeout 1", "Subject: x");
        assert!(played.reply.starts_with("250 "), "{name}: {}", played.reply);
        assert_eq!(played.log, [expected], "{name}");
        assert_eq!(played.header, "Subject: x", "{name}");
        let deferred = play(name, octets, "timeout 1 defer_on_error yes", "Subject: x");
        assert!(deferred.reply.starts_with("451 4.3.0 Unable to check for spam"), "{name}");
        assert_eq!(deferred.log, [format!("{expected}, deferred")], "{name}");
    }
}

#[test]
fn arguments() {
    for (line, complaints) in [
        ("", 0),
        ("reject 12 relayclient skip defer_on_error yes greylist pass", 0),
        ("socket /run/rspamd.sock leave_old_headers drop headers none timeout 30", 0),
        ("socket [::1]:11333 reject_type temp max_size 100000 reject no", 0),
        ("socket rspamd.example:11333", 1),
        ("reject naughty", 1),
        ("reject_type never greylist perhaps defer_on_error maybe", 3),
        ("timeout 0 max_size 0", 2),
        ("more", 1),
    ] {
        let files = Files::in_memory([]);
        let mut problems = Vec::new();
        let mut args = Args::of(&format!("rspamd {line}"));
        load(&mut args, &Setup::new(&files, &mut problems));
        assert_eq!(args.finish().len(), complaints, "{line}");
    }
}
