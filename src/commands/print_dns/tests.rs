//! The records, to the letter.

use super::*;
use crate::authn::dkim::testing::{ED25519_PKCS8, RSA_PUBLIC};
use crate::config::files::Files;
use crate::dns::Record;

/// The key of SME Server's example.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAs/Qq3Ntpx2QNdRxGKMeK\n\
c2r9ULvyYW633IbLivHznN9JvjJIbS54PGIEk3sSxvZSdpTRAvYlxn/nRi329Vmc\n\
DK0vJYb2ut2rnZ3VO3r5srm+XEvTNPxij5eU4gqw+5ayySDjqzAMEMc5V7lUMpZ/\n\
YiqnscA075XiMF7iEq8Quv1y0LokmgwtxzOXEZap34WXlKyhYzH+DfabF6SUllmA\n\
0ovODNvudzvEOanPlViQ7q7d+Mc3b7X/fzgJfh5P9f5U+iSmzgyGctSb6GX8sqsD\n\
MNVEsRZpSE3jd2Z33RDWyW21PGOKB/ZrLiliKfdJbd3Wo7AN7bWsZpQsei2Hsv1n\n\
iQIDAQAB\n\
-----END PUBLIC KEY-----\n";

fn folder(files: &[(&str, &str)]) -> Files {
    Files::in_memory(files.iter().map(|(name, text)| (name.to_string(), text.to_string())))
}

fn example() -> Vec<Key> {
    let files = folder(&[("dkim/default/public", KEY), ("dkim/default/selector", "default\n")]);
    keys(&files, "domain.net").expect("a key")
}

/// What the script prints for domain.net with that key, two empty lines and a slip included.
#[test]
fn the_example_of_the_script() {
    let expected = concat!(
        "Here are sample DNS entries you should add in your public DNS\n",
        "The DKIM entry can be copied as is, but others will probably need to be adjusted\n",
        "to your need. For example, you should either change the reporting email adress\n",
        "for DMARC (or create the needed pseudonym)\n",
        "\n",
        "\n",
        "default._domainkey IN TXT \"v=DKIM1;p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAs/Qq3Ntpx2Q",
        "NdRxGKMeKc2r9ULvyYW633IbLivHznN9JvjJIbS54PGIEk3sSxvZSdpTRAvYlxn/nRi329VmcDK0vJYb",
        "2ut2rnZ3VO3r5srm+XEvTNPxij5eU4gqw+5ayySDjqzAMEMc5V7lUMpZ/YiqnscA075XiMF7iEq8Quv1",
        "y0LokmgwtxzOXEZap34WXlKyhYzH+D\"\"fabF6SUllmA0ovODNvudzvEOanPlViQ7q7d+Mc3b7X/fzgJf",
        "h5P9f5U+iSmzgyGctSb6GX8sqsDMNVEsRZpSE3jd2Z33RDWyW21PGOKB/ZrLiliKfdJbd3Wo7AN7bWsZ",
        "pQsei2Hsv1niQIDAQAB\"\n",
        "@ IN SPF \"v=spf1 mx a -all\"\n",
        "@ IN TXT \"v=spf1 mx a -all\"\n",
        "_dmarc IN TXT \"v=DMARC1; p=none; adkim=s; aspf=r; ",
        "rua=mailto:dmarc-feedback@domain.net; pct=100\"\n",
    );
    assert_eq!(plain("domain.net", &example()), expected);
}

#[test]
fn keys_are_found_as_the_signer_finds_them() {
    let files = folder(&[
        ("dkim/default/public", KEY),
        ("dkim/example.com/public", RSA_PUBLIC),
        ("dkim/example.com/selector", "# ours\ns2026\n"),
        ("dkim/example.com/ed25519/private", ED25519_PKCS8),
        ("dkim/empty.example/selector", "x"),
        ("dkim/broken.example/public", "x"),
        ("dkim/only-private.example/private", ED25519_PKCS8),
    ]);
    let shown = |domain| {
        let found = keys(&files, domain)?;
        let show = |key: &Key| format!("{} {}", key.selector, key.public.bits());
        Ok::<String, String>(found.iter().map(show).collect::<Vec<_>>().join(", "))
    };
    for (domain, expected) in [
        ("example.com", Ok("s2026 2048, ed25519 256")),
        ("a.b.example.com", Ok("s2026 2048, ed25519 256")),
        ("example.org", Ok("default 2048")),
        ("only-private.example", Ok("default 256")),
        ("empty.example", Err("dkim/empty.example: neither public nor private is there")),
        ("broken.example", Err("dkim/broken.example/public is no RSA or Ed25519 key")),
    ] {
        let found = shown(domain);
        let expected = expected.map(str::to_string).map_err(str::to_string);
        assert_eq!(found, expected, "{domain}");
    }
}

#[test]
fn the_domain_of_the_host_name() {
    for (me, rcpthosts, expected) in [
        ("mail.domain.net", "domain.net", "domain.net"),
        ("Mail.Domain.net", "", "domain.net"),
        ("mail.dept.domain.net", "other.example\ndomain.net", "domain.net"),
        ("domain.net", "domain.net", "domain.net"),
        ("domain.net", "", "domain.net"),
        ("localhost", "", "localhost"),
    ] {
        assert_eq!(own_domain(&folder(&[("rcpthosts", rcpthosts)]), me), expected, "{me}");
    }
}

#[test]
fn strings_of_a_record() {
    for (octets, between, expected) in [
        (3, "", "\"xxx\"".to_string()),
        (255, "", format!("\"{}\"", "x".repeat(255))),
        (256, "", format!("\"{}\"\"x\"", "x".repeat(255))),
        (256, " ", format!("\"{}\" \"x\"", "x".repeat(255))),
        (511, "", format!("\"{0}\"\"{0}\"\"x\"", "x".repeat(255))),
    ] {
        assert_eq!(strings(&"x".repeat(octets), between), expected, "{octets}");
    }
    // An RSA key of 4096 bits needs three strings.
    let modulus = vec![0xff; 512];
    let key = PublicKey::Rsa { modulus, exponent: vec![1, 0, 1] };
    let record = format!("v=DKIM1;p={}", STANDARD.encode(key.for_record()));
    assert_eq!((record.len(), strings(&record, "").matches("\"\"").count()), (746, 2));
}

#[test]
fn what_one_would_publish_today() {
    let text = modern("domain.net", "mail.domain.net", &example());
    for line in [
        "@ IN TXT \"v=spf1 mx a -all\"",
        "_dmarc IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc-feedback@domain.net\"",
        "_smtp._tls IN TXT \"v=TLSRPTv1; rua=mailto:tls-feedback@domain.net\"",
        ";   mx: mail.domain.net",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    assert!(!text.contains("IN SPF") && !text.contains("pct="));
    assert!(text.contains("default._domainkey IN TXT \"v=DKIM1; k=rsa; p=MII"), "{text}");
    assert!(text.contains("_mta-sts IN TXT \"v=STSv1; id="));
}

#[test]
fn records_that_must_be_there_once() {
    let answer = |texts: &[&str]| {
        Answer::Found(texts.iter().map(|text| Record::Text(text.as_bytes().into())).collect())
    };
    for (texts, expected) in [
        (&["x", "V=spf1 -all"][..], Published::Same),
        (&["x"], Published::Missing),
        (&["v=spf1 -all", "v=spf1 +all"], Published::Other("2 records, one is right".to_string())),
    ] {
        assert_eq!(once(&answer(texts), "v=spf1").0, expected, "{texts:?}");
    }
    assert_eq!(once(&answer(&["v=spf1 -all\n"]), "v=spf1").1, "v=spf1 -all\\x0a");
    assert_eq!(once(&Answer::TempFail, "v=spf1").0, Published::Unknown);
}
