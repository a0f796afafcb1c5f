//! RFC 7208 section 6.2: what a domain says about a fail.

use super::*;

#[test]
fn explanations() {
    let lines = [
        "e2.example TXT one",
        "e2.example TXT two",
        "umlaut.example TXT \u{e4}rger",
        "blank.example TXT  ",
        "odd.example TXT a\tb",
        "bad.example TXT %{x} is no macro",
        "percent.example TXT 100% wrong",
        "mania.example TXT %{c}|%{i}|%{r}|%{t}|%{s}|%{l}|%{o}|%{d}|%{h}|%{v}|%%%_%-.",
        "url.example TXT http://x.example/why.html?l=%{L}",
        "p.example TXT connect from %{p}",
        "target.example TXT v=spf1 -all exp=e.example",
        "plain.example TXT v=spf1 -all",
    ];
    for (record, sender, expected) in [
        ("v=spf1 -all exp=e.example", "u@d.example", Some("not for you")),
        ("v=spf1 exp=e.example. -all", "u@d.example", Some("not for you")),
        ("v=spf1 -all exp=%{h1r}.example", "u@d.example", None),
        ("v=spf1 ~all exp=e.example", "u@d.example", None),
        ("v=spf1 -all", "u@d.example", None),
        ("v=spf1 -all exp=gone.example", "u@d.example", None),
        ("v=spf1 -all exp=dumb.example", "u@d.example", None),
        ("v=spf1 -all exp=e2.example", "u@d.example", None),
        ("v=spf1 -all exp=umlaut.example", "u@d.example", None),
        ("v=spf1 -all exp=odd.example", "u@d.example", None),
        ("v=spf1 -all exp=bad.example", "u@d.example", None),
        ("v=spf1 -all exp=percent.example", "u@d.example", None),
        ("v=spf1 -all exp=%{d}..example", "u@d.example", None),
        (
            "v=spf1 -all exp=mania.example",
            "Macro Error@d.example",
            Some(
                "198.51.100.9|198.51.100.9|mx.example.net|1000000000|Macro Error@d.example|\
                 Macro Error|d.example|d.example|mail.d.example|in-addr|% %20.",
            ),
        ),
        (
            "v=spf1 -all exp=url.example",
            "a&b=c@d.example",
            Some("http://x.example/why.html?l=a%26b%3Dc"),
        ),
        ("v=spf1 -all exp=%{l}.example", "e@d.example", Some("not for you")),
        ("v=spf1 -all exp=%{l}.example", "\u{e9}@d.example", None),
        ("v=spf1 -all exp=p.example", "u@d.example", Some("connect from unknown")),
        // Whose record says fail gives the reason: who was gone to, never who was included.
        ("v=spf1 exp=mania.example redirect=target.example", "u@d.example", Some("not for you")),
        ("v=spf1 exp=e.example redirect=plain.example", "u@d.example", None),
        ("v=spf1 include:target.example -all", "u@d.example", None),
        ("v=spf1 -include:pass.example exp=e.example", "u@d.example", Some("not for you")),
    ] {
        let text = format!("d.example TXT {record}");
        let mut world = World::of(&[&lines[..], &[&text]].concat());
        let checked = check(&mut world, "198.51.100.9", "mail.d.example", sender);
        assert_eq!(checked.explanation.as_deref(), expected, "{record} {sender}");
    }
}

/// RFC 7208 section 7.3: the domain itself, a name below it, or any that is validated.
#[test]
fn the_name_of_the_client() {
    let address = "9.100.51.198.in-addr.arpa PTR";
    for (names, expected) in [
        (&["other.example"][..], "other.example"),
        (&["other.example", "sub.d.example"], "sub.d.example"),
        (&["other.example", "sub.d.example", "D.example"], "d.example"),
        (&["wrong.d.example", "other.example"], "other.example"),
        (&["wrong.d.example"], "unknown"),
        (&["dumb.example"], "unknown"),
        (&["!"], "unknown"),
        (&[], "unknown"),
    ] {
        let names: Vec<String> = names.iter().map(|name| format!("{address} {name}")).collect();
        let mut lines: Vec<&str> = names.iter().map(String::as_str).collect();
        lines.extend([
            "other.example A 198.51.100.9",
            "sub.d.example A 198.51.100.9",
            "d.example A 198.51.100.9",
            "p.example TXT connect from %{p}",
        ]);
        let checked = check_record("v=spf1 -all exp=p.example", &lines, "198.51.100.9");
        let expected = format!("connect from {expected}");
        assert_eq!(checked.explanation.as_deref(), Some(&*expected), "{names:?}");
    }
    // In a name that is asked for it stands for the same.
    let lines = ["unknown.p.example A 192.0.2.1"];
    let checked = check_record("v=spf1 exists:%{p}.p.example -all", &lines, "198.51.100.9");
    assert_eq!(checked.result, SpfResult::Pass);
}

#[test]
fn a_long_explanation_is_cut() {
    let long = format!("e3.example TXT {}", "%{s} ".repeat(3_000));
    let checked = check_record("v=spf1 -all exp=e3.example", &[&long], "198.51.100.9");
    assert_eq!(checked.explanation.map(|it| it.len()), Some(EXPLANATION_MAX));
}
