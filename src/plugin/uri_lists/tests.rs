//! Lines, masks, and what is asked about.

use super::*;
use crate::config::files::Files;
use crate::dns::Record;

fn lists(files: &[(&str, &str)]) -> (UriLists, Vec<String>) {
    let files = files.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    let (files, mut problems) = (Files::in_memory(files), Vec::new());
    let lists = UriLists::load(&Setup::new(&files, &mut problems));
    (lists, problems.iter().map(ToString::to_string).collect())
}

fn found(addresses: &[&str]) -> Answer {
    let record = |text: &&str| Record::Address(text.parse().expect("an address"));
    Answer::Found(addresses.iter().map(record).collect())
}

#[test]
fn lines_of_the_file() {
    let bits = |name: &str, bits, action| (name.to_string(), Mask::Bits(bits), action);
    let any = |name: &str, action| (name.to_string(), Mask::Any, action);
    for (text, zones, warnings) in [
        ("a.example", vec![any("a.example", None)], 0),
        ("A.Example.", vec![any("a.example", None)], 0),
        ("a.example 8,16,64,128", vec![bits("a.example", 216, None)], 0),
        ("a.example:8-16-64-128", vec![bits("a.example", 216, None)], 0),
        ("a.example 2 deny", vec![bits("a.example", 2, Some(Action::Deny))], 0),
        ("a.example denysoft", vec![any("a.example", Some(Action::DenySoft))], 0),
        ("a.example -1 add-header", vec![any("a.example", Some(Action::AddHeader))], 0),
        ("a.example 4294967295 LOG", vec![bits("a.example", CODE_BITS, Some(Action::Log))], 0),
        (
            "multi.example:8-16,black.example",
            vec![bits("multi.example", 24, None), any("black.example", None)],
            0,
        ),
        (
            "multi.example:8,black.example 4 deny",
            vec![
                bits("multi.example", 8, Some(Action::Deny)),
                bits("black.example", 4, Some(Action::Deny)),
            ],
            0,
        ),
        ("a.example;go away", vec![any("a.example", None)], 1),
        ("a.example 8,x", vec![], 1),
        ("a.example 8 reject", vec![], 1),
        ("a.example deny 8", vec![], 1),
        ("a.example 0", vec![], 1),
        ("a.example 4278190080", vec![], 1),
        ("a.example 4294967296", vec![], 1),
        ("a.example:text", vec![], 1),
        ("local", vec![], 1),
        ("a.example\na.example 8", vec![any("a.example", None)], 1),
    ] {
        let (lists, problems) = lists(&[("uribl_zones", text)]);
        let read = lists.zones.iter().map(|it| (it.name.to_string(), it.mask, it.action));
        assert_eq!(read.collect::<Vec<_>>(), zones, "{text}");
        assert_eq!(problems.len(), warnings, "{text}: {problems:?}");
    }
    let many: Vec<String> = (0..12).map(|it| format!("z{it}.example")).collect();
    let (lists, problems) = lists(&[("uribl_zones", &many.join("\n"))]);
    assert_eq!((lists.told().len(), problems.len()), (ZONES_MAX, 2));
}

#[test]
fn words_of_warnings() {
    for (text, words) in [
        ("a.example 8,x", "uribl_zones:1: warning: Malformed mask \"8,x\" for \"a.example\""),
        ("a.example reject", "uribl_zones:1: warning: Unknown action \"reject\" for \"a.example\""),
    ] {
        let (_, problems) = lists(&[("uribl_zones", text)]);
        assert!(problems.iter().all(|it| it.starts_with(words)), "{problems:?}");
        assert_eq!(problems.len(), 1);
    }
}

#[test]
fn what_an_answer_means() {
    for (line, addresses, counted) in [
        ("a.example", &["127.0.0.2"][..], Ok(1)),
        ("a.example", &["127.0.0.254"], Ok(1)),
        ("a.example", &["127.0.1.2"], Ok(0)),
        ("a.example 8,16", &["127.0.0.8"], Ok(1)),
        ("a.example 8,16", &["127.0.0.26"], Ok(1)),
        ("a.example 8,16", &["127.0.0.2", "127.0.0.4"], Ok(0)),
        ("a.example 8,16", &["127.0.0.2", "127.0.0.16"], Ok(1)),
        ("a.example 256", &["127.0.1.2"], Ok(1)),
        ("a.example 1", &["127.0.0.3"], Ok(1)),
        // Blocked resolvers, dead lists: whatever the mask.
        ("a.example", &["127.0.0.1"], Err("127.0.0.1")),
        ("a.example 1", &["127.0.0.1"], Err("blocked")),
        ("a.example -1", &["127.255.255.254"], Err("public resolver")),
        ("a.example 16777215", &["127.255.255.255"], Err("too many questions")),
        ("a.example 255", &["93.184.216.34"], Err("rewrites")),
        ("a.example 255", &["127.0.0.2", "127.0.0.1"], Err("127.0.0.1")),
    ] {
        let (lists, _) = lists(&[("uribl_zones", line)]);
        let judged = lists.zones.first().expect("a list").judge(&found(addresses));
        match (judged, counted) {
            (Ok(codes), Ok(count)) => assert_eq!(codes.len(), count, "{line} {addresses:?}"),
            (Err(what), Err(words)) => assert!(what.contains(words), "{what}"),
            other => panic!("{line} {addresses:?}: {other:?}"),
        }
    }
    let (lists, _) = lists(&[("uribl_zones", "a.example")]);
    let zone = lists.zones.first().expect("a list");
    for answer in [Answer::NoData, Answer::NxDomain] {
        assert_eq!(zone.judge(&answer), Ok(Vec::new()));
    }
    assert!(zone.judge(&Answer::TempFail).is_err_and(|what| what.contains("no answer")));
}

#[test]
fn what_is_asked_about() {
    let files = [
        ("uribl_zones", "a.example"),
        ("uribl_whitelist_domains", "good.com\n.fine.org\nhosting.net\n192.0.2.9\na b"),
        ("two-level-tlds", "hosting.net"),
    ];
    let (lists, problems) = lists(&files);
    assert_eq!(problems.len(), 1, "{problems:?}");
    for (text, header, addresses, asked, spared) in [
        ("http://a.b.bad.co.uk/", false, true, "bad.co.uk", ""),
        (
            "see www.bad.com and http://worse.com, u@mail.com",
            false,
            true,
            "worse.com bad.com mail.com",
            "",
        ),
        ("http://www.good.com/ http://a.fine.org/", false, true, "", "good.com fine.org"),
        ("http://x.a.hosting.net/", false, true, "", "a.hosting.net"),
        ("http://0xC0000207/ http://192.0.2.9/", false, true, "192.0.2.7", "192.0.2.9"),
        ("http://192.0.2.7/", false, false, "", ""),
        ("text", true, true, "field.com", ""),
        ("text", false, true, "", ""),
        ("http://bad.com@worse.com/ http://bad.invalid/", false, true, "worse.com", ""),
    ] {
        let message = format!("X-A: http://www.field.com/\r\n\r\n{text}\r\n");
        let found = lists.subjects(message.as_bytes(), header, addresses, &|_| {});
        let words =
            |hosts: &[Host]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!((&*words(&found.hosts), &*words(&found.spared)), (asked, spared), "{text}");
        assert!(!found.more);
    }
}

#[test]
fn questions_are_bounded() {
    let sites: Vec<String> = (0..50).map(|it| format!("http://site{it}.com/")).collect();
    let message = format!("Subject: x\r\n\r\n{}\r\n", sites.join("\r\n"));
    for (zones, hosts) in [(1, 20), (5, 20), (10, 10)] {
        let names: Vec<String> = (0..zones).map(|it| format!("z{it}.example")).collect();
        let (lists, _) = lists(&[("uribl_zones", &names.join("\n"))]);
        let found = lists.subjects(message.as_bytes(), false, true, &|_| {});
        assert_eq!((found.hosts.len(), found.more), (hosts, true));
        assert_eq!(lists.questions(&found.hosts).len(), hosts * zones);
    }
}

#[test]
fn names_that_do_not_fit_are_not_asked_for() {
    let zone = format!("{}.example", "a.".repeat(115).trim_end_matches('.'));
    let (lists, _) = lists(&[("uribl_zones", &format!("{zone}\nb.example"))]);
    let host = Host::parse(b"a-rather-long-name.com").expect("a host");
    let asked = lists.questions(&[host]);
    let names: Vec<&str> = asked.iter().map(|it| &*it.question.name).collect();
    assert_eq!(names, ["a-rather-long-name.com.b.example"]);
    let address = Host::parse(b"[2001:db8::1]").expect("a host");
    let asked = lists.questions(&[address]);
    let name = asked.first().map(|it| it.question.name.to_string()).unwrap_or_default();
    assert!(
        name.starts_with("1.0.0.0.0.0") && name.ends_with("8.b.d.0.1.0.0.2.b.example"),
        "{name}"
    );
}
