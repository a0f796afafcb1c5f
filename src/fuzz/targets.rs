//! One test a target, with the seeds that a person would try first.

use super::{drive, each_packet, run};

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
fn arc() {
    let set = b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=example.org; s=sel; t=1; b=AQID\r\n\
        ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=sel; h=from;\r\n \
        bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=; b=AQID\r\n\
        ARC-Authentication-Results: i=1; example.org; spf=pass\r\nFrom: a@example.org\r\n\r\nbody\r\n";
    let seeds: &[&[u8]] = &[
        set,
        b"ARC-Seal: i=51; cv=fail\r\nARC-Message-Signature: i=0\r\nARC-Authentication-Results: i=1\r\n\r\n",
        b" (a \\) b) i (c) = 50 ; x",
    ];
    drive("arc", seeds, crate::authn::arc::fuzz);
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

/// What a name server may say: an alias with its address, both compressed; text in pieces; "no such
/// name" with its SOA; exchangers, and a name of an address, compressed and not; a referral.
const REPLIES: [&[u8]; 6] = [
    b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\0\x03www\x07example\0\0\x01\0\x01\
      \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x10\
      \xc0\x29\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01",
    b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x01a\0\0\x10\0\x01\
      \xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x08\x03v=s\x03pf1",
    b"\0\x07\x81\x83\0\x01\0\0\0\x01\0\x01\x01a\0\0\x0f\0\x01\
      \0\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05\
      \0\0\x29\x04\xd0\0\0\0\0\0\0",
    b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\0\x01a\x07example\0\0\x0f\0\x01\
      \xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x07\0\x0a\x02mx\xc0\x0e\
      \xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x03\0\0\0",
    b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\0\x011\x04arpa\0\0\x0c\0\x01\
      \xc0\x0c\0\x0c\0\x01\0\0\0\x3c\0\x0a\x04mail\x03org\0\
      \xc0\x0c\0\x0c\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e",
    b"\0\x07\x81\0\0\x01\0\0\0\x01\0\0\x01a\x07example\0\0\x02\0\x01\
      \xc0\x0e\0\x02\0\x01\0\0\0\x3c\0\x05\x02ns\xc0\x0e",
];

#[test]
fn dns() {
    let packets = super::dns_packets();
    let name: &[u8] = b"_dmarc.b\xc3\xbccher.example";
    let seeds = REPLIES.into_iter().chain([name]).chain(packets.iter().map(Vec::as_slice));
    let target = crate::dns::wire::fuzz;
    each_packet("dns", &seeds.collect::<Vec<_>>(), |it| run("dns", it, target));
}

/// Mutated replies mostly fail at their first octets. These get far: each way through the parser
/// is gone, by the seeds above alone, at least so often.
#[test]
fn dns_inputs_reach_every_way_through_the_parser() {
    let mut met = std::collections::BTreeMap::<String, u32>::new();
    each_packet("dns", &REPLIES, |input| {
        for way in crate::dns::wire::ways(input) {
            *met.entry(way).or_default() += 1;
        }
    });
    for (way, least) in [
        ("A by an alias", 20),
        ("alias left open", 20),
        ("TXT", 50),
        ("MX", 50),
        ("PTR", 50),
        ("NXDOMAIN kept by its SOA", 20),
        ("NXDOMAIN", 20),
        ("no data", 50),
        ("a compressed owner", 100),
        ("a compressed value", 100),
        ("Malformed", 100),
        ("Referral", 20),
        ("TooMuch", 1),
    ] {
        let count = met.get(way).copied().unwrap_or_default();
        assert!(count >= least, "{way}: {count} of {least}; {met:#?}");
    }
}

#[test]
fn clamd() {
    let seeds: &[&[u8]] = &[
        b"stream: OK",
        b"stream: Eicar-Test-Signature.UNOFFICIAL FOUND",
        b"stream: OK FOUND",
        b"INSTREAM size limit exceeded. ERROR",
        b"ClamAV 1.4.6/27000/Mon Nov 23 10:00:00 2026",
        b"COMMAND READ TIMED OUT",
    ];
    drive("clamd", seeds, crate::client::clamd::fuzz);
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

#[test]
fn auth() {
    let seeds: &[&[u8]] = &[
        b"\0AHRpbQB0YW5zdGFhZnRhbnN0YWFm",
        b"\x80\nAHRpbQB0YW5zdGFhZnRhbnN0YWFm",
        b"\x01dGlt\ncGFzcw==\n",
        b"\x81dGlt\ncGFzcw==\n*",
        b"\x82dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw",
        b"\x03biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\n\
          Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU9Bd01EQXdNREF3TURBd01EQXdNREF3\
          TUQscD1Cd2NIQndjSEJ3Y0hCd2NIQndjSEJ3Y0hCd2NIQndjSEJ3Y0hCd2NIQndjPQ==\n\n",
        b"\x83biwsbj11c2VyLHI9cg==\n*\n",
        b"\x02=",
    ];
    drive("auth", seeds, crate::smtp::auth::fuzz);
}

#[test]
fn proxy() {
    let seeds: &[&[u8]] = &[
        b"PROXY TCP4 192.0.2.1 198.51.100.25 40000 25\r\nEHLO x\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::25 1 65535\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x19\x9c\x40\0\x19",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        b"NAME=spike.porcupine.org ADDR=IPV6:2001:db8::1 PORT=25 LOGIN=a+40b PROTO=ESMTP",
    ];
    drive("proxy", seeds, crate::smtp::proxy::fuzz);
}

#[test]
fn password() {
    let seeds: &[&[u8]] = &[
        b"$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1",
        b"$5$rounds=1000$salt$0CdIiZ8n4cm3rRtK.jkSkdF4OXzMYyKHWnHCf8gBg/6",
        b"$y$j9T$C6P/0S9paOh44kt6hRwvn1$T/DjFkeuyBY8JL1oFma5/zuQdb8Gg6bi5vVOBw/sTH3",
        b"$2b$04$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK",
        b"$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$ucQB0YRKZ9UOrjln3CiHCyLlCAkuhho3",
        b"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
          WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
          wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        b"$6$rounds=999999999$x$y",
    ];
    drive("password", seeds, crate::authn::password::fuzz);
}

#[test]
fn mmdb() {
    use crate::config::mmdb::write::{city, write};
    let ip = |text: &str| text.parse().expect("an address");
    let berlin = city("EU", ["DE", "Germany"], "Berlin", Some((52.5, 13.4)));
    let networks = [(ip("192.0.2.0"), 24, berlin.clone()), (ip("2001:db8::"), 32, berlin)];
    let four = write(false, 24, networks.get(..1).unwrap_or_default());
    let seeds = [four, write(true, 28, &networks), write(true, 32, &networks)];
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    drive("mmdb", &seeds, crate::config::mmdb::fuzz);
}

const SPF: &[&[u8]] = &[
    b"v=spf1 a:a.example/24//64 mx ptr:%{d2} include:_spf.%{o} exists:%{ir}.%{v}.x.example -all",
    b"v=spf1 ip4:192.0.2.0/24 ~ip6:2001:db8::/32 redirect=%{d}\n192.0.2.1\nu@a.example",
    b"v=spf1 -all exp=e.%{h}\n%{c} is not %{r} at %{t}, %{S}%_%-%%\na.b\nlocal@d.example",
    b"v=spf1 foo=%{l1r+-} include:a.example\nmx.example\n2001:db8::1\nu@x.a.example",
];

#[test]
fn spf_record() {
    drive("spf_record", SPF, crate::authn::spf::fuzz_record);
}

#[test]
fn spf_macros() {
    let seeds: &[&[u8]] = &[
        b"strong-bad@email.example.com %{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
        b"a@b.example %{L}%{d1r}%%%_%-.%{p}.example",
        b"a@b.example %{c} %{r} %{t} %{h9r.-+,/_=}",
    ];
    drive("spf_macros", seeds, crate::authn::spf::fuzz_macros);
}

#[test]
fn spf_check() {
    drive("spf_check", SPF, crate::authn::spf::fuzz_check);
}

#[test]
fn from_field() {
    let seeds: &[&[u8]] = &[
        b"\"a, b\" <@x,@y:a@example.com>, (c (d)) e@example.org",
        b"Group: a@b\xc3\xbccher.example, =?utf-8?q?x=40y?= <c@d>;",
    ];
    drive("from_field", seeds, crate::authn::dmarc::author::fuzz);
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
fn dkim_tags() {
    let seeds: &[&[u8]] = &[
        b"v=1; a=rsa-sha256; c=relaxed/simple; d=example.com; s=sel; i=j=6Fe@example.com;\r\n \
          q=dns/txt; t=1528637909; x=1528637910; l=5; h=from : to : subject;\r\n \
          bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=;\r\n b=AQ ID BA==",
        b"a=b;c=d;",
        b" a = b \r\n ; c = ",
    ];
    drive("dkim_tags", seeds, crate::authn::dkim::signature::fuzz);
}

#[test]
fn dmarc_record() {
    let seeds: &[&[u8]] = &[
        b"v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=s; t=y; psd=n; fo=1:d:s; \
          rua=mailto:a@example.com!10m,https://example.com/; ruf=mailto:b@example.com; pct=50",
        b"V = DMARC1 ; p = bogus ; rua=mailto:a@example.com",
        b"v=DMARC1;p=none;p=none",
    ];
    drive("dmarc_record", seeds, crate::authn::dmarc::record::fuzz);
}

#[test]
fn dmarc_report() {
    let seeds: &[&[u8]] = &[
        b"<?xml version=\"1.0\"?><feedback><report_metadata><org_name>a&amp;&#33;</org_name>\
          <date_range><begin>1</begin></date_range></report_metadata><record><row><count>1</count>\
          <policy_evaluated><reason><type>other</type></reason></policy_evaluated></row>\
          <auth_results><spf><domain>a</domain><result>pass</result></spf></auth_results></record>\
          </feedback>",
        b"<!DOCTYPE x><feedback/>",
    ];
    drive("dmarc_report", seeds, crate::authn::dmarc::feedback::fuzz);
}

#[test]
fn packed() {
    let text = b"<feedback/>".repeat(9);
    let seeds: &[&[u8]] = &[
        &crate::mail::packed::tests::gzip(&text),
        &crate::mail::packed::tests::zip(&[&text, b"x"], 8),
        &crate::mail::packed::tests::zip(&[&text], 0),
    ];
    drive("packed", seeds, crate::mail::packed::fuzz);
}

#[test]
fn dkim_key() {
    use crate::authn::dkim::testing::{ED25519_RECORD, RSA_RECORD};
    let seeds: &[&[u8]] = &[
        RSA_RECORD.as_bytes(),
        ED25519_RECORD.as_bytes(),
        b"v=DKIM1; h=sha1:sha256; k=rsa; n=note; s=email:*; t=y:s; p=MAoCAwEAAQIDAQAB",
        b"v=DKIM1; p=",
    ];
    drive("dkim_key", seeds, crate::authn::dkim::key::fuzz);
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
fn extend() {
    let seeds: &[&[u8]] = &[
        b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n--b\r\nContent-Type: text/html; \
          charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>=C3=BC=\r\n</bo=\r\ndy>=\r\n--b--\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nSGk=\r\n\
          --b\r\nContent-Type: message/rfc822\r\n\r\n\r\nx\r\n--b--\r\n",
        b"Content-Type: text/html\r\n\r\n<p></body></html>",
    ];
    drive("extend", seeds, crate::mail::extend::fuzz);
}

#[test]
fn tnef() {
    let seeds: &[&[u8]] = &[
        b"x\x9f>\"\x01\0\x01\x06\x90\x08\0\x04\0\0\0\0\0\x01\0\x01\0\x02\x02\x90\x06\0\x02\0\0\0\x01\0\
          \x01\0\x02\x10\x80\x01\0\x06\0\0\0a.exe\0\x0d\x02\x02\x0f\x80\x06\0\x02\0\0\0MZ\xa7\0",
        b"x\x9f>\"\x01\0\x01\x03\x90\x06\0\x2c\0\0\0\x02\0\0\0\x02\x01\x09\x10\x01\0\0\0\x12\0\0\0\
          \x0e\0\0\0\x02\0\0\0MELA\0\0\0\0xy\0\0\x1f\0\x1a\0\x01\0\0\0\0\0\0\0\0\0",
        b"\x1a\0\0\0\x1c\0\0\0LZFu\xe2\xd4\x4b\x51\x41\0\x04\x20WXYZ\x0d\x6e}\x01\x0e\xb0",
    ];
    drive("tnef", seeds, crate::mail::tnef::fuzz);
}

#[test]
fn spamd() {
    let seeds: &[&[u8]] = &[
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 91\r\nSpam: True ; 15.3 / 5.0\r\n\r\n\
          X-Spam-Status: Yes, score=15.3 required=5.0 tests=A,\r\n\tB autolearn=no\r\nX-Spam-Flag: YES\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\n\r\nX-Spam-Status: No, hits=-0.1 required=5\n\n",
        b"SPAMD/1.0 75 EX_TEMPFAIL\r\n\r\n",
    ];
    drive("spamd", seeds, crate::client::spamd::fuzz);
}

#[test]
fn zip() {
    let seeds: &[&[u8]] = &[
        b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\x05\0\0\0\x03\0\0\0\x05\0\0\0a.exe\xf3\x8d\x02\0\
          PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\x05\0\0\0\x03\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
          a.exePK\x05\x06\0\0\0\0\x01\0\x01\0\x33\0\0\0\x28\0\0\0\0\0",
        b"PK\x03\x04\x14\0\x01\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0\x03\0\0\0\x01\0\x0b\0a\x75\x70\x07\0\x01\0\0\0\0xyMZ",
    ];
    drive("zip", seeds, crate::mail::zip::fuzz);
}

#[test]
fn milter() {
    let seeds: &[&[u8]] = &[
        b"O\x0c\0\0\0\x06\0\0\0\xff\0\x1f\xf7\xff",
        b"y\x15550-5.7.1 a\r\n550 b%%\0c\0h\x08X-A\0b\nc\0i\x0a\0\0\0\x01X-A\0b\0",
        b"m\x0a\xff\xff\xff\xffX-A\0\0b\x03abce\x04<a>\0+\x04<b>\0-\x04<b>\0q\x02w\0p\0s\0f\0",
    ];
    drive("milter", seeds, crate::client::milter::fuzz);
}

#[test]
fn rspamd() {
    let seeds: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 226\r\n\r\n{\"is_skipped\":true,\"score\":15.0,\
          \"required_score\":15.0,\"action\":\"reject\",\"symbols\":{\"GTUBE\":{\"score\":0.0,\
          \"options\":[\"a\",null,-1e-5]}},\"subject\":\"\\ud83d\\ude00\\n\"}",
        b"{\"score\":1e308,\"action\":\"soft reject\",\"x\":[[[{}]]]}",
        b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n{",
    ];
    drive("rspamd", seeds, crate::client::rspamd::fuzz);
}

#[test]
fn dspam() {
    let seeds: &[&[u8]] = &[
        b"tim; result=\"Spam\"; class=\"Spam\"; probability=1.0000; confidence=0.97; signature=1,4a\n",
        b"warning\nX-DSPAM-Result: x; result=\"Innocent\"; probability=0; confidence=1; signature=N/A",
    ];
    drive("dspam", seeds, crate::client::dspam::fuzz);
}
