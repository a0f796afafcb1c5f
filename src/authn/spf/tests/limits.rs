//! RFC 7208 section 4.6.4, and how many questions go out together.

use super::*;

/// `count` terms with numbers.
fn terms(count: usize, term: impl Fn(usize) -> String) -> String {
    (0..count).map(|number| term(number) + " ").collect()
}

#[test]
fn ten_terms_ask() {
    let chain: Vec<String> =
        (0..20).map(|n| format!("i{n}.example TXT v=spf1 include:i{}.example", n + 1)).collect();
    let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
    let last = "i20.example TXT v=spf1 all";
    let lines = [&chain[..], &[last, "loop.example TXT v=spf1 include:loop.example"]].concat();
    let lines = [&lines[..], &["turn.example TXT v=spf1 redirect=turn.example"]].concat();
    for (record, expected) in [
        (format!("v=spf1 {}-all", terms(10, |_| "a:a.example".into())), SpfResult::Fail),
        (format!("v=spf1 {}-all", terms(11, |_| "a:a.example".into())), SpfResult::PermError),
        (format!("v=spf1 {}all", terms(11, |_| "-mx:m.example".into())), SpfResult::PermError),
        (format!("v=spf1 {}all", terms(11, |_| "-exists:u.example".into())), SpfResult::PermError),
        (format!("v=spf1 {}all", terms(11, |_| "-ptr".into())), SpfResult::PermError),
        (format!("v=spf1 {}all", terms(99, |_| "ip4:10.0.0.1".into())), SpfResult::Pass),
        (
            format!("v=spf1 {}redirect=pass.example", terms(9, |_| "a:a.example".into())),
            SpfResult::Pass,
        ),
        (
            format!("v=spf1 {}redirect=pass.example", terms(10, |_| "a:a.example".into())),
            SpfResult::PermError,
        ),
        (
            format!("v=spf1 {}-all exp=e.example", terms(10, |_| "a:a.example".into())),
            SpfResult::Fail,
        ),
        ("v=spf1 include:i11.example -all".into(), SpfResult::Pass),
        ("v=spf1 include:i10.example -all".into(), SpfResult::PermError),
        ("v=spf1 include:loop.example -all".into(), SpfResult::PermError),
        ("v=spf1 redirect=turn.example".into(), SpfResult::PermError),
        ("v=spf1 include:d.example".into(), SpfResult::PermError),
    ] {
        let checked = check_record(&record, &lines, "198.51.100.9");
        assert_eq!(checked.result, expected, "{record}: {}", checked.why());
    }
    // A match before the eleventh ends it.
    let record = format!("v=spf1 {}a:a.example -all", terms(9, |_| "mx:m.example".into()));
    assert_eq!(check_record(&record, &[], "192.0.2.1").result, SpfResult::Pass);
}

#[test]
fn two_terms_find_nothing() {
    for (record, expected) in [
        ("v=spf1 a:g1.example a:g2.example ?all", SpfResult::Neutral),
        ("v=spf1 a:g1.example a:empty.example exists:g3.example ?all", SpfResult::PermError),
        ("v=spf1 mx:g1.example exists:g2.example a:g3.example ?all", SpfResult::PermError),
        ("v=spf1 a:g1.example a:g1.example a:g1.example a:g1.example ?all", SpfResult::Neutral),
        ("v=spf1 ptr ptr ptr ptr ?all", SpfResult::Neutral),
        // Hosts of an `mx` without addresses are not the term's own question.
        ("v=spf1 mx:many.example mx:many.example ?all", SpfResult::Neutral),
        // What another term found does not count, nor what is no answer.
        ("v=spf1 a:g1.example a:g2.example a:dumb.example ?all", SpfResult::TempError),
        ("v=spf1 a:g1.example a:g2.example a:a.example ?all", SpfResult::Neutral),
        // A name that cannot be asked for is not asked for.
        ("v=spf1 a:a..b.example a:a..c.example a:a..d.example ?all", SpfResult::Neutral),
    ] {
        let lines = ["many.example MX 1 g1.example", "many.example MX 2 g2.example"];
        let lines = [&lines[..], &["many.example MX 3 g3.example"]].concat();
        let checked = check_record(record, &lines, "198.51.100.9");
        assert_eq!(checked.result, expected, "{record}: {}", checked.why());
    }
}

#[test]
fn ten_hosts() {
    let hosts = |count: usize| -> Vec<String> {
        let lines = (0..count).flat_map(|n| {
            let (host, preference) = (format!("h{n}.d.example"), 100 - n);
            [
                format!("d.example MX {preference} {host}"),
                format!("9.100.51.198.in-addr.arpa PTR {host}"),
                format!("{host} A 198.51.100.{n}"),
            ]
        });
        lines.collect()
    };
    for (record, count, ip, expected) in [
        ("v=spf1 mx -all", 10, "198.51.100.0", SpfResult::Pass),
        ("v=spf1 mx -all", 10, "198.51.100.77", SpfResult::Fail),
        // In the order of preference the first host is the eleventh.
        ("v=spf1 mx -all", 11, "198.51.100.1", SpfResult::Pass),
        ("v=spf1 mx -all", 11, "198.51.100.0", SpfResult::PermError),
        // The first ten names, whichever they are, and no error.
        ("v=spf1 ptr -all", 10, "198.51.100.9", SpfResult::Pass),
        ("v=spf1 ptr -all", 9, "198.51.100.9", SpfResult::Fail),
        ("v=spf1 ptr -all", 60, "198.51.100.9", SpfResult::Pass),
    ] {
        let lines = hosts(count);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let checked = check_record(record, &lines, ip);
        assert_eq!(checked.result, expected, "{record} {count} {ip}: {}", checked.why());
    }
    // An address that only the eleventh name has, and many addresses of one name.
    let names: Vec<String> =
        (0..11).map(|n| format!("9.100.51.198.in-addr.arpa PTR h{n}.d.example")).collect();
    let addresses: Vec<String> = (0..60).map(|n| format!("d.example A 203.0.113.{n}")).collect();
    let all = names.iter().chain(&addresses).map(String::as_str);
    let lines: Vec<&str> = all.chain(["h10.d.example A 198.51.100.9"]).collect();
    assert_eq!(check_record("v=spf1 ptr ?all", &lines, "198.51.100.9").result, SpfResult::Neutral);
    assert_eq!(check_record("v=spf1 a ?all", &lines, "203.0.113.59").result, SpfResult::Pass);
}

/// Questions that are sure to be asked go out together, and none that need not be.
#[test]
fn rounds() {
    let many = format!("v=spf1 {}-all", terms(40, |n| format!("exists:x{n}.a.example")));
    for (record, ip, expected) in [
        ("v=spf1 -all", "198.51.100.9", vec![1]),
        ("v=spf1 a:a.example a:wide.example mx:m.example -all", "198.51.100.9", vec![1, 3]),
        ("v=spf1 mx:m.example -all", "198.51.100.9", vec![1, 1, 2]),
        ("v=spf1 mx:m.example mx:half.example -all", "2001:db8::99", vec![1, 2, 2, 1]),
        (
            "v=spf1 a:a.example mx:m.example exists:gone.example ptr ?all",
            "198.51.100.9",
            vec![1, 4, 1],
        ),
        // Nothing behind an include, which may need all that is left; nothing behind a match.
        (
            "v=spf1 a:a.example include:fail.example a:wide.example -all",
            "198.51.100.9",
            vec![1, 2, 1],
        ),
        ("v=spf1 a:a.example ip4:198.51.100.9 a:wide.example -all", "198.51.100.9", vec![1, 1]),
        ("v=spf1 a:a.example -all a:wide.example", "198.51.100.9", vec![1, 1]),
        ("v=spf1 ip4:198.51.100.9 a:wide.example -all", "198.51.100.9", vec![1]),
        // What has been asked is not asked again.
        ("v=spf1 a:a.example a:a.example include:d.example", "198.51.100.9", vec![1, 1]),
        // The client's name comes first where a name is made of it.
        ("v=spf1 exists:%{p}.a.example a:a.example -all", "198.51.100.9", vec![1, 1, 1, 1]),
        // As many as may be asked, and not one more.
        (&many, "198.51.100.9", vec![1, 10]),
    ] {
        let text = format!("d.example TXT {record}");
        let mut world = World::of(&[&text]);
        check(&mut world, ip, "h.example", "u@d.example");
        assert_eq!(world.rounds(), expected, "{record} {:?}", world.asked);
    }
}

#[test]
fn an_include_makes_at_most_ten_questions() {
    let lines: Vec<String> =
        (0..20).map(|n| format!("i{n}.example TXT v=spf1 include:i{}.example", n + 1)).collect();
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.push("d.example TXT v=spf1 include:i0.example");
    let mut world = World::of(&lines);
    let checked = check(&mut world, "198.51.100.9", "h.example", "u@d.example");
    assert_eq!(checked.result, SpfResult::PermError);
    assert_eq!(world.asked.concat().len(), 11);
}
