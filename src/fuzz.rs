//! Fuzzing that needs no tools: every parser's `fuzz` function, driven by mutated seeds under
//! `cargo test`.
//!
//! The parsers state what must hold in functions named `fuzz`; the wrappers in `fuzz/` give them to
//! libFuzzer, which measures coverage and finds more. This module finds less but always runs: the
//! generator is seeded with the target's name, so a failure here is the same on every machine, and
//! the input that failed is printed as a byte string to paste into a test.
//!
//! `MAILREEVE_FUZZ_INPUTS` says how many inputs each target gets (2,000 unless set).
//! `MAILREEVE_CONFORMANCE` names a folder with further seeds (`../shared/conformance` unless set);
//! without it the seeds below have to do, and the run says so in the file that
//! `MAILREEVE_SKIPPED` names.
#![cfg(test)]

use std::ffi::OsString;
use std::io::Write;
use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Inputs per target where `MAILREEVE_FUZZ_INPUTS` does not say.
const INPUTS: u64 = 2_000;

/// Longest input in octets; every `LONG_EVERY`th may be `LONG_MAX`, to meet the bounds.
const INPUT_MAX: usize = 2_048;
const LONG_EVERY: u64 = 64;
const LONG_MAX: usize = 32 * 1_024;

/// Mutations of one input.
const MUTATIONS_MAX: usize = 6;

/// Longest seed taken from a file, in octets, and how many files a target takes.
const SEED_MAX: usize = 16 * 1_024;
const SEED_FILES_MAX: usize = 200;

/// What mutations insert: the words of SMTP, its separators, and bytes that parsers trip over.
const WORDS: &[&[u8]] = &[
    b"HELO ",
    b"EHLO ",
    b"MAIL FROM:",
    b"RCPT TO:",
    b"DATA\r\n",
    b"BDAT ",
    b" LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"VRFY ",
    b"HELP\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN ",
    b"AUTH LOGIN",
    b" SIZE=",
    b" BODY=8BITMIME",
    b" SMTPUTF8",
    b"<>",
    b"<",
    b">",
    b"@",
    b"@,@:",
    b"\"",
    b"\\",
    b"[",
    b"]",
    b"[IPv6:::1]",
    b"[127.0.0.1]",
    b"a@b",
    b"<a@example.com>",
    b"postmaster",
    b".",
    b"..",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\r\n\t",
    b" ",
    b"\t",
    b":",
    b";",
    b"=",
    b",",
    b"(",
    b")",
    b"#",
    b"$include ",
    b"From: ",
    b"Received: ",
    b"Date: Thu, 1 Jan 1970 00:00:00 +0000",
    b"Subject: =?utf-8?q?x?=",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"\r\n--b\r\n",
    b"\r\n--b--\r\n",
    b"begin 644 x\r\n",
    b"=?utf-8?b?w6k=?=",
    b"*0*=utf-8''%",
    b"\0",
    b"\x7f",
    b"\xff",
    b"\xc3\xa4",
    b"\xe2\x80\xa8",
    b"\xff\xf4\xff\xfd",
    b"\x16\x03\x01",
    b"0",
    b"-1",
    b"18446744073709551616",
    b"99999999999999999999",
];

/// A reproducible source of numbers (xorshift64*, by Vigna).
struct Random(u64);

impl Random {
    /// Seeded with a name, so that targets do not all get the same mutations (FNV-1a).
    fn new(name: &str) -> Random {
        let mix = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Random(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `bound`; 0 where that is 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> Option<&'a T> {
        from.get(self.below(from.len())).copied()
    }

    /// A piece of `bytes`, at most `longest`.
    fn piece(&mut self, bytes: &[u8], longest: usize) -> Vec<u8> {
        let start = self.below(bytes.len() + 1);
        let length = self.below(longest + 1);
        bytes.iter().skip(start).take(length).copied().collect()
    }
}

/// Gives `target` each seed as it is, and then mutations of them, reproducibly. A panic in it is
/// passed on, with the input that caused it on stderr.
fn drive(name: &str, seeds: &[&[u8]], target: fn(&[u8])) {
    let (files, dictionary) = collected();
    let seeds: Vec<&[u8]> = seeds.iter().copied().chain(files.iter().map(Vec::as_slice)).collect();
    let words: Vec<&[u8]> =
        WORDS.iter().copied().chain(dictionary.iter().map(Vec::as_slice)).collect();
    for seed in &seeds {
        run(name, seed, target);
    }
    let mut random = Random::new(name);
    for round in 0..inputs() {
        let longest = if round % LONG_EVERY == 0 { LONG_MAX } else { INPUT_MAX };
        let mut input = random.pick(&seeds).unwrap_or_default().to_vec();
        for _ in 0..=random.below(MUTATIONS_MAX) {
            mutate(&mut random, &mut input, &seeds, &words, longest);
        }
        input.truncate(longest);
        run(name, &input, target);
    }
}

fn run(name: &str, input: &[u8], target: fn(&[u8])) {
    if let Err(panic) = catch_unwind(|| target(input)) {
        eprintln!("fuzz {name} fails on {} octets: b\"{}\"", input.len(), input.escape_ascii());
        resume_unwind(panic);
    }
}

/// One change: flip, cut, insert a word, repeat a piece, splice with a seed, or overwrite.
fn mutate(
    random: &mut Random,
    input: &mut Vec<u8>,
    seeds: &[&[u8]],
    words: &[&[u8]],
    longest: usize,
) {
    let at = random.below(input.len() + 1);
    match random.below(8) {
        0 => {
            let bit = random.below(8);
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        1 => {
            let end = at + random.below(16).min(input.len() - at);
            input.drain(at..end);
        }
        2 | 3 => insert(input, at, random.pick(words).unwrap_or_default()),
        4 => {
            let piece = random.piece(input, 64);
            let room = (longest.saturating_sub(input.len())) / piece.len().max(1);
            let most = 1 << random.below(12);
            let times = random.below(room.min(most) + 1);
            insert(input, at, &piece.repeat(times));
        }
        5 => {
            let seed = random.pick(seeds).unwrap_or_default();
            let piece = random.piece(seed, seed.len());
            insert(input, at, &piece);
        }
        6 => input.truncate(at),
        _ => {
            let value = random.next().to_le_bytes();
            if let (Some(byte), [value, ..]) = (input.get_mut(at), value) {
                *byte = value;
            }
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, what: &[u8]) {
    input.splice(at..at, what.iter().copied());
}

fn inputs() -> u64 {
    let set = std::env::var("MAILREEVE_FUZZ_INPUTS").ok();
    set.map_or(INPUTS, |text| {
        text.parse().unwrap_or_else(|_| panic!("MAILREEVE_FUZZ_INPUTS={text} is no number"))
    })
}

/// Further seeds and dictionary words from files, where they are.
fn collected() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let folder = conformance();
    let seeds = files(&folder.join("smtp-dialogs/fuzz-seeds"));
    let words: Vec<Vec<u8>> = ["utf8.dict", "url.dict"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(folder.join("fuzz/dict").join(file)).ok())
        .flat_map(|text| text.lines().filter_map(dictionary_word).collect::<Vec<_>>())
        .collect();
    if seeds.is_empty() || words.is_empty() {
        note(&format!("note: fuzz: own seeds only, nothing in {}\n", folder.display()));
    }
    (seeds, words)
}

/// The folder with further seeds, which need not be there.
fn conformance() -> PathBuf {
    std::env::var_os("MAILREEVE_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"),
        PathBuf::from,
    )
}

/// Real queries and replies, from files that hold them in hexadecimal digits.
fn dns_packets() -> Vec<Vec<u8>> {
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    files(&conformance().join("fuzz/dns-packets-dnslib"))
        .iter()
        .flat_map(|file| file.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>())
        .filter_map(|line| {
            let digits = [&b";; QUERY: "[..], b";; RESPONSE: "];
            let digits = digits.iter().find_map(|mark| line.strip_prefix(*mark))?;
            digits.trim_ascii().chunks(2).map(octet).collect()
        })
        .collect()
}

/// What the files of a folder hold, in the order of their names; none if it is not there.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .take(SEED_FILES_MAX)
        .filter_map(|path| std::fs::read(path).ok())
        .map(|mut bytes| {
            bytes.truncate(SEED_MAX);
            bytes
        })
        .collect()
}

/// A line of a dictionary in libFuzzer's form: `name="bytes"` with `\\`, `\"` and `\xHH`.
fn dictionary_word(line: &str) -> Option<Vec<u8>> {
    let line = line.trim();
    let (_, quoted) = line.split_once('"').filter(|_| !line.starts_with('#'))?;
    let mut rest = quoted.strip_suffix('"')?.bytes();
    let mut word = Vec::new();
    while let Some(byte) = rest.next() {
        match (byte, byte == b'\\') {
            (_, true) => match rest.next()? {
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    let digits = std::str::from_utf8(&digits).ok()?;
                    word.push(u8::from_str_radix(digits, 16).ok()?);
                }
                other => word.push(other),
            },
            (plain, false) => word.push(plain),
        }
    }
    Some(word)
}

/// Tells `scripts/test`, where it listens, what this run went without.
fn note(line: &str) {
    let Some(path): Option<OsString> = std::env::var_os("MAILREEVE_SKIPPED") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        // A lost note is no reason to fail a test.
        let _ = file.write_all(line.as_bytes());
    }
}

mod targets {
    //! One test a target, with the seeds that a person would try first.

    use super::drive;

    const MESSAGE: &[u8] = b"From: <a@example.org>\r\nSubject: =?utf-8?q?x?=\r\n folded\r\n\
        Received: from x (HELO y) (192.0.2.1)\r\n by z; Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\n\
        body\r\n..dot\r\n.\r\n";

    #[test]
    fn session() {
        let seeds: &[&[u8]] = &[
            b"EHLO client.example\r\nMAIL FROM:<a@example.org> SIZE=100\r\nRCPT TO:<b@example.com>\r\n\
              DATA\r\nSubject: x\r\n\r\nhello\r\n..\r\n.\r\nQUIT\r\n",
            b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nRSET\r\nNOOP\r\nVRFY a\r\nHELP\r\nQUIT\r\n",
            b"EHLO [192.0.2.1]\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 5\r\nhelloBDAT 0 LAST\r\n",
            b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<a@b>\r\n",
            b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\nAUTH LOGIN\r\nYQ==\r\nYg==\r\n*\r\n",
            b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\n.\nMAIL FROM:<e@f>\r\n\r.\r.\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"",
        ];
        drive("session", seeds, crate::smtp::session::fuzz);
    }

    #[test]
    fn address() {
        let seeds: &[&[u8]] = &[
            b"<a@example.com>",
            b"<>",
            b"<postmaster>",
            b"<\"a b\\\"c\"@example.com>",
            b"<a@[192.0.2.1]>",
            b"<a@[IPv6:2001:db8::1]>",
            b"<@relay.example,@b.example:a@example.com>",
            b"<a+b.c!d%e@xn--bcher-kva.example>",
            b"a@b",
            b"<a..b@c>",
            b"<a@-b.->",
        ];
        drive("address", seeds, crate::smtp::address::fuzz);
    }

    #[test]
    fn command() {
        let seeds: &[&[u8]] = &[
            b"EHLO client.example\r\n",
            b"MAIL FROM:<a@example.org> SIZE=100 BODY=8BITMIME SMTPUTF8 AUTH=<>\r\n",
            b"RCPT TO:<b@example.com> NOTIFY=NEVER ORCPT=rfc822;b@example.com\r\n",
            b"mail from: <a@b>\r\n",
            b"DATA\r\n",
            b"BDAT 100 LAST\r\n",
            b"AUTH PLAIN AGEAYg==\r\n",
            b"STARTTLS\r\n",
            b"NOOP \xff\r\n",
            b"\r\n",
        ];
        drive("command", seeds, crate::smtp::command::fuzz);
    }

    #[test]
    fn body() {
        let seeds: &[&[u8]] = &[
            MESSAGE,
            b".\r\n",
            b"a\r\n.\r\nQUIT\r\n",
            b"a\n.\nb\r\n.\r\n",
            b"a\r.\rb\r\n.\n.\r\n",
            b"..\r\n...\r\n.a\r\n\r\n.\r\n",
        ];
        drive("body", seeds, crate::smtp::body::fuzz);
    }

    #[test]
    fn headers() {
        let seeds: &[&[u8]] = &[
            MESSAGE,
            b"\r\nno header\r\n",
            b"From:a\r\nFrom :b\r\n:c\r\nno colon\r\n\tfold\r\n\r\n",
            b" begins with a fold\r\nA: b\r\n\r\n",
            b"Date: Thu, 31 Feb 2026 25:61:61 +9999 (x (y))\r\n\r\n",
            b"A: b",
        ];
        drive("headers", seeds, crate::mail::headers::fuzz);
    }

    #[test]
    fn mime() {
        let seeds: &[&[u8]] = &[
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\nContent-Type: message/rfc822\r\n\
              \r\nContent-Type: multipart/alternative; boundary=\"c\"\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n\
              --b\r\nContent-Type: text/html; charset=utf-7\r\nContent-Transfer-Encoding: quoted-printable\
              \r\n\r\n+AOk-=3D=\r\n--b\r\nContent-Disposition: attachment; filename*0*=utf-8''x%2E;\r\n \
              filename*1=exe\r\nContent-Transfer-Encoding: base64\r\n\r\nTVqQAAM=\r\n--b--\r\nepi\r\n",
            b"Content-Type: multipart/mixed; boundary=\"b\"\n\n--bc\ngarbage\nContent-Type: text/plain\n\n\
              begin 644 x\n#0V%T\n`\nend\n--bc--",
            b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n\
              Q29udGVudC1UeXBlOiBtZXNzYWdlL3JmYzgyMgoKU3ViamVjdDogaW5uZXIKCmJvZHkK\r\n",
            b"Content-Type: text/plain\r\nContent-Type: multipart/digest\r\nContent-Transfer-Encoding: \
              x-uuencode\r\n\r\n--x\r\n\r\nA: b\r\n\r\nbegin 644 x\r\n#0V%T\r\nend\r\n",
            b"=?utf-8?q?x?= =?iso-2022-jp?b?GyRCRnxLXBsoQg==?=",
        ];
        drive("mime", seeds, crate::mail::mime::fuzz);
    }

    #[test]
    fn uri() {
        let seeds: &[&[u8]] = &[
            b"see http://user@www.example.com:80/a?b=https%3A%2F%2Fexample.org#c, example.net. a@b.com",
            b"<a href=\"&#104;ttp:\\\\ex%61mple.com/\" style='x:url(//a.com)'>exam<b>ple</b>.org</a>\
              <!--[if mso]><img src=www.x.com><![endif]--><script>x=\"http://y.com\"</script>",
            b"http://0x7f.1 http://[::1]/ http://xn--bcher-kva.example http://b\xc3\xbccher.de. \xe2\x93\x94.com",
            b"Subject: www.a.com\r\nContent-Type: text/html; charset=utf-7\r\n\r\n+ADw-a href=http://b.com+AD4-",
        ];
        drive("uri", seeds, crate::mail::uri::fuzz);
    }

    #[test]
    fn dns() {
        let packets = super::dns_packets();
        let own: [&[u8]; 4] = [
            b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\0\x03www\x07example\0\0\x01\0\x01\
              \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x10\
              \xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01",
            b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x01a\0\0\x10\0\x01\
              \xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x07\x03v=s\x02pf",
            b"\0\x07\x81\x83\0\x01\0\0\0\x01\0\x01\x01a\0\0\x0f\0\x01\
              \0\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05\
              \0\0\x29\x04\xd0\0\0\0\0\0\0",
            b"_dmarc.b\xc3\xbccher.example",
        ];
        let seeds: Vec<&[u8]> = own.into_iter().chain(packets.iter().map(Vec::as_slice)).collect();
        drive("dns", &seeds, crate::dns::wire::fuzz);
    }

    #[test]
    fn config() {
        let seeds: &[&[u8]] = &[
            b"# comment\nvalue\n\n  spaced  \n",
            b"$include other\n$include /etc/passwd\n",
            b"earlytalker wait 2 reject=naughty\nqueue/maildir /var/mail\n",
            b"127.0.0.1:25\n[::1]:465 smtps\n",
            b"\xef\xbb\xbfvalue\r\n\0\r",
        ];
        drive("config", seeds, crate::config::files::fuzz);
    }
}

#[test]
fn a_target_gets_the_same_inputs_each_time() {
    let stream = |name| {
        let (mut random, mut input) = (Random::new(name), b"seed".to_vec());
        for _ in 0..500 {
            mutate(&mut random, &mut input, &[b"other"], WORDS, INPUT_MAX);
            input.truncate(LONG_MAX);
        }
        input
    };
    assert_eq!(stream("session"), stream("session"));
    assert_ne!(stream("session"), stream("body"));
}

#[test]
fn dictionaries_are_read() {
    for (line, word) in [
        (r#"dot="\x0d\x0a.""#, Some(&b"\r\n."[..])),
        (r#""\\\"""#, Some(&b"\\\""[..])),
        (r#"# a="b""#, None),
        ("plain", None),
        (r#"cut="\x0""#, None),
    ] {
        assert_eq!(dictionary_word(line).as_deref(), word, "{line}");
    }
}
