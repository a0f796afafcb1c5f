//! The plugin with programs that answer as dspam does.

use super::*;
use crate::client::program::tests::Programs;
use crate::client::spamd;
use crate::config::files::Files;
use crate::plugins::tests::trial::Trial;

const LOGS_ARGS: &str = "echo \"$*\" >>$here/args; cat >$here/mail";

fn line(result: &str, probability: &str, confidence: &str) -> String {
    format!(
        "x; result=\"{result}\"; class=\"{result}\"; probability={probability}; \
         confidence={confidence}; signature=7,5f"
    )
}

struct Played {
    reply: String,
    log: Vec<String>,
    args: Vec<String>,
    /// What the program was given.
    mail: String,
    /// The fields of DSPAM, as delivered.
    fields: Vec<String>,
}

/// Delivers a mail. `says` is what the program prints; `before` are lines of plugins before ours.
fn play(says: &str, arguments: &str, before: &str, recipients: &[&str]) -> Played {
    let programs = Programs::new();
    let program = programs.shell("dspam", &format!("{LOGS_ARGS}\necho '{says}'"));
    let folder = programs.path("mails");
    let plugins = format!(
        "{before}dspam dspam_bin {} {arguments} loglevel +0\nrcpt_ok\nqueue/maildir {}\n",
        program.display(),
        folder.display()
    );
    let files = [("plugins", plugins.as_str()), ("rcpthosts", "example.com")];
    let mut trial = Trial::connect(&files, "192.0.2.1");
    trial.say("EHLO client.example");
    trial.say("MAIL FROM:<a@example.org>");
    for recipient in recipients {
        trial.say(&format!("RCPT TO:<{recipient}>"));
    }
    trial.say("DATA");
    let reply = trial.say("X-DSPAM-Result: Innocent\r\nX-DSPAM-Signature: 1\r\n\r\nbody\r\n.");
    let log = trial.take_log();
    let log = log.iter().filter_map(|line| line.strip_prefix("dspam: "));
    let log = log.map(str::to_string).collect();
    let mails = std::fs::read_dir(folder.join("new")).into_iter().flatten().flatten();
    let mails: Vec<_> = mails.map(|it| std::fs::read_to_string(it.path()).unwrap()).collect();
    let kept = mails.first().map(String::as_str).unwrap_or_default();
    let fields = kept.lines().filter(|line| line.starts_with("X-DSPAM")).map(str::to_string);
    let fields = fields.collect();
    let text = |name: &str| String::from_utf8(programs.read(name)).unwrap();
    let args = text("args").lines().map(str::to_string).collect();
    Played { reply, log, args, mail: text("mail"), fields }
}

#[test]
fn mail_is_marked() {
    let says = line("Innocent", "0.0023", "0.81");
    let played = play(&says, "", "", &["Tim@Example.com"]);
    assert!(played.reply.starts_with("250 "), "{}", played.reply);
    assert_eq!(played.log, ["pass, Innocent, 0.81 c."]);
    let fields = [
        "X-DSPAM-Result: Innocent, probability=0.0023, confidence=0.81",
        "X-DSPAM-Signature: 7,5f",
    ];
    assert_eq!(played.fields, fields);
    let args = "--user tim@example.com --mode=tum --process --deliver=summary --stdout";
    assert_eq!(played.args, [args]);
    assert!(played.mail.starts_with("X-Envelope-From: <a@example.org>\n"), "{}", played.mail);
    assert!(played.mail.ends_with("\n\nbody\n"), "{}", played.mail);
}

#[test]
fn names_of_recipients_are_no_code() {
    for (recipients, user) in [
        (&["tim@example.com", "tom@example.com"][..], "mailreeve"),
        (&["\"$(id)\"@example.com"], "mailreeve"),
        (&["`id`@example.com"], "mailreeve"),
        (&["-x@example.com"], "mailreeve"),
        (&["\"a b;c\"@example.com"], "mailreeve"),
        (&["_x+y@example.com"], "_x+y@example.com"),
    ] {
        let played = play(&line("Innocent", "0", "1"), "", "", recipients);
        let start = format!("--user {user} --mode=tum ");
        assert!(played.args.iter().all(|args| args.starts_with(&start)), "{:?}", played.args);
        assert_eq!(played.args.len(), 1, "{recipients:?}");
    }
}

#[test]
fn spam_is_refused_as_the_line_says() {
    const PLEASE: &str = "554 5.6.1 dspam says, no spam please";
    for (says, arguments, reply, log) in [
        (line("Spam", "1.0", "1.0"), "reject 0.95", PLEASE, "fail, Spam, 1.00 c."),
        (line("Spam", "1.0", "1.0"), "", "250 ", "pass, Spam, 1.00 c., probability is too low"),
        (line("Spam", "0.95", "1.0"), "reject .95", "250 ", {
            "pass, Spam, 1.00 c., probability is too low"
        }),
        (line("Spam", "1.0", "0.99"), "reject .95", "250 ", {
            "pass, Spam, 0.99 c., confidence is too low"
        }),
        (
            line("Spam", "1.0", "1.0"),
            "reject .95 reject_type temp",
            { "451 4.6.1 dspam says, no spam please" },
            "fail, Spam, 1.00 c.",
        ),
        (line("Whitelisted", "1.0", "1.0"), "reject .95", "250 ", "pass, Whitelisted, 1.00 c."),
        (line("Spam", "1.0", "1.0"), "reject agree", "250 ", {
            "pass, SpamAssassin has not said anything, Spam, 1.00 c."
        }),
        ("what".to_string(), "reject .5", "250 ", "error, dspam gives no verdict"),
    ] {
        let played = play(&says, arguments, "", &["tim@example.com"]);
        assert!(played.reply.starts_with(reply), "{arguments}: {}", played.reply);
        assert_eq!(played.log, [log], "{arguments}");
        let marked = reply == "250 " && !log.starts_with("error");
        assert_eq!(played.fields.len(), if marked { 2 } else { 0 }, "{:?}", played.fields);
    }
}

#[test]
fn spamassassin_agrees_or_corrects() {
    const AGREE: &str = "554 5.6.1 we agree, no spam please";
    for (name, ours, verdict, learn, arguments, reply, log) in [
        ("both", "Spam", "True", "no", "reject agree", AGREE, {
            &["karma -2 (-3)", "fail, we agree, Spam, 0.95 c."][..]
        }),
        ("ham", "Innocent", "False", "no", "reject agree", "250 ", {
            &["karma 1 (1)", "pass, we agree, Innocent, 0.95 c."]
        }),
        ("we", "Spam", "False", "no", "reject agree", "250 ", {
            &["pass, we disagree, Spam, 0.95 c."]
        }),
        ("they", "Innocent", "True", "no", "reject agree", "250 ", {
            &["pass, we disagree, Innocent, 0.95 c."]
        }),
        ("spam", "Innocent", "True", "spam", "autolearn spamassassin", "250 ", {
            &["pass, Innocent, learnt as spam"]
        }),
        ("none", "Spam", "False", "ham", "autolearn any reject agree", "250 ", {
            &["pass, Spam, learnt as ham"]
        }),
        ("same", "Spam", "True", "spam", "autolearn any", "250 ", {
            &["pass, Spam, 0.95 c., probability is too low"]
        }),
        ("off", "Spam", "False", "ham", "autolearn naughty", "250 ", {
            &["pass, Spam, 0.95 c., probability is too low"]
        }),
    ] {
        let status = format!("X-Spam-Status: Yes, score=1 autolearn={learn}\r\n\r\n");
        let answer = spamd::tests::answer(&format!("{verdict} ; 7 / 5"), &status);
        let (path, thread) = spamd::tests::serve(&format!("dspam-{name}"), answer, true);
        let before = format!("spamassassin spamd_socket {}\n", path.display());
        let played = play(&line(ours, "1", "0.95"), arguments, &before, &["tim@example.com"]);
        spamd::tests::heard(&path, thread);
        assert!(played.reply.starts_with(reply), "{name}: {}", played.reply);
        assert_eq!(played.log, log, "{name}");
        let lesson = match log.first().unwrap().rsplit_once("learnt as ") {
            Some((_, "spam")) => Some("--class=spam"),
            Some(_) => Some("--class=innocent"),
            None => None,
        };
        let said = lesson.map(|class| {
            format!(
                "--user tim@example.com --mode=toe --source=error {class} --deliver=summary \
                 --stdout"
            )
        });
        assert_eq!(played.args.get(1), said.as_ref(), "{name}");
    }
}

#[test]
fn arguments() {
    for (line, complaints) in [
        ("", 0),
        ("autolearn spamassassin reject 0.95", 0),
        ("dspam_bin /usr/bin/dspamc reject agree reject_type temp timeout 60 size_limit 1000", 0),
        ("dspam_bin dspam", 1),
        ("reject 1.1", 1),
        ("reject nan", 1),
        ("autolearn everything reject_type never", 2),
        ("timeout 0 size_limit 0", 2),
        ("more", 1),
    ] {
        let files = Files::in_memory([]);
        let mut problems = Vec::new();
        let mut args = Args::of(&format!("dspam {line}"));
        load(&mut args, &Setup::new(&files, &mut problems));
        assert_eq!(args.finish().len(), complaints, "{line}");
    }
}
