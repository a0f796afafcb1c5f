//! Plays a script against a wire, which is a visit in virtual time or a daemon behind a socket.

use crate::dialogue::script::{End, Script, Step, What, matches};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Lines of the transcript that a failure shows, and how long each may be.
const SHOWN_LINES: usize = 40;
const SHOWN_WIDTH: usize = 200;

/// The client's side of a connection.
pub(crate) trait Wire {
    fn send(&mut self, octets: &[u8]);
    fn end(&mut self, end: End);
    /// The client's end of a TLS handshake, and why it failed.
    fn tls(&mut self, certificate: Option<&str>) -> Result<(), String>;
    /// The next line of the server, waited for.
    fn line(&mut self) -> Said;
    /// Something of the server is there already.
    fn is_pending(&self) -> bool;
    fn wait(&mut self, duration: Duration);
    /// Everything logged so far.
    fn log(&mut self) -> Vec<String>;
    /// The folder below which messages are delivered.
    fn folder(&self) -> &Path;
    /// How long log lines and messages may take to appear.
    fn patience(&self) -> Duration;
    /// The client goes; what the server said beside the script, or did wrong.
    fn finish(&mut self) -> Result<(), String>;
}

/// What came of waiting for a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Line(String),
    Closed,
    Nothing,
}

impl Display for Said {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Said::Line(line) => f.write_str(line),
            Said::Closed => f.write_str("<closed>"),
            Said::Nothing => f.write_str("nothing came, and the connection is open"),
        }
    }
}

/// What went wrong, where, and what was said before.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    transcript: Vec<String>,
}

impl Failure {
    pub(crate) fn of(what: &str) -> Failure {
        Failure { what: what.to_string(), transcript: Vec::new() }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let skipped = self.transcript.len().saturating_sub(SHOWN_LINES);
        if skipped > 0 {
            write!(f, "\n    ({skipped} lines)")?;
        }
        for line in self.transcript.iter().skip(skipped) {
            let shown: String = line.chars().take(SHOWN_WIDTH).collect();
            write!(f, "\n    {shown}{}", if shown.len() < line.len() { "…" } else { "" })?;
        }
        Ok(())
    }
}

/// Plays all steps, up to the first that fails.
pub(crate) fn play(script: &Script, wire: &mut dyn Wire) -> Result<(), Failure> {
    let mut transcript = Vec::new();
    let mut more = false;
    for step in &script.steps {
        if let Err(what) = one_step(step, wire, &mut transcript, &mut more) {
            let line = script.text.get(step.at).map_or("", String::as_str);
            let place = format!("tests/dialogues/{}.txt:{}", script.name, step.at + 1);
            let what = format!("{place}:\n  expected: {line}\n  got:      {what}");
            return Err(Failure { what, transcript });
        }
    }
    wire.finish().map_err(|what| Failure {
        what: format!("tests/dialogues/{}.txt: at the end: {what}", script.name),
        transcript,
    })
}

fn one_step(
    step: &Step,
    wire: &mut dyn Wire,
    transcript: &mut Vec<String>,
    more: &mut bool,
) -> Result<(), String> {
    match &step.what {
        What::Send(octets) => {
            let shown: String = octets.iter().take(SHOWN_WIDTH).map(|&it| shown(it)).collect();
            transcript.push(format!("C: {shown}"));
            wire.send(octets);
        }
        What::Expect(count, pattern) => {
            for number in 1..=*count {
                let said = heard(wire, transcript);
                match &said {
                    Said::Line(line) if matches(pattern, line) => {
                        *more = is_continued(line);
                    }
                    _ if *count > 1 => return Err(format!("{said} (line {number} of them)")),
                    _ => return Err(said.to_string()),
                }
            }
        }
        What::Rest => {
            while std::mem::take(more) {
                match heard(wire, transcript) {
                    Said::Line(line) => *more = is_continued(&line),
                    other => return Err(other.to_string()),
                }
            }
        }
        What::Closed => match heard(wire, transcript) {
            Said::Closed => {}
            other => return Err(other.to_string()),
        },
        What::Wait(duration) => {
            transcript.push(format!("+ {duration:?}"));
            wire.wait(*duration);
        }
        What::Tls(certificate) => {
            transcript.push("C! tls".to_string());
            wire.tls(certificate.as_deref())?;
        }
        What::End(end) => {
            transcript.push(format!("C! {end:?}"));
            wire.end(*end);
        }
        What::Log(..) | What::Mail(..) | What::MailOctets(_) | What::MailCount(_) => {
            let from = Instant::now();
            while let Err(what) = look(&step.what, wire) {
                if from.elapsed() >= wire.patience() {
                    return Err(what);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    Ok(())
}

/// Judges the log or the messages as they are now.
fn look(what: &What, wire: &mut dyn Wire) -> Result<(), String> {
    let listed = |lines: Vec<String>| lines.iter().map(|line| format!("\n    {line}")).collect();
    match what {
        What::Log(wanted, text) => {
            let (log, pattern) = (wire.log(), format!("*{text}*"));
            let found = log.iter().any(|line| matches(&pattern, line));
            if found == *wanted { Ok(()) } else { Err(listed(log)) }
        }
        What::Mail(wanted, pattern) => {
            let mails = mails(wire.folder());
            let lines: Vec<String> = mails
                .iter()
                .flat_map(|mail| mail.split(|octet| *octet == b'\n'))
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            let found = lines.iter().any(|line| matches(pattern, line));
            if found == *wanted { Ok(()) } else { Err(listed(lines)) }
        }
        What::MailOctets(octets) => {
            let mails = mails(wire.folder());
            let holds = |mail: &Vec<u8>| mail.windows(octets.len().max(1)).any(|it| it == *octets);
            if mails.iter().any(holds) {
                return Ok(());
            }
            let shown = |mail: &Vec<u8>| mail.iter().map(|&it| shown(it)).collect::<String>();
            Err(listed(mails.iter().map(shown).collect()))
        }
        What::MailCount(count) => {
            let found = mails(wire.folder()).len();
            if found == *count { Ok(()) } else { Err(format!("{found} messages")) }
        }
        _ => Ok(()),
    }
}

/// Plays all steps and returns the file's lines with what was really said in the place of those
/// `S:` lines that do not hold.
pub(crate) fn record(script: &Script, wire: &mut dyn Wire) -> Vec<String> {
    let mut recorder = Recorder { text: Vec::new(), more: false, closed: false };
    let mut lines = script.text.iter().enumerate().peekable();
    let mut scratch = Vec::new();
    for step in &script.steps {
        let speaks = matches!(step.what, What::Expect(..) | What::Rest | What::Closed);
        if !speaks {
            recorder.drain(wire);
        }
        while let Some((_, line)) = lines.next_if(|(at, _)| *at < step.at) {
            recorder.text.push(line.clone());
        }
        let Some((_, line)) = lines.next() else { break };
        match &step.what {
            What::Expect(count, pattern) => recorder.expect(*count, pattern, line, wire),
            What::Rest if recorder.more => {
                recorder.text.push(line.clone());
                recorder.skip_rest(wire);
            }
            What::Rest => {}
            What::Closed => recorder.until_closed(wire),
            _ => {
                recorder.text.push(line.clone());
                let _judged = one_step(step, wire, &mut scratch, &mut false);
            }
        }
    }
    recorder.drain(wire);
    recorder.text.extend(lines.map(|(_, line)| line.clone()));
    recorder.text
}

struct Recorder {
    text: Vec<String>,
    more: bool,
    closed: bool,
}

impl Recorder {
    fn expect(&mut self, count: usize, pattern: &str, line: &str, wire: &mut dyn Wire) {
        let mut said = Vec::new();
        let mut right = true;
        for _ in 0..count {
            match wire.line() {
                Said::Line(line) => {
                    right &= matches(pattern, &line);
                    self.more = is_continued(&line);
                    said.push(line);
                }
                Said::Closed => {
                    right = false;
                    break;
                }
                Said::Nothing => {
                    right = false;
                    break;
                }
            }
        }
        if right {
            return self.text.push(line.to_string());
        }
        let fell_silent = said.len() < count;
        self.write(&said);
        if fell_silent && wire.line() == Said::Closed {
            self.note_closed();
        }
    }

    /// Equal lines in a row are one.
    fn write(&mut self, said: &[String]) {
        for run in said.chunk_by(|a, b| a == b) {
            let Some(line) = run.first() else { continue };
            let line = general(line);
            self.text.push(match run.len() {
                1 => format!("S: {line}"),
                count => format!("S*{count} {line}"),
            });
        }
    }

    fn skip_rest(&mut self, wire: &mut dyn Wire) {
        while std::mem::take(&mut self.more) {
            if let Said::Line(line) = wire.line() {
                self.more = is_continued(&line);
            }
        }
    }

    fn until_closed(&mut self, wire: &mut dyn Wire) {
        let mut said = Vec::new();
        let end = loop {
            match wire.line() {
                Said::Line(line) => said.push(line),
                end => break end,
            }
        };
        self.write(&said);
        if end == Said::Closed {
            self.note_closed();
        }
    }

    fn note_closed(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.text.push("S: <closed>".into());
        }
    }

    fn drain(&mut self, wire: &mut dyn Wire) {
        let mut said = Vec::new();
        while wire.is_pending() {
            if let Said::Line(line) = wire.line() {
                said.push(line);
            }
        }
        self.write(&said);
    }
}

/// A line with stars where the next run, or the other form, says something else.
fn general(line: &str) -> String {
    const ID: &str = "[424242";
    let mut line = line.to_string();
    if line.starts_with("220 ")
        && let Some((before, _)) = line.split_once(" ESMTP ")
    {
        line = format!("{before} ESMTP *");
    }
    if let Some((before, behind)) = line.split_once(" Hi ") {
        let tail = behind.split_once(']').map_or("", |(_, tail)| tail);
        line = format!("{before} Hi *{tail}");
    }
    if let Some((before, behind)) = line.split_once(ID)
        && let Some((_, tail)) = behind.split_once(']')
    {
        line = format!("{before}[*]{tail}");
    }
    line
}

fn heard(wire: &mut dyn Wire, transcript: &mut Vec<String>) -> Said {
    let said = wire.line();
    transcript.push(format!("S: {said}"));
    said
}

fn is_continued(line: &str) -> bool {
    line.as_bytes().get(3) == Some(&b'-')
}

fn shown(octet: u8) -> String {
    std::ascii::escape_default(octet).to_string()
}

/// Every message in every Maildir below a folder.
fn mails(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if folder.ends_with("new")
                && let Ok(mail) = fs::read(&path)
            {
                found.push(mail);
            }
        }
    }
    found
}

/// A folder of its own for one play, gone with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// One with the programs of a script in it.
    pub(crate) fn of(script: &Script) -> Result<Folder, Failure> {
        let folder = Folder::new()?;
        for (name, text) in &script.programs {
            let text = format!("#!/bin/sh\n{text}").replace("$TMP", &folder.0.to_string_lossy());
            // Another process writes it: what is open for writing, in a child that is started at this
            // moment perhaps, is not run.
            let mut install = Command::new("install");
            install.args(["-m", "755", "/dev/stdin"]).arg(folder.0.join(name));
            let installed = install.stdin(Stdio::piped()).spawn().and_then(|mut child| {
                let written = child.stdin.take().map(|mut it| it.write_all(text.as_bytes()));
                written.transpose()?;
                child.wait()
            });
            match installed {
                Ok(status) if status.success() => {}
                other => return Err(Failure::of(&format!("{}: {name}: {other:?}", script.name))),
            }
        }
        Ok(folder)
    }

    pub(crate) fn new() -> Result<Folder, Failure> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mailreeve-dialogue-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = fs::create_dir_all(&path);
        made.map_err(|error| Failure::of(&format!("{}: {error}", path.display())))?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::pure::Visitor;

    fn script(steps: &str) -> Script {
        let text = format!("# Why.\n---\n{steps}");
        Script::parse("a", PathBuf::from("a.txt"), &text).expect("it can be read")
    }

    fn check(steps: &str, place: &str) {
        let script = script(steps);
        let played = Visitor::arrive(&script).and_then(|mut wire| play(&script, &mut wire));
        let shown = played.map_or_else(|failure| failure.to_string(), |()| String::new());
        assert!(shown.starts_with(place), "{steps}: {shown}");
        assert_eq!(shown.is_empty(), place.is_empty(), "{steps}: {shown}");
    }

    #[test]
    fn what_does_not_hold_fails_with_its_place() {
        check("S: 220 *\nC: NOOP\nS: 250 *\nM: <0>\nL: dispatching NOOP\nL! QUIT", "");
        check("S: 221 *", "tests/dialogues/a.txt:3:");
        check("S: 220 *\nC: NOOP\nS: 250 2.0.0 ok", "tests/dialogues/a.txt:5:");
        check("S: 220 *\nS: <closed>", "tests/dialogues/a.txt:4:");
        check("S: 220 *\nC: QUIT\nS: 221 *\nS: 221 *", "tests/dialogues/a.txt:6:");
        check("S: 220 *\nC: NOOP", "tests/dialogues/a.txt: at the end");
        check("S: 220 *\nM: <1>", "tests/dialogues/a.txt:4:");
        check("S: 220 *\nM: x", "tests/dialogues/a.txt:4:");
        check("S: 220 *\nM\\ x", "tests/dialogues/a.txt:4:");
        check("S: 220 *\nL: no such line", "tests/dialogues/a.txt:4:");
        check("S: 220 *\nL! 220", "tests/dialogues/a.txt:4:");
        check("S: 220 *\nC: HELP\nS*3 214*", "tests/dialogues/a.txt:5:");
    }

    #[test]
    fn recording_keeps_what_holds_and_mends_the_rest() {
        let script = script(
            "S: 220 *\nC: EHLO x\nS: 250\nS: <rest>\nC\\*3 NOOP\\r\\n\nS: 250\n# End.\nC: QUIT\nS: x\nS: y",
        );
        let mut wire = Visitor::arrive(&script).expect("it connects");
        let text = record(&script, &mut wire);
        let expected = [
            "# Why.",
            "---",
            "S: 220 *",
            "C: EHLO x",
            "S: 250-mx.example.net Hi *",
            "S: <rest>",
            "C\\*3 NOOP\\r\\n",
            "S: 250 2.0.0 OK",
            "S*2 250 2.0.0 OK",
            "# End.",
            "C: QUIT",
            "S: 221 2.0.0 mx.example.net closing connection. Have a wonderful day.",
            "S: <closed>",
        ];
        assert_eq!(text, expected);
    }
}
