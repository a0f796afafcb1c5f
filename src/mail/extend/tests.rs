//! Mails before and after.

use super::{Change, Left, Text, shown, write};
use crate::mail::mime::Mime;

/// The mail with the text, its parts' notes in front; header fields of the mail itself stay.
fn extended(message: &str, words: &str) -> Result<String, String> {
    let octets = latin(message);
    let text = Text::new(words).unwrap();
    let mime = Mime::index(&octets);
    let (mut changes, mut notes) = (Vec::new(), String::new());
    for number in shown(&octets, &mime)? {
        match Change::plan(&octets, &mime.parts[number], &text) {
            Ok(change) => changes.push(change),
            Err(Left::Part(what)) => notes += &format!("[{what}]"),
            Err(Left::Mail(what)) => return Err(what.to_string()),
        }
    }
    if changes.iter().any(Change::recodes_mail) {
        notes += "[quoted-printable]";
    }
    let mut out = Vec::new();
    write(&octets, mime.parts[0].body.start, &changes, &mut out).unwrap();
    Ok(notes + &out.iter().map(|octet| char::from(*octet)).collect::<String>())
}

/// Octets as the characters of the same numbers.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect()
}

/// Content-Type and what follows it, the body, the text, and what comes of it.
const ONE_PART: &[(&str, &str, &str, &str)] = &[
    ("", "Hi\r\n", "Bye", "Hi\r\n\r\nBye\r\n"),
    ("", "Hi", "Bye\n\n> x", "Hi\r\n\r\nBye\r\n\r\n> x\r\n"),
    ("", "", "Bye", "\r\nBye\r\n"),
    (
        "text/plain; format=flowed",
        "Hi\r\n",
        "> x\n y\nFrom z",
        "Hi\r\n\r\n > x\r\n  y\r\n From z\r\n",
    ),
    ("", "Hi\r\n", "f\u{fc}r", "[the charset  has no place for the text]Hi\r\n"),
    (
        "text/plain; charset=utf-8",
        "Hi=\r\n",
        "f\u{fc}r",
        "[quoted-printable]Hi=3D\r\n\r\nf=C3=BCr\r\n",
    ),
    (
        "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit",
        "Hi\r\n",
        "\u{fc}",
        "Hi\r\n\r\n\u{c3}\u{bc}\r\n",
    ),
    ("text/plain; charset=iso-8859-1", "\u{e4}\r\n", "\u{fc}", "\u{e4}\r\n\r\n\u{fc}\r\n"),
    (
        "text/plain; charset=iso-8859-1",
        "\u{e4}\r\n",
        "\u{20ac}",
        "[the charset iso-8859-1 has no place for the text]\u{e4}\r\n",
    ),
    ("text/plain; charset=windows-1252", "\u{e4}\r\n", "\u{20ac}", "\u{e4}\r\n\r\n\u{80}\r\n"),
    (
        "text/plain; charset=iso-2022-jp",
        "Hi\r\n",
        "Bye",
        "[the charset iso-2022-jp has no place for the text]Hi\r\n",
    ),
    ("text/plain\r\nContent-Transfer-Encoding: base64", "SGk=\r\n", "Bye", "SGkNCg0KQnllDQo=\r\n"),
    (
        "text/plain\r\nContent-Transfer-Encoding: base64",
        "SG!k=\r\n",
        "Bye",
        "[its encoding is malformed]SG!k=\r\n",
    ),
    (
        "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable",
        "H=C3=BC=\r\n",
        "\u{fc}",
        "H=C3=BC\r\n\r\n=C3=BC\r\n",
    ),
    (
        "text/html",
        "<p>Hi</p></BODY></html>\r\n",
        "a<b\n\u{fc}",
        "<p>Hi</p>\r\n<div><br>\r\na&#60;b<br>\r\n&#252;\r\n</div>\r\n</BODY></html>\r\n",
    ),
    ("text/html", "<p>Hi</html>", "x", "<p>Hi\r\n<div><br>\r\nx\r\n</div>\r\n</html>"),
    (
        "text/html; charset=gb18030",
        "<p>\u{c4}\u{e3}",
        "x",
        "<p>\u{c4}\u{e3}\r\n<div><br>\r\nx\r\n</div>\r\n",
    ),
    ("application/pdf", "x\r\n", "Bye", "x\r\n"),
    ("text/plain; name=a.txt", "x\r\n", "Bye", "x\r\n"),
];

#[test]
fn one_part() {
    for (header, body, words, expected) in ONE_PART {
        let field = if header.is_empty() { "" } else { "Content-Type: " };
        let end = if header.is_empty() { "" } else { "\r\n" };
        let message = format!("Subject: x\r\n{field}{header}{end}\r\n{body}");
        assert_eq!(extended(&message, words).as_deref(), Ok(*expected), "{header} {body}");
    }
}

#[test]
fn html_in_base64_takes_the_text_before_the_end_of_its_body() {
    // A word that lies across two pieces of the decoder, behind one that is not the last.
    for length in [16_370, 16_378, 16_382, 40_000] {
        let html = format!("</body>{}</body></html>", "x".repeat(length));
        let mut encoded = Vec::new();
        let mut encoder =
            crate::mail::mime::encode::Encoder::new(crate::mail::mime::Encoding::Base64).unwrap();
        encoder.write(html.as_bytes(), &mut encoded).unwrap();
        encoder.finish(&mut encoded).unwrap();
        let encoded = String::from_utf8(encoded).unwrap();
        let header = "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n";
        let out = extended(&format!("{header}{encoded}"), "Bye").unwrap();
        let (text, _) = decoded(&out);
        let expected = format!(
            "</body>{}\r\n<div><br>\r\nBye\r\n</div>\r\n</body></html>",
            "x".repeat(length)
        );
        assert!(text == expected, "{length}");
    }
}

fn decoded(base64: &str) -> (String, crate::mail::mime::Faults) {
    use crate::mail::mime::{Encoding, body::Body};
    let mut body = Body::new(base64.as_bytes(), Encoding::Base64);
    let (mut buffer, mut out) = (vec![0; 1_024], Vec::new());
    while let Some(piece) = body.next(&mut buffer) {
        out.extend_from_slice(piece);
    }
    (String::from_utf8(out).unwrap(), body.faults())
}

#[test]
fn several_parts() {
    let multipart = |kind: &str, parts: &[&str]| {
        let parts: String = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
        format!("Content-Type: multipart/{kind}; boundary=b\r\n\r\n{parts}--b--\r\n")
    };
    let (plain, html) =
        ("Content-Type: text/plain\r\n\r\nHi", "Content-Type: text/html\r\n\r\n<p>");
    let file = "Content-Disposition: attachment\r\n\r\nx";
    let calendar = "Content-Type: text/calendar\r\n\r\nx";
    let utf8 =
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nHi";
    for (kind, before, words, after) in [
        (
            "alternative",
            [plain, html, calendar],
            "B",
            [
                "Content-Type: text/plain\r\n\r\nHi\r\n\r\nB\r\n",
                "Content-Type: text/html\r\n\r\n<p>\r\n<div><br>\r\nB\r\n</div>\r\n",
                calendar,
            ],
        ),
        (
            "mixed",
            [file, plain, html],
            "B",
            [file, "Content-Type: text/plain\r\n\r\nHi\r\n\r\nB\r\n", html],
        ),
        ("mixed", [file, calendar, file], "B", [file, calendar, file]),
        (
            "mixed",
            [utf8, plain, file],
            "\u{fc}",
            [
                "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHi\r\n\r\n=C3=BC\r\n",
                plain,
                file,
            ],
        ),
    ] {
        let expected = multipart(kind, &after);
        let (_, expected) = expected.split_once("\r\n\r\n").unwrap();
        assert_eq!(extended(&multipart(kind, &before), words).as_deref(), Ok(expected));
    }
    let nested = multipart(
        "mixed",
        &[&multipart("related", &[html]).replace("b\r\n", "c\r\n").replace("--b", "--c"), plain],
    );
    let out = extended(&nested, "B").unwrap();
    assert!(out.contains("<p>\r\n<div>") && out.contains("\r\nHi\r\n--b--"), "{out}");
}

#[test]
fn what_is_sealed_or_doubtful_stays() {
    let sealed = Err("it is signed or encrypted".to_string());
    let malformed = Err("it is malformed".to_string());
    for (message, expected) in [
        ("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n", &sealed),
        ("Content-Type: application/pkcs7-mime\r\n\r\nx", &sealed),
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: multipart/encrypted; boundary=c\r\n\r\n--c\r\n\r\n--c--\r\n--b--\r\n",
            &sealed,
        ),
        ("Subject: x\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n", &sealed),
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n", &malformed),
        ("Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx", &malformed),
        ("Content-Transfer-Encoding: x-own\r\n\r\nx", &malformed),
    ] {
        assert_eq!(extended(message, "Bye"), *expected, "{message}");
    }
    let many = "--b\r\n\r\nx\r\n".repeat(17);
    let many = format!("Content-Type: multipart/alternative; boundary=b\r\n\r\n{many}--b--\r\n");
    assert_eq!(extended(&many, "Bye"), Err("it has too many alternatives".to_string()));
    let within = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nContent-Type: application/pkcs7-mime\r\n\r\ny\r\n--b--\r\n";
    assert!(extended(within, "Bye").unwrap().contains("x\r\n\r\nBye\r\n\r\n--b"));
}
