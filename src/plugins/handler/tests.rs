//! Messages with a score through the plugin.

use super::*;
use crate::config::files::Files;
use crate::mail::headers::{clean_utf8, unfold};
use crate::plugin::Loaded;
use crate::plugins::tests::trial::Trial;

/// Names and points.
type Scores = &'static [(&'static str, i32)];

/// Gives each message a score, and takes it with a text that says for whom and about what.
struct Filter(Scores);

impl Plugin for Filter {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message, Hook::Queue])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        self.0.iter().for_each(|(name, points)| cx.score(name, *points));
        Ok(Verdict::Declined)
    }

    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        let (Some(message), Some(envelope)) = (cx.message(), cx.envelope()) else {
            return Ok(Verdict::Declined);
        };
        let header = message.current.header(message.received);
        let subject = message.current.headers().first(header, "Subject");
        let subject = subject.map(|field| clean_utf8(&unfold(field.value), 100));
        let recipients: Vec<_> = envelope.recipients.iter().map(Address::plain).collect();
        let (to, about) = (recipients.join(" "), subject.unwrap_or_default());
        Ok(Verdict::Ok(Some(format!("{to}: {about}").into())))
    }
}

/// The reply to a message with these scores, and what the plugin has logged.
fn send(line: &str, files: &[(&str, &str)], scores: Scores) -> (String, Vec<String>) {
    let plugins = format!("rcpt_ok\n{line}\nqueue/discard\n");
    let mut all = vec![("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
    all.extend(files);
    let filter = Loaded::plain("filter", Arc::new(Filter(scores)));
    let mut trial = Trial::connect_with(&all, "192.0.2.1", vec![filter]);
    for command in
        ["EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"]
    {
        trial.say(command);
    }
    let reply = trial.say("Subject: x\r\n\r\ntext\r\n.");
    let reply = reply.split(" [").next().unwrap_or_default().to_string();
    let log = trial.take_log();
    let ours = log.iter().filter_map(|line| line.strip_prefix("handler: "));
    (reply, ours.map(str::to_string).collect())
}

#[test]
fn the_first_threshold_that_is_reached_counts() {
    const ALL: &str = "handler reject_threshold 20-30 drop_threshold 15 redirect_threshold=10 \
        redirect_recipient spam@example.com munge_threshold 5 subject_prefix SPAM:";
    const TAKEN: &str = "250 2.0.0 b@example.com: x";
    const MOVED: &str = "250 2.0.0 spam@example.com: x";
    const DROPPED: &str = "250 2.0.0 Queued!";
    let refused = |score: &str| format!("554 5.7.1 spam_score of {score} exceeded threshold");
    let rows: &[(Scores, &str, &str)] = &[
        (&[], TAKEN, "skip, no spam_score"),
        (&[("virus_score", 25)], TAKEN, "skip, no spam_score"),
        (&[("spam_score", 4)], TAKEN, "pass, spam_score 4.0"),
        (&[("spam_score", -7)], TAKEN, "pass, spam_score -7.0"),
        (
            &[("spam_score", 2), ("spam_score", 3)],
            "250 2.0.0 b@example.com: SPAM: x",
            "fail, spam_score 5.0, subject marked",
        ),
        (&[("spam_score", 10)], MOVED, "fail, spam_score 10.0, redirected to spam@example.com"),
        (&[("spam_score", 15)], DROPPED, "fail, spam_score 15.0, dropped"),
        (&[("spam_score", 20)], &refused("20.0"), "fail, spam_score 20.0"),
        (&[("spam_score", 30)], &refused("30.0"), "fail, spam_score 30.0"),
        (&[("spam_score", 31)], DROPPED, "fail, spam_score 31.0, dropped"),
        (
            &[("spam_score", i32::MAX), ("spam_score", i32::MAX)],
            DROPPED,
            "fail, spam_score 2147483647.0, dropped",
        ),
    ];
    for (scores, reply, log) in rows {
        let (said, logged) = send(ALL, &[], scores);
        assert_eq!((said.as_str(), logged), (*reply, vec![log.to_string()]), "{scores:?}");
    }
}

#[test]
fn a_file_and_another_score() {
    let text = "note virus_score\nreject_threshold 1\nreject_note No viruses, please (%n is %v)\n";
    let files = [("handler", text)];
    let (said, _) = send("handler", &files, &[("virus_score", 1)]);
    assert_eq!(said, "554 5.7.1 No viruses, please (virus_score is 1.0)");
    let (said, _) = send("handler reject_threshold 2", &files, &[("virus_score", 1)]);
    assert_eq!(said, "250 2.0.0 b@example.com: x");
    let files = [("vhandler", text), ("subject_prefix", "JUNK:")];
    let line = "handler munge_threshold 5\nhandler:vhandler";
    let (said, _) = send(line, &files, &[("virus_score", 0), ("spam_score", 5)]);
    assert_eq!(said, "250 2.0.0 b@example.com: JUNK: x");
    let (said, _) = send(line, &files, &[("virus_score", 2), ("spam_score", 5)]);
    assert_eq!(said, "554 5.7.1 No viruses, please (virus_score is 2.0)");
}

#[test]
fn arguments() {
    for (line, file, complaints, problems) in [
        ("handler", "", 0, 0),
        ("handler reject_threshold -2-5.5 drop_threshold=3", "", 0, 0),
        ("handler redirect_threshold 3 redirect_recipient a@example.com", "", 0, 0),
        ("handler", "redirect_threshold 3\nredirect_recipient a@example.com", 0, 0),
        ("handler reject_threshold many", "", 1, 0),
        ("handler reject_threshold 5-", "", 1, 0),
        ("handler reject_threshold 5-4", "", 1, 0),
        ("handler drop_threshold 5-6", "", 1, 0),
        ("handler redirect_threshold 3", "", 1, 0),
        ("handler redirect_threshold 3 redirect_recipient a@b@c", "", 1, 0),
        ("handler 5", "", 1, 0),
        ("handler", "reject 5\nreject_note", 0, 2),
    ] {
        let files = Files::in_memory([("handler".to_string(), file.to_string())]);
        let mut found = Vec::new();
        let mut args = Args::of(line);
        load(&mut args, &Setup::new(&files, &mut found));
        assert_eq!((args.finish().len(), found.len()), (complaints, problems), "{line} {file}");
    }
}
