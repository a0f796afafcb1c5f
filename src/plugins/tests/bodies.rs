//! Bodies that a plugin makes anew: large ones, and such as their header does not get along with.

use crate::mail::edit::Edit;
use crate::mail::new_body::NewBody;
use crate::plugin::content::Contents;
use crate::plugin::{Cx, Hook, HookSet, Hooked, Loaded, Plugin, Verdict};
use crate::plugins::tests::trial::Trial;
use std::io::Write;
use std::sync::Arc;

/// Octets of the line that bodies are made of.
const LINE: &[u8] = b"A line of a body that is made anew.\r\n";

/// Gives each message a body of so many lines and a field of this name; takes it with what it is then.
struct Writes {
    lines: usize,
    field: &'static str,
}

impl Plugin for Writes {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message, Hook::Queue])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        let mut draft = cx.draft(self.lines * LINE.len())?;
        (0..self.lines).for_each(|_| draft.write_all(LINE).expect("there is room"));
        let contents = draft.finish().expect("a spool of the test's own");
        let spooled = matches!(contents, Contents::File(..));
        cx.replace_body(NewBody::new(contents));
        cx.insert_header(self.field, if spooled { "spooled" } else { "in memory" });
        Ok(Verdict::Declined)
    }

    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        let Ok(whole) = cx.whole(&message)? else { return Ok(Verdict::Declined) };
        let text = String::from_utf8_lossy(whole.octets()).into_owned();
        let (header, body) = text.split_once("\r\n\r\n").expect("a header and a body");
        let field = header.lines().find_map(|line| line.strip_prefix("X-Made: "));
        let words = format!("{}: {} octets", field.unwrap_or("as it came"), body.len());
        Ok(Verdict::Ok(Some(words.into())))
    }
}

#[test]
fn a_body_is_replaced_with_its_header_or_not_at_all() {
    for (lines, field, want) in [
        (0, "X-Made", "in memory: 0 octets"),
        (10, "X-Made", "in memory: 370 octets"),
        (10_000, "X-Made", "spooled: 370000 octets"),
        (10, "no name", "as it came: 6 octets"),
    ] {
        let files = [("plugins", "rcpt_ok\nqueue/discard\n"), ("rcpthosts", "example.com")];
        let plugin = Loaded::plain("writes", Arc::new(Writes { lines, field }));
        let mut trial = Trial::connect_with(&files, "192.0.2.1", vec![plugin]);
        for command in
            ["EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"]
        {
            trial.say(command);
        }
        let reply = trial.say("Subject: x\r\n\r\ntext\r\n.");
        assert!(reply.starts_with(&format!("250 2.0.0 {want}")), "{reply}");
        let failed = trial.take_log().iter().any(|line| line.contains("could not be changed"));
        assert_eq!(failed, field != "X-Made", "{field}");
    }
}

/// Makes each message another by these edits.
struct Edits(Vec<Edit>);

impl Plugin for Edits {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        self.0.iter().for_each(|edit| cx.edit(edit.clone()));
        Ok(Verdict::Declined)
    }
}

/// What filters of attachments come to, behind these edits, on a message with this header and body.
fn filtered(plugin: &str, header: &str, body: &str, edits: Vec<Edit>) -> String {
    let plugins = format!("rcpt_ok\n{plugin}\nqueue/discard\n");
    let files = [
        ("plugins", plugins.as_str()),
        ("rcpthosts", "example.com"),
        ("attachment_deny", ".exe\nmagic:exe"),
        ("signatures_exe", "TVqQ"),
    ];
    let edits = Loaded::plain("edits", Arc::new(Edits(edits)));
    let mut trial = Trial::connect_with(&files, "192.0.2.1", vec![edits]);
    for command in
        ["EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"]
    {
        trial.say(command);
    }
    trial.say(&format!("{header}\r\n{body}\r\n."))
}

#[test]
fn attachments_are_judged_as_edits_before_have_left_them() {
    const MULTIPART: &str = "multipart/mixed; boundary=b";
    const PROGRAM: &str = "--b\r\nContent-Type: application/x; name=a.exe\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA\r\n--b--\r\n";
    let field = |value: &str| format!("Content-Type: {value}\r\n");
    let change = |value: &str| {
        let (name, value) = ("Content-Type".to_string(), value.to_string());
        Edit::Change { name, nth: 0, value }
    };
    let body = |text: &str| Edit::ReplaceBody(NewBody::new(text.as_bytes().to_vec()));
    let note = Edit::Append { name: "X-Note".into(), value: "seen".into() };
    let (multipart, text) = (field(MULTIPART), field("text/plain"));
    for plugin in ["attachment", "exe_filter action deny"] {
        for (what, header, sent, edits, is_refused) in [
            ("as it came", &multipart, PROGRAM, vec![], true),
            ("another field", &multipart, PROGRAM, vec![note.clone()], true),
            ("the type is made another", &text, PROGRAM, vec![change(MULTIPART)], true),
            ("both are made others", &text, "x", vec![change(MULTIPART), body(PROGRAM)], true),
            ("the body is made another", &multipart, PROGRAM, vec![body("--b--\r\n")], false),
            ("the type is made text", &multipart, PROGRAM, vec![change("text/plain")], false),
            ("clean", &text, "x", vec![note.clone()], false),
        ] {
            let reply = filtered(plugin, header, sent, edits);
            let expected = if is_refused { "554 5.7.1 " } else { "250 " };
            assert!(reply.starts_with(expected), "{plugin}, {what}: {reply}");
        }
    }
}
