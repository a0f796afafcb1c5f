//! RFC 7208 section 5, mechanism by mechanism.

use super::*;

#[test]
fn all() {
    table(&[
        ("v=spf1 all -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 +ALL", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 ~all", "192.0.2.1", SpfResult::SoftFail),
        ("v=spf1 ?all", "192.0.2.1", SpfResult::Neutral),
    ]);
}

#[test]
fn addresses_in_the_record() {
    table(&[
        ("v=spf1 ip4:192.0.2.1 -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1", SpfResult::Pass),
        ("v=spf1 ip4:192.0.2.0/24 -all", "192.0.3.1", SpfResult::Fail),
        ("v=spf1 ip4:192.0.2.1/0 -all", "8.8.8.8", SpfResult::Pass),
        ("v=spf1 ip4:0.0.0.0/0 -all", "2001:db8::1", SpfResult::Fail),
        ("v=spf1 ip6:2001:db8::/32 -all", "2001:DB8:1::1", SpfResult::Pass),
        ("v=spf1 ip6:::/0 -all", "2001:db8::1", SpfResult::Pass),
        // The RFC has an IPv4-mapped client match ip4 only; but an IPv4-mapped network is one of IPv4.
        ("v=spf1 ip6:::1.1.1.1/0 -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 ip6:::1.1.1.1/0 -all", "::ffff:192.0.2.1", SpfResult::Fail),
        ("v=spf1 ip6:::ffff:192.0.2.0/120 -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 ip6:::ffff:192.0.2.0/95 -all", "192.0.2.1", SpfResult::Fail),
    ]);
}

#[test]
fn a() {
    table(&[
        ("v=spf1 a:a.example -all", "192.0.2.2", SpfResult::Pass),
        ("v=spf1 A:A.Example. -all", "192.0.2.2", SpfResult::Pass),
        ("v=spf1 a:a.example -all", "192.0.2.3", SpfResult::Fail),
        ("v=spf1 a:a.example -all", "2001:db8::1", SpfResult::Pass),
        ("v=spf1 a:a.example/24 -all", "192.0.2.3", SpfResult::Pass),
        ("v=spf1 a:a.example/24 -all", "2001:db8::2", SpfResult::Fail),
        ("v=spf1 a:a.example//64 -all", "2001:db8::2", SpfResult::Pass),
        ("v=spf1 a:a.example//64 -all", "192.0.2.3", SpfResult::Fail),
        ("v=spf1 a:a.example/24//64 -all", "::ffff:192.0.2.3", SpfResult::Pass),
        ("v=spf1 a:a.example/0 -all", "8.8.8.8", SpfResult::Pass),
        ("v=spf1 a:a.example/0 -all", "2001:db9::1", SpfResult::Fail),
        ("v=spf1 a:a.example//0 -all", "8.8.8.8", SpfResult::Fail),
        ("v=spf1 a:gone.example/0 -all", "8.8.8.8", SpfResult::Fail),
        ("v=spf1 a:empty.example/0 -all", "8.8.8.8", SpfResult::Fail),
        ("v=spf1 a:only6.example -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 a:dumb.example -all", "192.0.2.1", SpfResult::TempError),
        ("v=spf1 a:a.example a:dumb.example -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 a:foo:bar/baz.example -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 a -all", "192.0.2.1", SpfResult::Fail),
    ]);
    let checked = check_record("v=spf1 a -all", &["d.example A 192.0.2.1"], "192.0.2.1");
    assert_eq!(checked.result, SpfResult::Pass);
}

#[test]
fn mx() {
    table(&[
        ("v=spf1 mx:m.example -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 mx:m.example -all", "192.0.2.200", SpfResult::Pass),
        ("v=spf1 mx:m.example -all", "2001:db8::1", SpfResult::Pass),
        // The domain's own address is no mail exchanger.
        ("v=spf1 mx:m.example -all", "198.51.100.1", SpfResult::Fail),
        ("v=spf1 mx:a.example -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 mx:m.example/24//64 -all", "192.0.2.77", SpfResult::Pass),
        ("v=spf1 mx:m.example/24//64 -all", "2001:db8::77", SpfResult::Pass),
        ("v=spf1 mx:m.example/24//0 -all", "198.51.100.1", SpfResult::Fail),
        ("v=spf1 mx:null.example -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 mx:gone.example/0 -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 mx:dumb.example -all", "192.0.2.1", SpfResult::TempError),
        // The host that is preferred matches before the other is missed.
        ("v=spf1 mx:half.example -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 mx:half.example -all", "192.0.2.9", SpfResult::TempError),
        ("v=spf1 mx:foo:bar/baz.example -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 mx -all", "192.0.2.1", SpfResult::Fail),
    ]);
}

#[test]
fn exists() {
    table(&[
        ("v=spf1 exists:a.example -all", "198.51.100.1", SpfResult::Pass),
        ("v=spf1 exists:a.example -all", "2001:db8::9", SpfResult::Pass),
        ("v=spf1 exists:only6.example -all", "2001:db8::7", SpfResult::Fail),
        ("v=spf1 exists:gone.example -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 exists:empty.example -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 exists:dumb.example -all", "192.0.2.1", SpfResult::TempError),
    ]);
}

/// The table of RFC 7208 section 5.2.
#[test]
fn include() {
    table(&[
        ("v=spf1 include:pass.example -all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 ~include:pass.example -all", "192.0.2.1", SpfResult::SoftFail),
        ("v=spf1 include:fail.example all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 include:softfail.example all", "192.0.2.1", SpfResult::Pass),
        ("v=spf1 include:neutral.example -all", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 include:broken.example -all", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 include:dumb.example -all", "192.0.2.1", SpfResult::TempError),
        ("v=spf1 include:nothing.example -all", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 include:gone.example all", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 include:a..example all", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 ip4:192.0.2.1 include:gone.example all", "192.0.2.1", SpfResult::Pass),
    ]);
    let lines =
        ["r.example TXT v=spf1 redirect=pass.example", "x.example TXT v=spf1 redirect=u.example"];
    for (record, expected) in [
        ("v=spf1 include:r.example -all", SpfResult::Pass),
        ("v=spf1 include:x.example -all", SpfResult::PermError),
    ] {
        assert_eq!(check_record(record, &lines, "192.0.2.1").result, expected, "{record}");
    }
}

/// RFC 7208 section 6.1.
#[test]
fn redirect() {
    table(&[
        ("v=spf1 redirect=fail.example", "192.0.2.1", SpfResult::Fail),
        ("v=spf1 redirect=nothing.example", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 redirect=gone.example", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 redirect=dumb.example", "192.0.2.1", SpfResult::TempError),
        ("v=spf1 redirect=broken.example", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 redirect=%{d1}", "192.0.2.1", SpfResult::PermError),
        ("v=spf1 redirect=%{l}.%{d}", "192.0.2.1", SpfResult::PermError),
    ]);
}

#[test]
fn ptr() {
    let reverse = |ip: &str, name: &str| {
        format!("{} PTR {name}", reverse_name(ip.parse().expect("an address")))
    };
    for (record, names, ip, expected) in [
        ("v=spf1 ptr -all", &["d.example"][..], "192.0.2.5", SpfResult::Pass),
        ("v=spf1 ptr -all", &["Sub.D.example"], "192.0.2.5", SpfResult::Pass),
        ("v=spf1 ptr -all", &["sub.d.example"], "2001:db8::5", SpfResult::Pass),
        (
            "v=spf1 ptr:D.Example -all",
            &["x.example", "sub.d.example"],
            "192.0.2.5",
            SpfResult::Pass,
        ),
        ("v=spf1 ptr:other.example -all", &["d.example"], "192.0.2.5", SpfResult::Fail),
        // The end of another name.
        ("v=spf1 ptr:d.example -all", &["badd.example"], "192.0.2.5", SpfResult::Fail),
        // The name has another address, none, or nobody knows.
        ("v=spf1 ptr:a.example -all", &["a.example"], "192.0.2.5", SpfResult::Fail),
        ("v=spf1 ptr:gone.example -all", &["gone.example"], "192.0.2.5", SpfResult::Fail),
        ("v=spf1 ptr:dumb.example -all", &["dumb.example"], "192.0.2.5", SpfResult::Fail),
        ("v=spf1 ptr -all", &["dumb.example", "d.example"], "192.0.2.5", SpfResult::Pass),
        ("v=spf1 ptr -all", &["!"], "192.0.2.5", SpfResult::Fail),
        ("v=spf1 ptr -all", &[], "192.0.2.5", SpfResult::Fail),
        (
            "v=spf1 ptr ptr:a.example ptr:b.example a:gone.example -all",
            &[],
            "192.0.2.5",
            SpfResult::Fail,
        ),
    ] {
        let names: Vec<String> = names.iter().map(|name| reverse(ip, name)).collect();
        let mut lines: Vec<&str> = names.iter().map(String::as_str).collect();
        for name in ["d.example", "sub.d.example", "badd.example", "x.example"] {
            lines.push(match name {
                "d.example" => "d.example A 192.0.2.5",
                "sub.d.example" => "sub.d.example A 192.0.2.5",
                "badd.example" => "badd.example A 192.0.2.5",
                _ => "x.example A 192.0.2.5",
            });
        }
        lines.push("sub.d.example AAAA 2001:db8::5");
        let checked = check_record(record, &lines, ip);
        assert_eq!(checked.result, expected, "{record} {names:?}");
    }
}

/// A name that is made of a strange name is the same strange name.
#[test]
fn strange_names_of_clients() {
    let name = "foo:bar/baz.example";
    let lines = [&format!("5.2.0.192.in-addr.arpa PTR {name}"), &format!("{name} A 192.0.2.5")];
    for record in ["v=spf1 ptr:%{p} -all", "v=spf1 a:%{p} -all", "v=spf1 ptr:bar/baz.%{p1} a:%{p}"]
    {
        let checked = check_record(record, &lines.map(String::as_str), "192.0.2.5");
        assert_eq!(checked.result, SpfResult::Pass, "{record}: {}", checked.why());
    }
}

/// Names that macros make are asked for as they are; a local part that is not ASCII matches nothing
/// (RFC 8616 section 4).
#[test]
fn macros() {
    let lines = [
        "% %20.d.example A 192.0.2.1",
        "jumpin' jupiter.h.example A 192.0.2.1",
        "5.2.0.192.in-addr._spf.d.example A 127.0.0.2",
        "gladstone.philip.user.d.example A 127.0.0.2",
        "a\\065.l.example A 127.0.0.2",
        "\u{e9}.l.example A 127.0.0.2",
    ];
    for (record, sender, helo, expected) in [
        ("v=spf1 a:%%%_%-.d.example -all", "u@d.example", "h", SpfResult::Pass),
        ("v=spf1 a:%{h}.h.example -all", "u@d.example", "JUMPIN' JUPITER", SpfResult::Pass),
        ("v=spf1 a:%{h} -all", "u@d.example", "OEMCOMPUTER", SpfResult::Fail),
        ("v=spf1 a:%{h} -all", "u@d.example", "", SpfResult::Fail),
        ("v=spf1 exists:%{ir}.%{v}._spf.%{d} -all", "u@d.example", "h", SpfResult::Pass),
        (
            "v=spf1 exists:%{l2r-}.user.%{d2} -all",
            "philip-gladstone-test@d.example",
            "h",
            SpfResult::Pass,
        ),
        ("v=spf1 exists:%{l}.l.example -all", "a\\065@d.example", "h", SpfResult::Pass),
        ("v=spf1 exists:%{l}.l.example -all", "\u{e9}@d.example", "h", SpfResult::Fail),
        ("v=spf1 include:%{s} ip4:192.0.2.5", "\u{e9}@d.example", "h", SpfResult::Pass),
        (
            "v=spf1 ip4:192.0.2.6 redirect=%{l}.example",
            "\u{e9}@d.example",
            "h",
            SpfResult::PermError,
        ),
        ("v=spf1 exists:%{o}.l.example -all", "\u{e9}@d.example", "h", SpfResult::Fail),
    ] {
        let text = format!("d.example TXT {record}");
        let mut world = World::of(&[&lines[..], &[&text]].concat());
        let ip = if record.starts_with("v=spf1 a:") { "192.0.2.1" } else { "192.0.2.5" };
        let checked = check(&mut world, ip, helo, sender);
        assert_eq!(checked.result, expected, "{record} {sender} {helo}: {}", checked.why());
        let silent = sender.starts_with('\u{e9}') && !record.contains("%{o}");
        assert!(!silent || world.rounds().len() <= 1, "{record}: {:?}", world.asked);
    }
}
