//! Has the program `dspam` (or `dspamc`, which asks its daemon) judge a message, or learn it.
//!
//! The message goes to its standard input, and one line comes back:
//! `USER; result="Spam"; class="Spam"; probability=1.0000; confidence=1.00; signature=…`. The program is
//! started without a shell, for user names are a client's.

use crate::client::deadline::Deadline;
use crate::client::pipe::hand_over;
use crate::client::program::{Ending, Run};
use crate::client::{Fault, words};
use crate::mail::headers::clean;
use std::path::Path;

/// Octets of a signature, and of a word that stands for a class.
const SIGNATURE_MAX: usize = 128;
const CLASS_MAX: usize = 20;

/// What DSPAM says of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The result, as it spells it: `Spam`, `Innocent`, `Whitelisted`, `Virus`, …
    pub result: String,
    /// It is neither innocent nor of a sender that DSPAM trusts.
    pub spam: bool,
    /// How probable it is that the message is spam, 0 to 1.
    pub probability: f64,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// Under which name DSPAM remembers the message, for who corrects it later.
    pub signature: Option<String>,
}

/// A message, and who it is for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The program's path.
    pub program: &'a Path,
    /// In whose name: his mail decides. It must not look like an option.
    pub user: &'a str,
    /// The reverse-path in angle brackets, without line ends.
    pub sender: &'a str,
    /// The message in its parts, lines that end with CR LF.
    pub parts: [&'a [u8]; 3],
}

/// Asks, and lets DSPAM learn by what it finds.
///
/// # Errors
/// In words, why there is no verdict: the program is not there, fails, takes too long, or says none.
pub fn classify(request: &Request<'_>, deadline: Deadline) -> Result<Report, Fault> {
    read(&run(request, &["--mode=tum", "--process"], deadline)?.said)
}

/// Has it learn that it was wrong: the message is spam, or is not.
///
/// # Errors
/// In words, why that failed.
pub fn train(request: &Request<'_>, spam: bool, deadline: Deadline) -> Result<(), Fault> {
    let class = if spam { "--class=spam" } else { "--class=innocent" };
    run(request, &["--mode=toe", "--source=error", class], deadline).map(drop)
}

fn run(request: &Request<'_>, options: &[&str], deadline: Deadline) -> Result<Run, Fault> {
    let mut args = vec!["--user", request.user];
    args.extend(options);
    args.extend(["--deliver=summary", "--stdout"]);
    let args: Vec<String> = args.into_iter().map(str::to_string).collect();
    let sender = format!("X-Envelope-From: {}\r\n", request.sender);
    let [header, empty, body] = request.parts;
    let parts = [sender.as_bytes(), header, empty, body];
    let run = hand_over(request.program, &args, &parts, deadline)
        .map_err(|error| Fault::from(format!("Could not run dspam: {}", words(&error))))?;
    let why = match run.ending {
        Ending::Exited(0) if run.took_all => return Ok(run),
        Ending::Exited(0) => "dspam has not read all of the message".to_string(),
        Ending::Exited(code) => format!("dspam ends with exit code {code}"),
        Ending::Signalled(signal) => format!("dspam was killed by signal {signal}"),
        Ending::Killed => "dspam takes too long".to_string(),
    };
    let said = run.words();
    Err(if said.is_empty() { why.into() } else { format!("{why}, it said: {said}").into() })
}

/// Reads what the program wrote: the first line with a result counts, since it may have warned before.
///
/// # Errors
/// There is none.
pub fn read(output: &[u8]) -> Result<Report, Fault> {
    let mut lines = output.split(|octet| *octet == b'\n');
    let line = lines.find(|line| memchr::memmem::find(line, b"; result=").is_some());
    let line = line.ok_or("dspam gives no verdict")?;
    let text = String::from_utf8_lossy(line);
    let of = |key: &str| {
        let mut pairs = text.split(';').filter_map(|piece| piece.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == key)?;
        Some(value.trim_matches('"'))
    };
    let share = |key: &str| {
        let number = of(key)?.parse::<f64>().ok()?;
        (0.0..=1.0).contains(&number).then_some(number)
    };
    let is_class = |word: &&str| {
        (1..=CLASS_MAX).contains(&word.len()) && word.bytes().all(|it| it.is_ascii_alphabetic())
    };
    let result = of("result").filter(is_class);
    let (Some(result), Some(probability), Some(confidence)) =
        (result, share("probability"), share("confidence"))
    else {
        return Err(format!("invalid response from dspam: {}", clean(line, 100)).into());
    };
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b",.-_".contains(&octet);
    let is_signature =
        |word: &&str| (1..=SIGNATURE_MAX).contains(&word.len()) && word.bytes().all(plain);
    Ok(Report {
        result: result.to_string(),
        spam: !["Innocent", "Whitelisted"].contains(&result),
        probability,
        confidence,
        signature: of("signature").filter(is_signature).map(str::to_string),
    })
}

/// Any output gives an error in few words, or a report that fits into a header.
#[cfg(any(test, fuzzing))]
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    match read(data) {
        Err(fault) => assert!(fault.to_string().len() <= 500),
        Ok(report) => {
            assert!((0.0..=1.0).contains(&report.probability));
            assert!((0.0..=1.0).contains(&report.confidence));
            for word in [Some(report.result), report.signature].into_iter().flatten() {
                assert!(word.bytes().all(|octet| octet.is_ascii_graphic() && octet != b';'));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::program::tests::Programs;
    use std::time::Duration;

    const SPAM: &str =
        "tim; result=\"Spam\"; class=\"Spam\"; probability=1.0000; confidence=0.97; signature=1,4a";

    fn ask(program: &Path, body: &[u8], time: u64) -> Result<Report, String> {
        let request =
            Request { program, user: "tim", sender: "<>", parts: [b"A: b\r\n", b"\r\n", body] };
        let deadline = Deadline::after(Duration::from_millis(time));
        classify(&request, deadline).map_err(|fault| fault.to_string())
    }

    #[test]
    fn dspam_is_run() {
        let programs = Programs::new();
        let script = format!("echo \"$*\" >$here/args\ncat >$here/mail\necho '{SPAM}'");
        let program = programs.shell("dspam", &script);
        let report = ask(&program, b"body\r\n", 60_000).unwrap();
        let expected = Report {
            result: "Spam".to_string(),
            spam: true,
            probability: 1.0,
            confidence: 0.97,
            signature: Some("1,4a".to_string()),
        };
        assert_eq!(report, expected);
        let args = "--user tim --mode=tum --process --deliver=summary --stdout\n";
        assert_eq!(programs.read("args"), args.as_bytes());
        assert_eq!(programs.read("mail"), b"X-Envelope-From: <>\nA: b\n\nbody\n");
        let request = Request { program: &program, user: "$(id)", sender: "<>", parts: [b""; 3] };
        train(&request, false, Deadline::after(Duration::from_secs(60))).unwrap();
        let args = "--user $(id) --mode=toe --source=error --class=innocent --deliver=summary \
                    --stdout\n";
        assert_eq!(programs.read("args"), args.as_bytes());
    }

    #[test]
    fn programs_misbehave() {
        let programs = Programs::new();
        for (name, script, time, expected) in [
            ("hangs", "sleep 1000", 100, "dspam takes too long"),
            ("fails", "cat >/dev/null; echo no >&2; exit 7", 60_000, {
                "dspam ends with exit code 7, it said: no"
            }),
            ("dies", "cat >/dev/null; kill -KILL $$", 60_000, "dspam was killed by signal 9"),
            ("mute", "cat >/dev/null", 60_000, "dspam gives no verdict"),
            ("floods", "cat >/dev/null; head -c 3000000 /dev/zero", 60_000, {
                "dspam gives no verdict"
            }),
            ("deaf", "exit 0", 60_000, "dspam has not read all of the message"),
            ("garbage", "cat >/dev/null; echo 'x; result=1'", 60_000, {
                "invalid response from dspam: x; result=1"
            }),
        ] {
            let program = programs.shell(name, script);
            let big = vec![b'x'; 1_000_000];
            assert_eq!(ask(&program, &big, time).unwrap_err(), expected, "{name}");
        }
        let nobody = ask(Path::new("/nowhere/dspam"), b"x", 60_000).unwrap_err();
        assert_eq!(nobody, "Could not run dspam: No such file or directory");
    }

    #[test]
    fn lines() {
        for (text, expected) in [
            (SPAM.to_string(), Some("Spam true 1 0.97 1,4a")),
            (format!("a warning\nX-DSPAM-Result: {SPAM}\n"), Some("Spam true 1 0.97 1,4a")),
            (SPAM.replace("\"Spam\"", "\"Innocent\""), Some("Innocent false 1 0.97 1,4a")),
            (SPAM.replace("\"Spam\"", "\"Whitelisted\""), Some("Whitelisted false 1 0.97 1,4a")),
            (SPAM.replace("1,4a", "N/A"), Some("Spam true 1 0.97 -")),
            (SPAM.replace("1.0000", "1.1"), None),
            (SPAM.replace("0.97", "nan"), None),
            (SPAM.replace("\"Spam\"", "\"S p\""), None),
            (String::new(), None),
        ] {
            let told = read(text.as_bytes()).ok().map(|it| {
                let signature = it.signature.unwrap_or_else(|| "-".to_string());
                let Report { result, spam, probability, confidence, .. } = it;
                format!("{result} {spam} {probability} {confidence} {signature}")
            });
            assert_eq!(told.as_deref(), expected, "{text}");
        }
    }
}
