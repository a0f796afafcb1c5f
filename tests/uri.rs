//! URIs as SpamAssassin's tests want them, and the Public Suffix List's own tests.

use crate::corpus;
use crate::json::Json;
use mailreeve::mail::uri::{Host, Hosts, Levels, Uri, in_html, in_message, in_text};
use regex::bytes::RegexBuilder;
use std::collections::HashMap;

/// Rows of the tables that we do not meet, and why.
const DIFFER: &[(&str, &[&str])] = &[
    ("this suffix was given out since", &["uri_text.tsv: com.foo.web"]),
    (
        "this one is not in the Public Suffix List: names stand below `co.za` and the like",
        &["uri_text.tsv: www.example.za"],
    ),
    (
        "no address",
        &[
            "uri_html_data.txt: mailto:www.luzoop5k.com",
            "uri_html_data.txt: Mailto:www.auzoop5k.com",
        ],
    ),
    (
        "no public suffix",
        &[
            "uri_html_data.txt: ftp://name@faikaj4t.dom/%2Fetc/motd",
            "uri_html_data.txt: mailto://jicu8vah@another@jicu8vah",
        ],
    ),
    (
        "a host in the path of another, which only who knows that site can know",
        &[
            "uri_html_data.txt: http://www.NATE.com/r/DM03/n%65verp4%79re%74%61%69%6c%2eco%6d/%62%61m/?m%61%6e=%6Di%634%39",
        ],
    ),
];

/// Domains that we cut otherwise, and why.
const DOMAINS_DIFFER: &[(&str, &str)] = &[
    ("http:/%77%77%77.spamassassin.org/lists.html", "browsers decode hosts"),
    ("username:password@www.spamassassin.org/lists.html", "a link without a scheme has no user"),
];

/// Forms that SpamAssassin derives and we do not, and why.
const FORMS_DIFFER: &[(&str, &[&str])] = &[
    ("no URI was given", &["http://www.kluge.net/"]),
    ("an example of what must be missing", &["http://www.example.com"]),
    (
        "a host in the path or query of another, which only who knows that site can know",
        &[
            "http://jmason.org",
            "jmason.org",
            "http://neverp4yretail.com/bam/?man=mic49",
            "neverp4yretail.com/bam/?man=mic49",
        ],
    ),
    (
        "no client follows a scheme with an encoded colon",
        &[
            "http%3A//ebg&vosxfov.com%2Emunged-%72xspecials%2Enet/b/Tr3f0amG",
            "http://ebg&vosxfov.com.munged-rxspecials.net/b/Tr3f0amG",
        ],
    ),
];

/// Rows of the Public Suffix List's tests that we do not meet on purpose.
const SUFFIXES_DIFFER: &[(&str, &[&str])] = &[
    (
        "a suffix that nobody gave out leads nowhere",
        &["example.example", "b.example.example", "a.b.example.example"],
    ),
    ("a company's suffix is also a site, and may be listed", &["uk.com"]),
];

/// What a URI is for the tests: as written, as shown, with `%XX` resolved, and with its host's one form.
fn forms(uri: &Uri<'_>) -> Vec<String> {
    let full = uri.full().into_owned();
    let (scheme, rest) = full.split_once(':').expect("a scheme");
    let rest = rest.trim_start_matches(['/', '\\']);
    let (authority, path) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let port = authority.rfind(':').map_or("", |colon| &authority[colon..]);
    let path = decoded(path).replace('\\', "/").replace("//", "/");
    vec![
        String::from_utf8_lossy(uri.text).into_owned(),
        decoded(&full),
        format!("{scheme}://{}", uri.host),
        format!("{scheme}://{}{port}{path}", uri.host),
        full,
    ]
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [octet, behind @ ..] = rest {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if *octet == b'%' => {
                out.push(value);
                rest = &behind[2..];
            }
            _ => {
                out.push(*octet);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

type Find = fn(&str) -> Vec<String>;

fn of_text(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    in_text(text.as_bytes(), &mut |uri| found.extend(forms(uri)));
    found
}

fn of_link(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let html = format!("<html><body><A  HREF = \"{text}\">x</a>");
    in_html(html.as_bytes(), &mut |uri| found.extend(forms(uri)));
    found
}

#[test]
fn as_spamassassin_wants() {
    let tables: [(&str, Find); 2] = [("uri_text.tsv", of_text), ("uri_html_data.txt", of_link)];
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (name, find) in tables {
        let Some(table) = corpus::read(&format!("uri-spamassassin/{name}")) else { return };
        for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let line = line.replace("{ESC}", "\x1b");
            let (text, patterns) = line.split_once('\t').expect("two columns");
            let found = find(text);
            let met = patterns.split_whitespace().all(|pattern| {
                let positive = pattern.strip_prefix('!');
                let regex = RegexBuilder::new(positive.unwrap_or(pattern)).unicode(false).build();
                let regex = regex.expect("an expression");
                found.iter().any(|uri| regex.is_match(uri.as_bytes())) == positive.is_none()
            });
            compared += 1;
            let row = format!("{name}: {text}");
            if met == DIFFER.iter().any(|(_, rows)| rows.contains(&&*row)) {
                wrong.push(format!("{row}: {patterns}: {found:?}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(compared > 240, "{compared}");
}

#[test]
fn domains_as_spamassassin_cuts_them() {
    let Some(text) = corpus::read("uri-spamassassin/uri.json") else { return };
    let levels = Levels::new(["live.com", "three.3ldlive.com"]);
    let mut wrong = Vec::new();
    for row in Json::parse(&text).at("uri_to_domain").list() {
        let uri = row.at("uri").text().expect("a URI");
        let mut found = None;
        let html = format!("<a href=\"{uri}\">");
        in_html(html.as_bytes(), &mut |uri| {
            found.get_or_insert(match &uri.host {
                Host::Name(name) => name.registered(&levels).unwrap_or_default().to_string(),
                address => address.to_string(),
            });
        });
        let same = found.as_deref() == row.at("domain").text();
        if same == DOMAINS_DIFFER.iter().any(|(known, _)| *known == uri) {
            wrong.push(format!("{uri}: {found:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn forms_as_spamassassin_derives_them() {
    let Some(text) = corpus::read("uri-spamassassin/uri.json") else { return };
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for row in Json::parse(&text).at("canonify").list() {
        let uris = row.at("uris").list().iter().filter_map(Json::text);
        let found: Vec<String> = uris.flat_map(of_link).collect();
        for want in row.at("expect").list().iter().filter_map(Json::text) {
            compared += 1;
            let met = found.iter().any(|form| form == want);
            if met == FORMS_DIFFER.iter().any(|(_, forms)| forms.contains(&want)) {
                wrong.push(format!("{want}: {found:?}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(compared, 47);
}

/// `checkPublicSuffix('name', 'domain');` for each row. What has no form of its own has no domain.
#[test]
fn public_suffix_list() {
    let Some(table) = corpus::read("psl/test_psl.txt") else { return };
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for line in table.lines().filter_map(|line| line.strip_prefix("checkPublicSuffix(")) {
        let line = line.strip_suffix(");").expect("an end");
        let (name, want) = line.split_once(", ").expect("two values");
        let value = |text: &str| text.strip_prefix('\'')?.strip_suffix('\'').map(str::to_string);
        let Some(name) = value(name) else { continue };
        compared += 1;
        let host = Host::parse(name.as_bytes());
        let found = match &host {
            Some(Host::Name(host)) => host.registered(&Levels::default()).map(str::to_string),
            _ => None,
        };
        let want =
            value(want).and_then(|want| Host::parse(want.as_bytes())).map(|want| want.to_string());
        if (found == want) == SUFFIXES_DIFFER.iter().any(|(_, names)| names.contains(&&*name)) {
            wrong.push(format!("{name}: {found:?} {want:?}"));
        }
    }
    assert!(compared > 70, "{compared}");
    assert_eq!(wrong, Vec::<String>::new());
}

/// Whole messages and the names that they lead to; `~` where a name stands without a scheme.
const MESSAGES: &[(&str, &str)] = &[
    ("spam/001", "209.61.190.180"),
    ("spam/010", "www.saving-much.com"),
    ("spam/base64.txt", "members.tripod.co.uk ~excite.com"),
    ("spam/badmime.txt", "harder-please.com sexmailnetwork.com"),
    (
        "spam/dnsbl.eml",
        "foo.bar.baz.uribl-example-a.com uribl-example-b.com uribl-example-c.com spamassassin.org \
         144.137.3.98",
    ),
    ("spam/decodeshorturl/chain.eml", "bit.ly tinyurl.com spamassassin.apache.org"),
    ("spam/redirectors/base.eml", "www.google.com spamassassin.apache.org www.disq.us"),
    ("spam/phishing_openphish.eml", "ehawkerbd.com"),
    ("spam/razor2", "example-spam-url-for-testing.com"),
    ("nice/cjk/big5-base64.1", "~gimit.cn.st ~gimit99.iscool.net www.geocities.com"),
    ("nice/dkim/MIMEsimple_04", "www.asfdhnmeds.com 221.143.42.39"),
    ("nice/mime9", "example.com"),
    ("nice/no_body", ""),
];

#[test]
fn messages_of_spamassassin() {
    let levels = Levels::default();
    let Some(files) = corpus::files("uri-spamassassin/data") else { return };
    let files: HashMap<String, Vec<u8>> = files.into_iter().collect();
    for (name, want) in MESSAGES {
        let mut hosts = Hosts::new(&levels, 20);
        assert!(in_message(&files[*name], false, &|_| {}, &mut |uri| hosts.add(uri)));
        let guess = |linked: bool| if linked { "" } else { "~" };
        let found = hosts.entries().iter().map(|e| format!("{}{}", guess(e.linked), e.full));
        assert_eq!(found.collect::<Vec<_>>().join(" "), *want, "{name}");
    }
}
