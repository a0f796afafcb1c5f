//! Tables for paths, mailboxes, domains and literals.

use super::*;
use AddressError::{NeedsUtf8, NoBrackets, Syntax, TooLong};

/// Reads `<text>` as a recipient with SMTPUTF8 and compares local part, domain and written form.
fn good(text: &str, local: &str, domain: &str, shown: &str) {
    let path = format!("<{text}>");
    let address = parse_forward(path.as_bytes(), true).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!((address.local(), address.domain()), (local, domain), "{text}");
    assert_eq!(address.to_string(), shown, "{text}");
    fuzz(path.as_bytes());
    fuzz(format!(" {path} SIZE=1").as_bytes());
}

/// Reads `<text>` both ways and expects the same error.
fn bad(text: &str, error: AddressError) {
    let path = format!("<{text}>");
    assert_eq!(parse_forward(path.as_bytes(), true), Err(error), "{text:?}");
    assert_eq!(parse_reverse(path.as_bytes(), true), Err(error), "{text:?}");
    fuzz(path.as_bytes());
}

#[test]
fn plain_mailboxes() {
    for text in [
        "foo@example.com",
        "Foo.Bar+x=y@example.com",
        "!#$%&'*+-/=?^_`{|}~@example.com",
        "u..x@example.com",
        "u.@example.com",
        "user%other@example.com",
        "host!user@example.com",
        "a@b",
        "a@under_score.example",
        "a@_x",
        "a@1.2.3.4",
        "a@3com.c--n",
    ] {
        let (local, domain) = text.split_once('@').unwrap();
        good(text, local, domain, text);
    }
    good("U@EXAMPLE.Com", "U", "example.com", "U@example.com");
}

#[test]
fn quoted_mailboxes() {
    good(r#""a b"@x.y"#, "a b", "x.y", r#""a b"@x.y"#);
    good(r#""a\ b"@x.y"#, "a b", "x.y", r#""a b"@x.y"#);
    good(r#""a@b"@x.y"#, "a@b", "x.y", r#""a@b"@x.y"#);
    good(r#""a>b"@x.y"#, "a>b", "x.y", r#""a>b"@x.y"#);
    good(r#""a\"\\b"@x.y"#, "a\"\\b", "x.y", r#""a\"\\b"@x.y"#);
    good(r#""plain"@x.y"#, "plain", "x.y", "plain@x.y");
    good(r#""\p\l\a\i\n"@x.y"#, "plain", "x.y", "plain@x.y");
    good(r#"".dot"@x.y"#, ".dot", "x.y", r#"".dot"@x.y"#);
    good(r#"""@x.y"#, "", "x.y", r#"""@x.y"#);
    good(r#""é b"@x.y"#, "é b", "x.y", r#""é b"@x.y"#);
    bad(r#""a"b"@x.y"#, Syntax("no @ behind the local part"));
    bad(r#""a".b@x.y"#, Syntax("no @ behind the local part"));
    bad(r#""a@x.y"#, Syntax("quote that is not closed"));
    bad(r#""a\"@x.y"#, Syntax("quote that is not closed"));
    bad(r#""a\é"@x.y"#, Syntax("backslash"));
    bad(r#""postmaster""#, Syntax("no @ behind the local part"));
    bad(r#"a"b"@x.y"#, Syntax("no @ behind the local part"));
}

#[test]
fn one_reading_only() {
    let no_at = Syntax("no @ behind the local part");
    let character = Syntax("character in the domain");
    for (text, error) in [
        ("a@b@c", character),
        ("a@b.example'@c.example", character),
        ("a@@b", character),
        ("a@b.example(c.example", character),
        ("(a@b.example", Syntax("local part")),
        ("a b@c", no_at),
        (" a@c", Syntax("local part")),
        ("a @c", no_at),
        ("a@c ", character),
        ("a(comment)@c", no_at),
        ("a\\b@c", no_at),
        ("a<b@c", no_at),
        ("a@b>c", character),
        (".a@c", Syntax("local part")),
        ("", Syntax("local part")),
        ("@", Syntax("source route")),
        ("@x.y", Syntax("source route")),
        ("a", no_at),
        ("abuse", no_at),
        ("a@", Syntax("empty label in the domain")),
        ("a@x.y.", Syntax("empty label in the domain")),
        ("a@.x", Syntax("empty label in the domain")),
        ("a@x..y", Syntax("empty label in the domain")),
        ("a@-x.y", Syntax("hyphen at the end of a label")),
        ("a@x-.y", Syntax("hyphen at the end of a label")),
        ("a@x.y#", character),
        ("a@b%c", character),
    ] {
        if text.is_empty() {
            assert_eq!(parse_forward(b"<>", true), Err(error));
        } else {
            bad(text, error);
        }
    }
}

#[test]
fn source_routes() {
    good("@a.example,@b.example:u@c.example", "u", "c.example", "u@c.example");
    good("@[IPv6:::1],@[192.0.2.1]:\"a:b\"@c", "a:b", "c", "\"a:b\"@c");
    good("@bücher.example:u@c", "u", "c", "u@c");
    let route = Syntax("source route");
    for text in ["@a", "@a,@b", "@a,b:u@c", "@a,:u@c", "@[1.2.3.4", "@[1.2.3.4]x:u@c"] {
        bad(text, route);
    }
    bad("@a-:u@c", Syntax("hyphen at the end of a label"));
    bad("@:u@c", Syntax("empty label in the domain"));
    bad("@a:@b:u@c", Syntax("local part"));
    bad("@a:", Syntax("local part"));
    bad("@a:postmaster", Syntax("no @ behind the local part"));
}

#[test]
fn literals() {
    good("u@[192.0.2.1]", "u", "[192.0.2.1]", "u@[192.0.2.1]");
    good("u@[192.000.02.1]", "u", "[192.0.2.1]", "u@[192.0.2.1]");
    let shown = "[ipv6:2001:db8::1]";
    good("u@[IPv6:2001:DB8:0:0::0001]", "u", shown, &format!("u@{shown}"));
    good("u@[ipv6:::]", "u", "[ipv6:::]", "u@[ipv6:::]");
    assert!(parse_forward(b"<u@[192.0.2.1]>", false).unwrap().is_literal());
    assert!(!parse_forward(b"<u@192.0.2.1>", false).unwrap().is_literal());
    for text in [
        "[]",
        "[192.0.2]",
        "[192.0.2.256]",
        "[192.0.2.1.1]",
        "[192.0..1]",
        "[+92.0.2.1]",
        "[0192.0.2.1]",
        "[192.0.2.1",
        "[192.0.2.1]x",
        "[IPv6:]",
        "[IPv6:::1%eth0]",
        "[IPv6:1:2:3:4:5:6:7:8:9]",
        "[2001:db8::1]",
        "[x:y]",
        "[é]",
    ] {
        bad(&format!("u@{text}"), Syntax("address literal"));
    }
}

#[test]
fn international_domains() {
    for (written, ascii) in [
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("straße.de", "xn--strae-oqa.de"),
        ("日本語.jp", "xn--wgv71a119e.jp"),
        ("пример.ПРИМЕР", "xn--e1afmkfd.xn--e1afmkfd"),
        ("BÜCHER-2024.de", "xn--bcher-2024-9db.de"),
        ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
        ("가나다", "xn--o39a40go4b"),
        ("भारत", "xn--h2brj9c"),
        ("\u{10400}\u{10401}", "xn--hj8cc"),
        ("ΔΟΚΙΜΉ", "xn--jxalpdlp"),
        ("İstanbul", "xn--istanbul-o0e"),
        ("ليهما", "xn--mgb1ddho"),
        ("a_ü", "xn--a_-yka"),
    ] {
        good(&format!("u@{written}"), "u", ascii, &format!("u@{}", lower(written)));
        let plain = parse_forward(format!("<u@{}>", ascii.to_uppercase()).as_bytes(), false);
        let unicode = parse_forward(format!("<u@{written}>").as_bytes(), true);
        assert_eq!(plain, unicode, "{written}");
        assert!(unicode.unwrap().needs_utf8() && !plain.unwrap().needs_utf8());
    }
    for text in ["a\u{3002}b", "\u{FF41}", "ban\u{212A}", "a\u{200B}b", "a\u{AD}b", "\u{2100}"] {
        bad(&format!("u@{text}"), Syntax("character in the domain"));
    }
    bad("u@xn--ü", Syntax("hyphens in a U-label"));
    bad("u@-ü", Syntax("hyphen at the end of a label"));
}

fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[test]
fn utf8_has_to_be_asked_for() {
    assert_eq!(parse_forward("<é@x.y>".as_bytes(), false), Err(NeedsUtf8));
    assert_eq!(parse_reverse("<u@é.y>".as_bytes(), false), Err(NeedsUtf8));
    assert_eq!(parse_reverse(b"<\xE9@x.y>", false), Err(NeedsUtf8));
    assert_eq!(parse_reverse(b"<\xE9@x.y>", true), Err(Syntax("not UTF-8")));
    good("Pelé@example.com", "Pelé", "example.com", "Pelé@example.com");
    assert!(parse_forward("<é@x.y>".as_bytes(), true).unwrap().needs_utf8());
    for char in ['\u{85}', '\u{2028}', '\u{202E}', '\u{2069}', '\u{FDD0}', '\u{1FFFE}'] {
        let error = Syntax("character that is not for addresses");
        bad(&format!("a{char}b@x.y"), error);
        bad(&format!("\"a{char}b\"@x.y"), error);
        bad(&format!("a@x{char}.y"), error);
    }
}

#[test]
fn control_characters_are_refused_everywhere() {
    for byte in (0..0x20u8).chain([0x7F]) {
        let char = char::from(byte);
        for text in [
            format!("a{char}@x.y"),
            format!("\"a{char}\"@x.y"),
            format!("\"a\\{char}\"@x.y"),
            format!("a@x{char}.y"),
            format!("@x{char}:a@y"),
        ] {
            bad(&text, Syntax("control character"));
        }
    }
}

#[test]
fn bounds() {
    let label = "x".repeat(63);
    let long = |n: usize| {
        let text = [label.as_str(); 4].join(".");
        format!("{text}.y").get(..n).unwrap_or_default().to_owned()
    };
    let local = "u".repeat(LOCAL_PART_MAX);
    let full = format!("{local}@{}", long(DOMAIN_MAX));
    good(&full, &local, &long(DOMAIN_MAX), &full);
    bad(&format!("{local}u@x.y"), TooLong("local part"));
    bad(&format!("\"{}\"@x.y", &local[1..]), TooLong("local part"));
    bad(&format!("u@{label}.{label}.{label}.{label}.y"), TooLong("domain"));
    bad(&format!("u@{label}x"), TooLong("label"));
    // In A-labels: 40 times ö is 46 octets, 57 times is 63.
    assert!(parse_forward(format!("<u@{}>", "ö".repeat(57)).as_bytes(), true).is_ok());
    bad(&format!("u@{}", "ö".repeat(58)), TooLong("label"));
    bad(&format!("u@{}", "ö".repeat(400)), TooLong("label"));
    bad(&format!("u@{}ü", "x".repeat(59)), TooLong("label"));
    let routes = |n: usize| format!("@a{}:u@x.y", ",@b".repeat(n));
    good(&routes(335), "u", "x.y", "u@x.y");
    bad(&routes(400), TooLong("path"));
}

#[test]
fn paths_and_null() {
    for text in ["<>", "<#@[]>"] {
        let path = parse_reverse(text.as_bytes(), false).unwrap();
        assert!(path.is_null() && path.address().is_none());
        assert_eq!(path.to_string(), "<>");
    }
    let path = parse_reverse(b"<\"a b\"@X.Y>", false).unwrap();
    assert_eq!((path.to_string().as_str(), path.is_null()), ("<\"a b\"@x.y>", false));
    assert_eq!(path.address().map(Address::plain).as_deref(), Some("a b@x.y"));
    for text in ["<postmaster>", "<POSTMASTER>", "<Postmaster>"] {
        let address = parse_forward(text.as_bytes(), false).unwrap();
        assert_eq!((address.local(), address.domain()), ("postmaster", ""));
        assert_eq!(
            (address.plain(), address.to_string()),
            ("postmaster".into(), "postmaster".into())
        );
        assert!(parse_reverse(text.as_bytes(), false).is_err());
    }
    for text in ["", "a@b", "postmaster", "a@b>", " <a@b>"] {
        assert_eq!(parse_forward(text.as_bytes(), false), Err(NoBrackets), "{text}");
        assert_eq!(parse_reverse(text.as_bytes(), false), Err(NoBrackets), "{text}");
    }
    for text in ["<", "<a@b", "<a@b> "] {
        assert_eq!(parse_reverse(text.as_bytes(), false), Err(Syntax("no closing bracket")));
    }
}

#[test]
fn splitting_the_argument() {
    let unclosed = Err(Syntax("no closing bracket"));
    let behind = Err(Syntax("text behind the path"));
    for (text, expected) in [
        ("<a@b>", Ok(("<a@b>", ""))),
        ("  <a@b> SIZE=1  X ", Ok(("<a@b>", "SIZE=1  X"))),
        ("\t<>\tSIZE=1", Ok(("<>", "SIZE=1"))),
        (r#"<"a> b"@x> Y=">""#, Ok((r#"<"a> b"@x>"#, r#"Y=">""#))),
        (r#"<"a\"> b"@x> Y"#, Ok((r#"<"a\"> b"@x>"#, "Y"))),
        (r"<a\> b>", Ok((r"<a\>", "b>"))),
        ("<a b@c> D", Ok(("<a b@c>", "D"))),
        ("a@b SIZE=1", Ok(("a@b", "SIZE=1"))),
        ("a@b", Ok(("a@b", ""))),
        ("", Ok(("", ""))),
        ("  ", Ok(("", ""))),
        ("<a@b", unclosed),
        ("<", unclosed),
        (r#"<"a@b>"#, unclosed),
        ("<a@b>SIZE=1", behind),
        ("<a@b>>", behind),
        ("<a@b>\r\nX", behind),
        ("<a@b> X\r", Ok(("<a@b>", "X\r"))),
        ("\n<a@b>", Ok(("\n<a@b>", ""))),
    ] {
        let expected =
            expected.map(|(path, rest): (&str, &str)| (path.as_bytes(), rest.as_bytes()));
        assert_eq!(split_path(text.as_bytes()), expected, "{text:?}");
        fuzz(text.as_bytes());
    }
}

#[test]
fn addresses_are_small() {
    assert!(size_of::<ReversePath>() <= 24);
}

#[test]
fn damaged_paths_do_no_harm() {
    let seeds = [
        r#"<@a.example,@[IPv6:::1]:"a>\" b"@Bücher.example> SIZE=10 BODY=8BITMIME"#,
        "<u..x@[192.0.2.1]> SMTPUTF8",
        "<δοκιμή@παράδειγμα.δοκιμή>",
    ];
    for seed in seeds {
        for at in 0..seed.len() {
            let mut bytes = seed.as_bytes().to_vec();
            for byte in [b'"', b'\\', b'>', b'@', b' ', b'.', 0, 0xC3, 0xFF] {
                bytes[at] = byte;
                fuzz(&bytes);
            }
            bytes.remove(at);
            fuzz(&bytes);
            fuzz(&bytes[at..]);
            fuzz(&bytes[..at]);
        }
    }
}
