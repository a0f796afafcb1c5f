//! Arguments, keys and records; the dialogues show the rest.

use super::options::{FILE, Trait, traits};
use super::*;
use crate::client::p0f::Fingerprint;
use crate::config::files::{Files, Problem, Severity};
use crate::plugin::ConfigFor;
use crate::smtp::address::parse_forward;

/// Options, complaints of the line, and problems of files.
fn read_with(line: &str, file: &str) -> (Options, usize, Vec<Problem>) {
    let files = Files::in_memory([(FILE.to_string(), file.to_string())]);
    let mut problems = Vec::new();
    let mut args = Args::of(line);
    let options = read(&mut args, &Setup::new(&files, &mut problems));
    (options, args.finish().len(), problems)
}

#[test]
fn arguments() {
    let all = Options {
        remote_ip: false,
        sender: true,
        recipient: true,
        black_timeout: 60,
        white_timeout: 3_600,
        reject: false,
        deny_late: true,
        per_recipient: true,
        countries: Vec::new(),
        p0f: vec![Trait::Genre("windows".into()), Trait::Distance(3)],
    };
    let countries = ["DE", "AT"].map(Into::into).to_vec();
    let spared = Options { countries, ..Options::default() };
    let late = Options { deny_late: true, ..Options::default() };
    for (line, file, expected) in [
        ("greylisting", "", Options::default()),
        ("greylisting mode denysoft grey_timeout 5 upgrade 1", "", Options::default()),
        ("greylisting db_dir /x nfslock 1 redis localhost:6379", "", Options::default()),
        (
            "greylisting remote_ip 0 sender 1 recipient 1 black_timeout 60 white_timeout 3600 \
             reject 0 deny_late 1 per_recipient 1 p0f genre,Windows,distance,3",
            "",
            all.clone(),
        ),
        // Every line of the file counts, and the plugin's own line wins.
        (
            "denysoft_greylist black_timeout 60",
            "remote_ip 0\nsender 1\nrecipient 1\nblack_timeout 9\nwhite_timeout 3600\n\
             mode testonly\ndeny_late 1\nper_recipient 1\np0f genre,windows,distance,3",
            all,
        ),
        ("greylisting mode off reject 1", "deny_late 1", late),
        ("greylisting geoip de,AT,", "geoip CH", spared.clone()),
        ("greylisting", "geoip DE,AT", spared),
    ] {
        let (options, complaints, problems) = read_with(line, file);
        assert_eq!(options, expected, "{line}");
        assert_eq!((complaints, problems.len()), (0, 0), "{line}: {problems:?}");
    }
}

#[test]
fn faults_are_told() {
    for (line, file, complaints, errors, warnings) in [
        (
            "greylisting sender yes mode x reject naughty black_timeout -1 white_timeout 0",
            "",
            5,
            0,
            0,
        ),
        ("greylisting remote_ip 0", "", 1, 0, 0),
        ("greylisting odd 1", "", 1, 0, 0),
        ("greylisting", "odd 1\nsender\nreject x", 0, 3, 0),
        ("greylisting geoip US,Canada", "geoip 12,DE", 1, 1, 0),
        ("greylisting p0f genre", "", 1, 0, 0),
        ("greylisting p0f os,windows", "p0f distance,far", 1, 1, 0),
        ("greylisting white_timeout 9999999", "", 0, 0, 1),
    ] {
        let (_, found, problems) = read_with(line, file);
        let of = |wanted| problems.iter().filter(|it| it.severity == wanted).count();
        assert_eq!(found, complaints, "{line}");
        let severities = (of(Severity::Error), of(Severity::Warning));
        assert_eq!(severities, (errors, warnings), "{line} {problems:?}");
    }
}

#[test]
fn recipients_say_it_last() {
    let files = [
        (FILE, "black_timeout 60"),
        ("example.com/denysoft_greylist", "reject 0\ngeoip DE"),
        ("example.com/joe/denysoft_greylist", "black_timeout 10\nsender 1"),
        ("example.com/ann/denysoft_greylist", "remote_ip 0\nper_recipient 0\nodd 1"),
    ];
    let files = files.map(|(name, text)| (name.to_string(), text.to_string()));
    let files = Files::in_memory(files);
    let mut problems = Vec::new();
    let setup = Setup::new(&files, &mut problems);
    let common = read(&mut Args::of("greylisting per_recipient 1 black_timeout 30"), &setup);
    let own = read_own(&common, &setup);
    let of = |folders: &[&str]| {
        let folders = folders.iter().map(|folder| (*folder).into()).collect();
        ConfigFor::new(folders).find(&own).cloned()
    };
    let domain = Options { reject: false, countries: vec!["DE".into()], ..common.clone() };
    assert_eq!(of(&["example.com/bob", "example.com"]), Some(domain));
    let joe = Options { black_timeout: 10, sender: true, ..common.clone() };
    assert_eq!(of(&["example.com/joe", "example.com"]), Some(joe));
    assert_eq!(of(&["example.org"]), None);
    let late = read_own(&Options { per_recipient: false, ..common }, &setup);
    assert!(ConfigFor::new(vec!["example.com".into()]).find(&late).is_none());
    drop(setup);
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "example.com/ann/denysoft_greylist:3: unknown argument: odd 1",
            "example.com/ann/denysoft_greylist:1: one of remote_ip, sender and recipient has to be 1",
            "example.com/ann/denysoft_greylist:1: per_recipient is not for a single recipient to say",
        ]
    );
}

#[test]
fn keys() {
    let address = |text: &str| parse_forward(text.as_bytes(), false).expect("an address");
    let (sender, recipient) = (address("<A@Example.org>"), address("<b@example.com>"));
    for (line, ip, null, expected) in [
        ("greylisting", "192.0.2.77", false, "192.0.2.0/24"),
        ("greylisting", "::ffff:192.0.2.77", false, "192.0.2.0/24"),
        ("greylisting", "2001:db8:1:2:3:4:5:6", false, "2001:db8:1:2::/64"),
        ("greylisting sender 1", "192.0.2.77", false, "192.0.2.0/24 a@example.org"),
        ("greylisting sender 1 remote_ip 0", "192.0.2.77", false, "a@example.org"),
        (
            "greylisting sender 1 recipient 1",
            "192.0.2.77",
            false,
            "192.0.2.0/24 a@example.org b@example.com",
        ),
        ("greylisting sender 1 recipient 1", "192.0.2.77", true, "192.0.2.0/24  b@example.com"),
    ] {
        let (options, ..) = read_with(line, "");
        let ip = ip.parse().expect("an address");
        let key = options.key(&network(ip), (!null).then_some(&sender), Some(&recipient));
        assert_eq!(key, expected, "{line}");
    }
}

#[test]
fn clients_as_p0f_sees_them() {
    let client = Fingerprint {
        os: "Windows".to_string(),
        flavor: "7 or 8".to_string(),
        link: "DSL".to_string(),
        uptime: Some(100),
        distance: Some(4),
    };
    let nobody = Fingerprint { uptime: None, distance: None, ..client.clone() };
    for (words, fits, fits_nobody) in [
        ("genre,windows", true, true),
        ("genre,linux", false, false),
        ("detail,7,link,dsl", true, true),
        ("detail,7,link,ethernet", false, false),
        ("genre,windows,link,dsl,distance,3", true, false),
        ("distance,4", false, false),
        ("uptime,99", true, false),
        ("uptime,100", false, false),
    ] {
        let traits = traits(words).expect(words);
        let all = |of: &Fingerprint| traits.iter().all(|it| it.fits(of));
        assert_eq!((all(&client), all(&nobody)), (fits, fits_nobody), "{words}");
    }
}

#[test]
fn what_a_record_comes_to() {
    let now = 10_000_000;
    let record = |first: u64, last: u64, black: u32, white: u32| {
        Some(Record { first: now - first, last: now - last, black, white })
    };
    for (record, expected) in [
        (None, Finding::Unknown),
        (record(0, 0, 0, 0), Finding::Black { attempts: 1 }),
        (record(2_999, 10, 4, 0), Finding::Black { attempts: 5 }),
        // Later attempts do not begin the time anew.
        (record(3_000, 10, 4, 0), Finding::Grey { was_white: false }),
        (record(3_000, 3_000, 0, 0), Finding::Grey { was_white: false }),
        (record(9_000_000, 3_110_399, 1, 1), Finding::White { deliveries: 2 }),
        (record(9_000_000, 3_110_400, 1, 1), Finding::Grey { was_white: true }),
        // A neighbour's mail came through at the same time.
        (record(10, 0, 0, 1), Finding::White { deliveries: 2 }),
    ] {
        let options = Options::default();
        assert_eq!(options.find(record.as_ref(), now, false), expected, "{record:?}");
        let of_pool = match expected {
            Finding::Black { .. } => Finding::Grey { was_white: false },
            other => other,
        };
        assert_eq!(options.find(record.as_ref(), now, true), of_pool, "{record:?}");
    }
}

#[test]
fn exempt_clients() {
    let list = "# postgrey's\n192.0.2.0/25\n2001:db8::1\nExample.org # theirs\n/^mail-.*\\.pool\\.example$/\n";
    let files = Files::in_memory(
        [("greylist_exclude_files", "/etc/known\nnone"), ("/etc/known", list)]
            .map(|(name, text)| (name.to_string(), text.to_string())),
    );
    let mut problems = Vec::new();
    let excluded = Excluded::load(&Setup::new(&files, &mut problems));
    assert_eq!(problems.len(), 1, "{problems:?}");
    for (ip, name, expected) in [
        ("192.0.2.1", None, true),
        ("192.0.2.128", None, false),
        ("2001:db8::1", None, true),
        ("198.51.100.1", Some("example.org"), true),
        ("198.51.100.1", Some("MX.Example.org"), true),
        ("198.51.100.1", Some("notexample.org"), false),
        ("198.51.100.1", Some("example.org.evil.example"), false),
        ("198.51.100.1", Some("mail-7.pool.example"), true),
        ("198.51.100.1", Some("x.mail-7.pool.example"), false),
        ("198.51.100.1", None, false),
    ] {
        let ip = ip.parse().expect("an address");
        assert_eq!(excluded.has(ip, name), expected, "{ip} {name:?}");
    }
    for (text, expected) in [("(", false), ("/(/", false), ("a b", true), ("*.x", false)] {
        assert_eq!(Excluded::default().add(&Args::of(text).line).is_ok(), expected, "{text}");
    }
}
