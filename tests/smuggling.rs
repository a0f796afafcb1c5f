//! What may end a message: CR LF . CR LF and nothing else, whatever stands around it.
//!
//! SMTP smuggling hides a second mail behind a sequence that one server takes for the end of the data
//! and another does not. Sequences that were used in real attacks are played through the whole session
//! machine, and then every string of CR, LF, NUL and dot up to six octets. A second reading of the
//! rules, a slow and simple one, says what has to come out. Beside it qpsmtpd's own test dialogues.
//!
//! The material of others is not part of the project; without it those tests say so and pass, except
//! on the project's own machines (`CI=true`), where it has to be there.
#![expect(clippy::expect_used, reason = "helpers of tests")]

use crate::corpus;
use crate::dialogue::pure::Visitor;
use crate::json::Json;
use mailreeve::config::Defaults;
use mailreeve::config::files::Files;
use mailreeve::plugin::site::Site;
use mailreeve::plugin::{Arrival, Chain, Cx, Hook, HookSet, Hooked, Loaded, Plugin, Verdict};
use mailreeve::plugins::load::{Strictness, load};
use mailreeve::smtp::address::Address;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

/// The dialogue up to the text.
const BEFORE: &[u8] =
    b"EHLO a\r\nMAIL FROM:<outer@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n";

/// What an attacker hides behind his sequence.
const BEHIND: &[u8] = b"MAIL FROM:<smuggled@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n\
    Subject: inner\r\n\r\ninner text\r\n.\r\nQUIT\r\n";

/// What stands before the sequence: a message, or nothing, so that the sequence begins the text.
const BEGINNINGS: [&[u8]; 2] = [b"Subject: outer\r\n\r\nouter text", b""];

/// Longest string of the exhaustive test.
const LENGTH_MAX: usize = 6;

/// A message as a queue plugin is given it.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    sender: String,
    received: Vec<u8>,
    delivered: Vec<u8>,
}

/// Takes every recipient and keeps every message.
#[derive(Default)]
struct Keeper(Mutex<Vec<Kept>>);

impl Plugin for Keeper {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Rcpt, Hook::Queue])
    }

    fn rcpt(&self, _cx: &mut Cx<'_>, _recipient: &Address) -> Hooked {
        Ok(Verdict::OK)
    }

    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        if let (Some(envelope), Some(message)) = (cx.envelope(), cx.message()) {
            self.0.lock().expect("one thread").push(Kept {
                sender: envelope.mail.reverse_path.to_string(),
                received: message.received.to_vec(),
                delivered: message.current.parts(message.received).concat(),
            });
        }
        Ok(Verdict::OK)
    }
}

/// A site, and what its queue was given.
struct Stage {
    site: Arc<Site>,
    keeper: Arc<Keeper>,
}

impl Stage {
    fn new(normalize: bool) -> Stage {
        let newlines = if normalize { "normalize" } else { "reject" };
        let mut site = site(&[("bare_newline", newlines), ("loglevel", "0")]);
        let keeper = Arc::new(Keeper::default());
        let loaded = Loaded::plain("keeper", Arc::clone(&keeper) as Arc<dyn Plugin>);
        site.base = Arc::new(Chain::new("plugins", vec![loaded]));
        Stage { site: Arc::new(site), keeper }
    }

    /// Sends the text in these pieces; the replies behind DATA, and what was kept.
    fn play(&self, pieces: &[&[u8]]) -> (String, Vec<Kept>) {
        let mut visitor = client(&self.site);
        say(&mut visitor, BEFORE);
        for piece in pieces {
            visitor.hear_from_client(piece);
        }
        let output = say(&mut visitor, b"");
        (output, std::mem::take(&mut *self.keeper.0.lock().expect("one thread")))
    }
}

fn site(files: &[(&str, &str)]) -> Site {
    let base = [
        ("me", "mx.example.net"),
        ("rcpthosts", "example.com"),
        ("plugins", "count_unrecognized_commands 4\nrcpt_ok\nqueue/discard"),
    ];
    let owned = base.iter().chain(files).map(|(name, text)| (name.to_string(), text.to_string()));
    let defaults = Defaults { host_name: "mx.example.net".into(), cores: 1 };
    let (site, problems) = load(&Files::in_memory(owned), &defaults, None, Strictness::Start);
    assert!(problems.is_empty(), "{problems:?}");
    site
}

fn client(site: &Arc<Site>) -> Visitor {
    Visitor::connect(Arc::clone(site), IpAddr::V4(Ipv4Addr::LOCALHOST), Arrival::default())
}

/// Sends octets and takes all that comes of them.
fn say(visitor: &mut Visitor, octets: &[u8]) -> String {
    visitor.hear_from_client(octets);
    visitor.run();
    String::from_utf8(visitor.take_output()).expect("replies are ASCII")
}

/// Plays a sequence with everything around it, whole and cut at each of its octets, and judges.
fn check(stage: &Stage, normalize: bool, beginning: &[u8], sequence: &[u8]) {
    let text = [beginning, sequence, BEHIND].concat();
    let mut pieces = vec![beginning];
    pieces.extend(sequence.chunks(1));
    pieces.push(BEHIND);
    let played = stage.play(&[&text]);
    let shown = format!("{:?}", String::from_utf8_lossy(&[beginning, sequence].concat()));
    assert_eq!(stage.play(&pieces), played, "{shown}: depends on how the octets are cut");
    let (output, kept) = played;

    let end = end_of_data(&text).expect("it is there behind the inner message");
    let content = text.get(..end.0).expect("inside");
    let is_hidden = end.1 > beginning.len() + sequence.len();
    let clean = is_clean(content);
    let outer: Vec<&Kept> = kept.iter().filter(|it| it.sender.contains("outer")).collect();
    for mail in &kept {
        assert!(is_clean(&mail.received), "{shown}: kept {:?}", mail.received);
        assert!(is_clean(&mail.delivered), "{shown}: delivered {:?}", mail.delivered);
    }
    if clean || normalize {
        assert!(output.starts_with("250 2.0.0 "), "{shown}: {output}");
        assert_eq!(outer.len(), 1, "{shown}: {output}");
        assert_eq!(outer.first().map(|it| it.received.clone()), Some(read(content)), "{shown}");
    } else {
        assert!(output.starts_with("550 5.6.11 "), "{shown}: {output}");
        assert_eq!(outer.len(), 0, "{shown}: {output}");
    }
    if is_hidden {
        // All of it was one message: nothing in it was obeyed, and QUIT comes next.
        assert_eq!(kept.len(), outer.len(), "{shown}: smuggled");
        let replies: Vec<&str> = output.lines().collect();
        assert_eq!(replies.len(), 2, "{shown}: {output}");
        assert!(output.contains("\r\n221 "), "{shown}: {output}");
    } else {
        // The client did end its message; what follows is commands by right.
        assert!(kept.len() <= outer.len() + 1, "{shown}");
    }
}

/// The first CR LF . CR LF, the line end before the text counted: where the text ends, and where what
/// follows begins.
fn end_of_data(text: &[u8]) -> Option<(usize, usize)> {
    if text.starts_with(b".\r\n") {
        return Some((0, 3));
    }
    let at = text.windows(5).position(|window| window == b"\r\n.\r\n")?;
    Some((at + 2, at + 5))
}

/// No bare CR, no bare LF, no NUL.
fn is_clean(text: &[u8]) -> bool {
    let rest = String::from_utf8_lossy(text).replace("\r\n", "");
    !rest.contains(['\r', '\n', '\0'])
}

/// The text as it has to be kept: the first dot of a line gone, bare CR and LF made line ends, NUL left
/// out. Only CR LF begins a line in which a dot can go.
fn read(mut text: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut begins_line = true;
    while let [first, rest @ ..] = text {
        let was_beginning = std::mem::replace(&mut begins_line, false);
        text = rest;
        match (first, rest) {
            (b'\r', [b'\n', rest @ ..]) => {
                message.extend(b"\r\n");
                begins_line = true;
                text = rest;
            }
            (b'\r' | b'\n', _) => message.extend(b"\r\n"),
            (b'.', _) if was_beginning => {}
            (0, _) => {}
            (octet, _) => message.push(*octet),
        }
    }
    message
}

#[test]
fn every_string_around_an_end_of_data() {
    const ALPHABET: [u8; 4] = [b'\r', b'\n', 0, b'.'];
    let mut strings: Vec<Vec<u8>> = vec![Vec::new()];
    let mut longest = strings.clone();
    for _ in 0..LENGTH_MAX {
        let longer = |string: &Vec<u8>| {
            let string = string.clone();
            ALPHABET.iter().map(move |octet| [string.as_slice(), &[*octet]].concat())
        };
        longest = longest.iter().flat_map(longer).collect();
        strings.extend(longest.iter().cloned());
    }
    assert_eq!(strings.len(), 5_461);
    std::thread::scope(|scope| {
        for normalize in [false, true] {
            let strings = &strings;
            scope.spawn(move || {
                let stage = Stage::new(normalize);
                for string in strings {
                    for beginning in BEGINNINGS {
                        check(&stage, normalize, beginning, string);
                    }
                }
            });
        }
    });
}

#[test]
fn sequences_of_real_attacks() {
    let Some(corpus) = corpus("smtp-attacks/end_of_data.json") else { return };
    let sequences = corpus.at("sequences").list();
    assert!(sequences.len() >= 16, "{} sequences", sequences.len());
    for normalize in [false, true] {
        let stage = Stage::new(normalize);
        for sequence in sequences {
            let octets = sequence.at("bytes_b64").text().map(base64).expect("octets");
            let strict = sequence.at("contains_strict_eod") == &Json::Bool(true);
            let text = [b"x", octets.as_slice()].concat();
            assert_eq!(end_of_data(&text).is_some(), strict, "{octets:?}");
            for beginning in BEGINNINGS {
                check(&stage, normalize, beginning, &octets);
            }
        }
    }
    println!("{} sequences", sequences.len());
}

/// Lines of qpsmtpd's dialogues that we answer otherwise on purpose: the line, our code, why.
const DIFFERENCES: [(&str, &str, &str); 6] = [
    ("EHLO localhost", "250", "a second EHLO starts over (RFC 5321 4.1.4)"),
    ("MAIL FROM:<ask @perl.org>", "501", "a blank in a local part wants quotes"),
    ("MAIL FROM:ask@perl.org", "501", "no brackets: dont_require_anglebrackets takes them"),
    ("MAIL FROM:ask@[1.2.3.4]", "501", "no brackets: dont_require_anglebrackets takes them"),
    ("MAIL FROM:<ask@perl.org> SIZE=1230 CORRECT-WITHOUT-ARG", "555", "unknown parameters"),
    ("MAIL FROM:", "501", "nothing is not the null path"),
];

#[test]
fn dialogues_of_qpsmtpd() {
    let Some(corpus) = corpus("smtp-dialogs/qpsmtpd.json") else { return };
    let dialogues = corpus.at("dialogs").list();
    let site = Arc::new(site(&[]));
    let (mut agreed, mut differed) = (0, 0);
    for dialogue in dialogues {
        let mut visitor = client(&site);
        say(&mut visitor, b"");
        for exchange in dialogue.list() {
            let [line, Json::Number(code)] = exchange.list() else { panic!("{exchange:?}") };
            let line = line.text().expect("a line");
            let command = format!("{line}\r\n");
            let mut reply = say(&mut visitor, command.as_bytes());
            if line.starts_with("MAIL") && reply.starts_with("503 5.5.1 nested") {
                // The other difference: one MAIL a transaction. The line is judged for itself.
                assert!(say(&mut visitor, b"RSET\r\n").starts_with("250 "));
                reply = say(&mut visitor, command.as_bytes());
            }
            if reply.starts_with(&code.to_string()) {
                agreed += 1;
                continue;
            }
            let difference = DIFFERENCES.iter().find(|(known, ..)| *known == line);
            let Some((_, ours, why)) = difference else { panic!("{line}: {code}, not {reply}") };
            assert!(reply.starts_with(ours), "{line}: {ours} ({why}), not {reply}");
            differed += 1;
        }
    }
    println!("{agreed} lines as qpsmtpd, {differed} otherwise on purpose");
    assert!(agreed >= 12 && differed >= 6, "{agreed} and {differed}");
}

/// A JSON file of the corpus.
fn corpus(name: &str) -> Option<Json> {
    corpus::read(name).map(|text| Json::parse(&text))
}

/// Base64 as the corpus has it: no line ends, padded.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.chars().filter_map(|char| DIGITS.find(char));
    let (mut bits, mut held, mut octets) = (0_u32, 0, Vec::new());
    for digit in digits {
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            octets.push((bits >> held & 255) as u8);
        }
    }
    octets
}

#[test]
fn the_second_reading_reads() {
    for (text, kept) in [
        ("a\r\n..b\r\n", "a\r\n.b\r\n"),
        ("a\n..b", "a\r\n..b"),
        ("a\rb\0c", "a\r\nbc"),
        (".a", "a"),
        ("\r\r\n.x", "\r\n\r\nx"),
    ] {
        assert_eq!(read(text.as_bytes()), kept.as_bytes(), "{text:?}");
    }
    assert_eq!(end_of_data(b"a\r\n.\r\nb"), Some((3, 6)));
    assert_eq!(end_of_data(b".\r\nb"), Some((0, 3)));
    assert_eq!(end_of_data(b"a\n.\r\nb"), None);
    assert_eq!((base64("Ci4K"), base64("DQouCg==")), (b"\n.\n".to_vec(), b"\r\n.\n".to_vec()));
    assert!(is_clean(b"a\r\n") && !is_clean(b"a\n") && !is_clean(b"a\r") && !is_clean(b"\0"));
}
