//! Examples of what is found, and of what is not.

use super::*;
use crate::mail::uri::fuzz::fuzz;

type Find = fn(&[u8], &mut dyn FnMut(&Uri<'_>));

/// Hosts with a mark for how they were found: `~` guessed, `@` mail.
fn hosts(find: Find, text: &str) -> String {
    let mut found = Vec::new();
    find(text.as_bytes(), &mut |uri| {
        let guessed = if uri.guessed { "~" } else { "" };
        let mail = if uri.scheme == Scheme::Mail { "@" } else { "" };
        found.push(format!("{guessed}{mail}{}", uri.host));
    });
    fuzz(text.as_bytes());
    found.join(" ")
}

#[test]
fn texts() {
    let rows: &[(&str, &str)] = &[
        ("", ""),
        ("No link. None here: not even 1.5 or 3:4 or a.b", ""),
        ("see http://www.example.com/a?b#c.", "www.example.com"),
        ("(HTTPS://Example.COM:8080)", "example.com"),
        ("ftp://u:p@example.com;x", "example.com"),
        ("http://good.com@evil.com/", "evil.com"),
        ("http://good.com\\@evil.com/", "good.com"),
        ("http:/example.com http:example.com", "example.com"),
        ("hxxp://example.com", ""),
        ("www.example.com/x, example.org.", "~www.example.com ~example.org"),
        ("example.com:80/x example.net?y example.org#z", "~example.com ~example.net ~example.org"),
        ("a@example.com <mailto:b@example.org?subject=c>", "~@example.com @example.org"),
        ("a.b+c@mail.example.com,d@e.invalid", "~@mail.example.com"),
        ("document.name=1 self.name(x) x/readme.md", ""),
        (
            "http://192.0.2.1/ http://0xC0000201 http://3221225985:80/",
            "192.0.2.1 192.0.2.1 192.0.2.1",
        ),
        ("http://[2001:db8::1]:80/x http://[::1", "[2001:db8::1]"),
        ("http://b\u{fc}cher.de/ b\u{fc}cher.com", "xn--bcher-kva.de ~xn--bcher-kva.com"),
        ("\u{8bf7}\u{770b}http://example.com\u{67e5}\u{770b}", "example.com"),
        ("\u{8bf7}\u{770b}example.com\u{67e5}\u{770b}", "~example.com"),
        ("http://exa\u{ad}mple.com http://ex%61mple.com", "example.com example.com"),
        (
            "http://example.com/?u=http://example.org/?v=https://example.net",
            "example.com example.org example.net",
        ),
        (
            "http://example.com/%3Fu=http%3A%2F%2Fexample.org%2F%3Fv%3Dhttps%253A%252F%252Fexample.net",
            "example.com example.org example.net",
        ),
        ("http://localhost/ http://intranet http://printer.local", ""),
        ("http://example.com/[x] {example.org}", "example.com ~example.org"),
        ("ftp.example.com", "~ftp.example.com"),
    ];
    for (text, want) in rows {
        assert_eq!(hosts(in_text, text), *want, "{text}");
    }
}

#[test]
fn html() {
    let rows: &[(&str, &str)] = &[
        ("<a href=\"http://example.com/\">x</a>", "example.com"),
        ("<A\nHREF = 'http://example.com/'>", "example.com"),
        ("<a href=http://example.com/>x", "example.com"),
        ("<a/href=\"http://example.com\"/title=x>", "example.com"),
        ("<a href=//example.com/x><img src=\\\\example.org\\x>", "~example.com ~example.org"),
        ("<a href=\" \n http://exam\tple.com \">", "example.com"),
        ("<a href=\"&#104;ttp&colon;//ex&#x61;mple&period;com\">", "example.com"),
        ("<a href=\"http:\\\\example.com\"><a href=http:example.org>", "example.com example.org"),
        ("<a href=\"www.example.com\"><a href=example.org/x>", "~www.example.com ~example.org"),
        ("<a href=\"/x.com\"><a href=\"#a.com\"><a href=\"index.html\">", ""),
        ("<a href=\"cid:a@example.com\"><a href=\"data:text/html,x\">", ""),
        ("<a href=\"javascript:location='http://example.com/'\">", "example.com"),
        ("<a href=\"mailto:a@example.com?body=http://example.org\">", "@example.com example.org"),
        (
            "<td background='//example.com/x.gif'><form action=\"http://example.org\">",
            "~example.com example.org",
        ),
        ("<meta http-equiv=refresh content=\"0;url=http://example.com/\">", "example.com"),
        ("<p style=\"background:url(http://example.com/x.png)\">", "example.com"),
        (
            "<img srcset='http://example.com/1 1x, http://example.org/2 2x'>",
            "example.com example.org",
        ),
        ("<p title=\"http://example.com\">", ""),
        ("go to example.com<br>now", "~example.com"),
        ("exam<b></b>ple<span class=x>.com</span>", "~example.com"),
        ("exam<p>ple.com", "~ple.com"),
        ("exam&shy;ple&#46;com", "~example.com"),
        (
            "<!-- http://example.com --><!--[if mso]><a href=http://example.org><![endif]-->",
            "example.org",
        ),
        (
            "<!--> <a href=http://example.com> <!---> http://example.org -->",
            "example.com example.org",
        ),
        ("<style>a{background:url(http://example.com/)} b.com{}</style>", "example.com"),
        (
            "<script>if(a<b)x=\"http://example.com\";y.com</script>z.example.org",
            "example.com ~z.example.org",
        ),
        ("a < b.com <3.com", "~b.com ~3.com"),
        ("<a href=\"http://example.com>x</a> <a href=\"http://example.org\">", "example.com"),
        ("<a href=\"http://example.com", "example.com"),
        (
            "<v:imagedata src=\"http://example.com\"/><v:fill o:src=\"http://example.org\">",
            "example.com example.org",
        ),
        ("&amp;&am", ""),
    ];
    for (text, want) in rows {
        assert_eq!(hosts(in_html, text), *want, "{text}");
    }
    // A value that is data is passed over, and what follows it is read.
    let data =
        format!("<img src=\"data:;base64,{}\" lowsrc=http://example.com>", "QUFB".repeat(50_000));
    assert_eq!(hosts(in_html, &data), "example.com");
}

#[test]
fn messages() {
    let message = "Subject: =?utf-8?q?see_www=2Eexample=2Ecom?=\r\nReceived: from x.example.net\r\n\
        List-Unsubscribe: <http://example.org/u>\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble.com\r\n\
        --b\r\nContent-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        aAB0AHQAcAA6AC8ALwBhAC4AYwBvAG0A\r\n\
        --b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        <a href=3D\"http://b.c=\r\nom\">\r\n\
        --b\r\nContent-Type: application/octet-stream; name=\"page.HTML\"\r\n\r\n<a href=http://c.com>\r\n\
        --b\r\nContent-Type: application/pdf\r\n\r\nhttp://d.com\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nhttp://e.com\r\n\
        --b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        U3ViamVjdDogeA0KDQpodHRwOi8vZi5jb20NCg==\r\n\
        --b--\r\nepilogue.com";
    let levels = Levels::default();
    let found = |headers| {
        let mut hosts = Hosts::new(&levels, 100);
        assert!(in_message(message.as_bytes(), headers, &|_| {}, &mut |uri| hosts.add(uri)));
        let names: Vec<String> = hosts.entries().iter().map(|e| e.host.to_string()).collect();
        names.join(" ")
    };
    let body = "preamble.com a.com b.com c.com e.com f.com epilogue.com";
    assert_eq!(found(false), body);
    assert_eq!(found(true), format!("example.com example.org {body}"));
    fuzz(message.as_bytes());
}

#[test]
fn gathers() {
    let levels = Levels::new(["example.com"]);
    let mut hosts = Hosts::new(&levels, 3);
    let text =
        "a@x.org www.x.org http://www.x.org/1 http://u.example.com http://1.2.3.4 http://y.org";
    in_text(text.as_bytes(), &mut |uri| hosts.add(uri));
    let shown: Vec<String> = hosts
        .entries()
        .iter()
        .map(|e| format!("{} {} {} {} {}", e.host, e.full, e.count, e.linked, e.mail))
        .collect();
    assert_eq!(
        shown,
        [
            "x.org x.org 3 true false",
            "u.example.com u.example.com 1 true false",
            "1.2.3.4 1.2.3.4 1 true false"
        ]
    );
    assert!(hosts.more());
}

#[test]
fn bombs() {
    let mut count = 0;
    let many = "http://a.com ".repeat(20_000);
    assert!(!in_message(format!("A: b\r\n\r\n{many}").as_bytes(), false, &|_| {}, &mut |_| {
        count += 1;
    }));
    assert_eq!(count, URIS_MAX);
    let long = format!("http://a.com/{}", "x".repeat(1_000_000));
    let nested = "http://a.com/?u=%".repeat(5_000);
    let encoded = format!("http://a.com/?u={}", "%2568ttp%253A%252F%252Fa.com".repeat(5_000));
    for text in [
        long,
        nested,
        encoded,
        "a.".repeat(500_000),
        "a.a@".repeat(250_000),
        "@a.com".repeat(150_000),
        "www.a,".repeat(150_000),
        "www.a:".repeat(150_000),
        "www.a@".repeat(150_000),
        "a.com,".repeat(150_000),
        "http:".repeat(200_000),
        "http://".repeat(150_000),
        "mailto:".repeat(150_000),
        "&".repeat(1_000_000),
        "&a".repeat(500_000),
        "<".repeat(1_000_000),
        "<a href=".repeat(125_000),
        "<!--".repeat(250_000),
        "<a b='".repeat(160_000),
    ] {
        // Whatever is found, it ends, and no URI is longer than what is looked at.
        let mut longest = 0;
        let mut see = |uri: &Uri<'_>| longest = longest.max(uri.text.len());
        in_text(text.as_bytes(), &mut see);
        in_html(text.as_bytes(), &mut see);
        assert!(longest <= 5_000);
    }
}
