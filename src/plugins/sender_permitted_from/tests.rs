//! Rounds of questions, and what is forged; the dialogues show the rest.

use super::*;
use crate::dns::{Answer, Question, Record};
use crate::plugins::tests::testing::{addresses, play};

fn text(text: &str) -> Answer {
    Answer::Found([Record::Text(text.as_bytes().into())].into())
}

fn answer(question: &Question) -> Answer {
    match &*question.name {
        "d.example" => text("v=spf1 a:a.example mx:m.example include:i.example -all"),
        "i.example" => text("v=spf1 ip4:192.0.2.1"),
        "h.example" => text("v=spf1 a:a.example -all"),
        "a.example" => addresses(&["198.51.100.1"]),
        _ => Answer::NxDomain,
    }
}

#[test]
fn rounds() {
    for (ip, line, mail, rounds) in [
        ("192.0.2.1", "", "MAIL FROM:<u@d.example>", vec![1, 3]),
        ("192.0.2.2", "", "MAIL FROM:<u@d.example>", vec![1, 3]),
        // What has been asked for the sender is known for HELO.
        ("192.0.2.1", " helo report", "MAIL FROM:<u@d.example>", vec![1, 3, 1]),
        ("192.0.2.1", "", "MAIL FROM:<>", vec![1, 1]),
        ("192.0.2.1", "", "MAIL FROM:<u@[192.0.2.1]>", vec![]),
        ("10.0.0.1", "", "MAIL FROM:<u@d.example>", vec![]),
    ] {
        let plugins = format!("relay\nsender_permitted_from{line}\nrcpt_ok");
        let files = [("plugins", plugins.as_str()), ("relayclients", "10.")];
        let played = play(&files, ip, &["EHLO h.example", mail], answer);
        let seen: Vec<usize> = played.rounds.iter().map(Vec::len).collect();
        assert_eq!(seen, rounds, "{mail} {:?}", played.rounds);
    }
}

#[test]
fn who_claims_to_be_us() {
    for (value, expected) in [
        ("pass (x) receiver=mx.example.net; identity=mailfrom", true),
        ("pass receiver = \"MX.example\r\n .net\"", true),
        ("pass receiver=mx.example.net", true),
        ("pass receiver=mx.example.network;", false),
        ("pass receiver=smtp.mx.example.net", false),
        ("pass (mx.example.net: permitted) client-ip=192.0.2.1", false),
        ("", false),
    ] {
        assert_eq!(claims(value.as_bytes(), "mx.example.net"), expected, "{value}");
    }
}
