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

mod targets;

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

/// Gives `target` each seed as it is, and then mutations of them. A panic in it is passed on, with the
/// input that caused it on stderr.
fn drive(name: &str, seeds: &[&[u8]], target: fn(&[u8])) {
    let (files, dictionary) = collected();
    let seeds: Vec<&[u8]> = seeds.iter().copied().chain(files.iter().map(Vec::as_slice)).collect();
    let words: Vec<&[u8]> =
        WORDS.iter().copied().chain(dictionary.iter().map(Vec::as_slice)).collect();
    each_input(name, &seeds, &words, |_| false, |input| run(name, input, target));
}

/// The same for a format in which octets count others: of its inputs, all but every fourth are changed
/// without moving an octet, or hardly one would get past the parser's first look.
fn each_packet(name: &str, seeds: &[&[u8]], take: impl FnMut(&[u8])) {
    each_input(name, seeds, WORDS, |round| round % 4 != 0, take);
}

/// Hands over each seed as it is, and then mutations of them, reproducibly.
fn each_input(
    name: &str,
    seeds: &[&[u8]],
    words: &[&[u8]],
    stays: fn(u64) -> bool,
    mut take: impl FnMut(&[u8]),
) {
    seeds.iter().for_each(|seed| take(seed));
    let mut random = Random::new(name);
    for round in 0..inputs() {
        let longest = if round % LONG_EVERY == 0 { LONG_MAX } else { INPUT_MAX };
        let mut input = random.pick(seeds).unwrap_or_default().to_vec();
        for _ in 0..=random.below(MUTATIONS_MAX) {
            if stays(round) {
                overwrite(&mut random, &mut input);
            } else {
                mutate(&mut random, &mut input, seeds, words, longest);
            }
        }
        input.truncate(longest);
        take(&input);
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
        _ => overwrite(random, input),
    }
}

/// Another octet in the place of one.
fn overwrite(random: &mut Random, input: &mut [u8]) {
    let value = random.next().to_le_bytes();
    let at = random.below(input.len());
    if let (Some(byte), [value, ..]) = (input.get_mut(at), value) {
        *byte = value;
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
