//! How fast signatures are checked and made, beside dkimpy and Perl's Mail::DKIM where they are
//! installed: `cargo bench --bench dkim`.
//!
//! Every row is the CPU of one thread on the same message from memory, with the keys at hand. The
//! programs take turns, round by round, and the best round of each counts, since other work on the
//! machine only ever makes one slower.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measuring program")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailreeve::authn::Lookup;
use mailreeve::authn::crypto::{KeyKind, PrivateKey};
use mailreeve::authn::dkim::canon::Canon;
use mailreeve::authn::dkim::sign::{NAME, Signer, sign};
use mailreeve::authn::dkim::{Mail, Outcome, verify};
use mailreeve::authn::keygen;
use mailreeve::dns::{Answer, Question, Record};
use mailreeve::mail::headers::Headers;
use mailreeve::sys::random;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;

/// How long one of ours runs in a round.
const SPELL: Duration = Duration::from_millis(500);

const HEADER: &str = "Received: from x (HELO y) (192.0.2.1)\r\n by z; Wed, 25 Nov 2026 00:00:00 +0000\r\n\
    From: Joe <joe@example.com>\r\nTo: b@example.net\r\nSubject: a message of some size\r\n\
    Date: Wed, 25 Nov 2026 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\r\n";

const PYTHON: &str = "
import sys, time, dkim
names = dict(line.split(' ', 1) for line in open(sys.argv[2]).read().splitlines())
look = lambda name, timeout=5: names[(name if isinstance(name, str) else name.decode()).rstrip('.')].encode()
message = open(sys.argv[1], 'rb').read()
times = int(sys.argv[3])
began = time.process_time()
for _ in range(times):
    check = dkim.DKIM(message)
    for number in range(int(sys.argv[4])):
        assert check.verify(number, dnsfunc=look)
print((time.process_time() - began) / times)
";

const PERL: &str = r#"
use Mail::DKIM::Verifier; use Net::DNS; use strict;
my ($file, $zone, $times, $count) = @ARGV;
my %names; open(my $in, '<', $zone); while (<$in>) { chomp; my ($n, $t) = split / /, $_, 2; $names{$n} = $t }
{ no warnings 'redefine'; *Mail::DKIM::DNS::query = sub {
    my @s = $names{$_[0]} =~ /(.{1,255})/g;
    return Net::DNS::RR->new(name => $_[0], type => 'TXT', txtdata => \@s) } }
open(my $m, '<:raw', $file); my $message = do { local $/; <$m> };
my $began = (times)[0];
for (1 .. $times) {
    my $v = Mail::DKIM::Verifier->new; $v->PRINT($message); $v->CLOSE;
    die $v->result_detail unless $count == grep { $_->result eq 'pass' } $v->signatures;
}
print(((times)[0] - $began) / $times);
"#;

struct Zone(HashMap<String, String>);

impl Lookup for &Zone {
    type Missing = Infallible;

    fn ask(&mut self, question: Question) -> Result<Answer, Infallible> {
        let text = self.0.get(&*question.name);
        Ok(text.map_or(Answer::NxDomain, |text| {
            Answer::Found([Record::Text(text.as_bytes().into())].into())
        }))
    }

    fn ask_all(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, Infallible> {
        questions.into_iter().map(|question| self.ask(question)).collect()
    }
}

fn key(kind: KeyKind) -> PrivateKey {
    let pem = match kind {
        KeyKind::Rsa => keygen::rsa(2_048, &mut random::bytes),
        KeyKind::Ed25519 => keygen::ed25519(&mut random::bytes),
    };
    PrivateKey::from_pem(&pem.expect("random numbers")).expect("a key")
}

/// Half text, half lines of base64.
fn message(octets: usize) -> String {
    let text =
        "The quick brown fox jumps over the lazy dog, and so do all the others here.\r\n\r\n";
    let code = format!("{}\r\n", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0".repeat(2));
    let half = octets / 2;
    [HEADER, &text.repeat(half / text.len()), &code.repeat(half / code.len())].concat()
}

fn with_parts<T>(message: &[u8], work: impl FnOnce(&Mail<'_>) -> T) -> T {
    let headers = Headers::index(message).expect("a small header");
    let (header, body) = message.split_at(headers.body());
    let header = header.get(..headers.end()).unwrap_or_default();
    work(&Mail { header, headers: &headers, body, passed: &|_| () })
}

fn signers<'a>(keys: &'a [(&'static str, PrivateKey)]) -> Vec<Signer<'a>> {
    let signer = |(selector, key): &'a (&'static str, PrivateKey)| Signer {
        key,
        domain: "example.com",
        selector,
        header_canon: Canon::Relaxed,
        body_canon: Canon::Relaxed,
        time: 1_795_000_000,
    };
    keys.iter().map(signer).collect()
}

/// Seconds for one piece of work, over a spell.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn timed(mut work: impl FnMut()) -> f64 {
    let (began, mut times) = (Instant::now(), 0_u32);
    while began.elapsed() < SPELL {
        work();
        times += 1;
    }
    began.elapsed().as_secs_f64() / f64::from(times)
}

/// What another program prints; None where it cannot run.
fn asked(program: &str, args: &[&str]) -> Option<f64> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().ok().filter(|_| output.status.success())
}

fn best(found: &[Option<f64>]) -> Option<f64> {
    found.iter().copied().flatten().reduce(f64::min)
}

struct Bench {
    folder: PathBuf,
    keys: Vec<(&'static str, PrivateKey)>,
    zone: Zone,
}

impl Bench {
    fn row(&self, what: &str, octets: usize, count: usize) {
        let plain = message(octets);
        let keys = self.keys.get(..count).expect("so many keys");
        let values = with_parts(plain.as_bytes(), |mail| sign(mail, &signers(keys)));
        let fields = values.expect("it signs").into_iter();
        let fields: String = fields.map(|value| format!("{NAME}:{value}\r\n")).collect();
        let signed = fields + &plain;
        let file = self.folder.join("message");
        fs::write(&file, &signed).expect("a file");
        let (file, zone) = (file.display().to_string(), self.folder.join("zone"));
        let zone = zone.display().to_string();
        let times = (3 * 1_024 * 1_024 / octets).clamp(3, 300).to_string();
        let args = [file.as_str(), &zone, &times, &count.to_string()];
        let mut found = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let [ours, signing, python, perl] = &mut found;
            ours.push(Some(timed(|| self.check(signed.as_bytes(), count))));
            signing.push(Some(timed(|| {
                let values = with_parts(plain.as_bytes(), |mail| sign(mail, &signers(keys)));
                assert_eq!(values.map(|values| values.len()), Some(count));
            })));
            python.push(asked("/usr/bin/python3", &[&["-c", PYTHON], &args[..]].concat()));
            perl.push(asked("perl", &[&["-e", PERL], &args[..]].concat()));
        }
        let [ours, signing, python, perl] = found.map(|it| best(&it));
        let ours = ours.expect("it ran");
        let shown =
            |seconds: Option<f64>| seconds.map_or("-".into(), |it| format!("{:.3}", it * 1e3));
        let ratio = |other: Option<f64>| other.map_or("-".into(), |it| format!("{:.1}", it / ours));
        println!(
            "| {what} | {} | {} | {} | {} | {} | {} |",
            shown(Some(ours)),
            shown(python),
            ratio(python),
            shown(perl),
            ratio(perl),
            shown(signing)
        );
    }

    fn check(&self, message: &[u8], count: usize) {
        let Ok(found) = with_parts(message, |mail| {
            verify(mail, Some("example.com"), 1_795_000_100, &mut &self.zone)
        });
        let passes = found.signatures.iter().filter(|it| it.outcome == Outcome::Pass).count();
        assert_eq!(passes, count, "{:?}", found.signatures);
    }
}

fn main() {
    let keys = vec![("s1", key(KeyKind::Rsa)), ("s2", key(KeyKind::Rsa))];
    let record = |(selector, key): &(&str, PrivateKey)| {
        let public = key.public().expect("its half").for_record();
        let text = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public));
        (format!("{selector}._domainkey.example.com"), text)
    };
    let zone: HashMap<String, String> = keys.iter().map(record).collect();
    let folder = std::env::temp_dir().join(format!("mailreeve-bench-dkim-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    write_zone(&folder, &zone);
    let bench = Bench { folder, keys, zone: Zone(zone) };
    println!(
        "| milliseconds of CPU a message | mailreeve | dkimpy | times | Mail::DKIM | times | signing |"
    );
    println!("|---|---|---|---|---|---|---|");
    bench.row("1 MiB, two RSA-2048 signatures", 1_024 * 1_024, 2);
    bench.row("100 KiB, one RSA-2048 signature", 100 * 1_024, 1);
    bench.row("2 KiB, one RSA-2048 signature", 2 * 1_024, 1);
    let _left = fs::remove_dir_all(&bench.folder);
}

fn write_zone(folder: &Path, zone: &HashMap<String, String>) {
    let lines: String = zone.iter().map(|(name, text)| format!("{name} {text}\n")).collect();
    fs::write(folder.join("zone"), lines).expect("a file");
}
