//! Databases that are whole, and such that are not.

use super::write::{Datum, autonomous_system, city, write};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn networks() -> Vec<(IpAddr, u8, Datum)> {
    let berlin = city("EU", ["DE", "Germany"], "Berlin", Some((52.5, 13.4)));
    let quito = city("SA", ["EC", "Ecuador"], "", Some((-0.2, -78.5)));
    let wide = city("NA", ["US", "United States"], &"long ".repeat(60), None);
    vec![
        (ip("192.0.2.0"), 24, berlin),
        (ip("198.51.100.0"), 25, quito),
        (ip("203.0.113.9"), 32, wide),
        (ip("10.0.0.0"), 8, autonomous_system(64_500, "Example Org")),
    ]
}

fn country<'a>(mmdb: &'a Mmdb, address: &str) -> Option<&'a str> {
    mmdb.find(ip(address))?.text(&["country", "iso_code"])
}

#[test]
fn records_are_found_in_every_form_of_tree() {
    for (is_v6, branch_bits) in [(false, 24), (false, 28), (false, 32), (true, 24), (true, 28)] {
        let mut networks = networks();
        if is_v6 {
            networks.push((ip("2001:db8::"), 32, city("AS", ["JP", "Japan"], "Tokyo", None)));
        }
        let mmdb = Mmdb::new(write(is_v6, branch_bits, &networks)).unwrap();
        assert_eq!(mmdb.kind(), "GeoLite2-City");
        for (address, expected) in [
            ("192.0.2.1", Some("DE")),
            ("::ffff:192.0.2.255", Some("DE")),
            ("192.0.3.0", None),
            ("198.51.100.127", Some("EC")),
            ("198.51.100.128", None),
            ("203.0.113.9", Some("US")),
            ("203.0.113.8", None),
            ("10.1.2.3", None),
            ("2001:db8:1::1", is_v6.then_some("JP")),
            ("2001:db9::1", None),
        ] {
            assert_eq!(country(&mmdb, address), expected, "{address} {is_v6} {branch_bits}");
        }
    }
}

#[test]
fn fields_are_read_by_their_type() {
    let mmdb = Mmdb::new(write(true, 28, &networks())).unwrap();
    let record = mmdb.find(ip("192.0.2.1")).unwrap();
    assert_eq!(record.text(&["city", "names", "en"]), Some("Berlin"));
    assert_eq!(record.text(&["country", "names", "en"]), Some("Germany"));
    assert_eq!(record.number(&["country", "geoname_id"]), Some(2_921_044));
    assert_eq!(record.real(&["location", "longitude"]), Some(13.4));
    for path in [
        &["city", "names", "it"][..],
        &["city"],
        &["nothing"],
        &["city", "names", "en", "more"],
        &["location", "longitude"],
        &["country", "geoname_id"],
        &[],
    ] {
        assert_eq!(record.text(path), None, "{path:?}");
    }
    assert_eq!(record.number(&["country", "iso_code"]), None);
    assert_eq!(record.real(&["country", "geoname_id"]), None);
    let wide = mmdb.find(ip("203.0.113.9")).unwrap();
    assert_eq!(wide.text(&["city", "names", "en"]).map(str::len), Some(300));
    let system = mmdb.find(ip("10.0.0.1")).unwrap();
    assert_eq!(system.number(&["autonomous_system_number"]), Some(64_500));
    assert_eq!(system.text(&["autonomous_system_organization"]), Some("Example Org"));
}

/// The four forms, with their least and largest targets.
#[test]
fn pointers_lead_where_they_say() {
    for (octets, target) in [
        (&[0x20, 0x00][..], Some(0)),
        (&[0x27, 0xff], Some(2_047)),
        (&[0x28, 0x00, 0x00], Some(2_048)),
        (&[0x2f, 0xff, 0xff], Some(526_335)),
        (&[0x30, 0x00, 0x00, 0x00], Some(526_336)),
        (&[0x37, 0xff, 0xff, 0xff], Some(134_744_063)),
        (&[0x38, 0x08, 0x08, 0x08, 0x00], Some(134_744_064)),
        (&[0x3f, 0xff, 0xff, 0xff, 0xff], Some(0xffff_ffff)),
        (&[0x38, 0x08, 0x08, 0x08], None),
        (&[0x20], None),
    ] {
        let value = Section(octets).head(0);
        assert_eq!(value.map(|value| value.size), target, "{octets:x?}");
        assert!(value.is_none_or(|value| (value.kind, value.at) == (POINTER, octets.len())));
    }
    // A pointer to a pointer is none, one to itself in particular.
    assert!(Section(&[0x20, 0x00]).resolve(0).is_none());
    assert!(Section(&[0x20, 0x02, 0x41, b'x']).resolve(0).is_some());
}

/// Some thousand texts, so that pointers of every length come into being.
#[test]
fn far_pointers_are_followed() {
    let names: Vec<String> = (0..6_000).map(|number| format!("Town number {number}")).collect();
    let first = Datum::Map(vec![("city", Datum::Map(vec![("n", Datum::Text("last".into()))]))]);
    let mut networks = vec![(ip("10.0.0.0"), 32, first)];
    for (number, name) in names.iter().chain(&names).enumerate() {
        let address = u32::try_from(number).unwrap() + (11 << 24);
        let place = IpAddr::V4(address.into());
        networks.push((place, 32, city("EU", ["DE", "Germany"], name, None)));
    }
    let mmdb = Mmdb::new(write(false, 32, &networks)).unwrap();
    for number in [0, 1, 5_999, 6_000, 11_999] {
        let record = mmdb.find(IpAddr::V4((number + (11 << 24)).into())).unwrap();
        let name = format!("Town number {}", number % 6_000);
        assert_eq!(record.text(&["city", "names", "en"]), Some(&*name));
    }
}

#[test]
fn what_is_no_database_is_told() {
    let whole = write(true, 24, &networks());
    let mark = memmem::rfind(&whole, MARK).unwrap();
    let described = |about: Datum| {
        // The description of a database without networks is the end of what is written for it.
        let mut octets = whole[..mark + MARK.len()].to_vec();
        let other = write(false, 24, &[("10.0.0.0".parse().unwrap(), 8, about)]);
        let start = 8 * 6 + 16;
        let end = memmem::rfind(&other, MARK).unwrap();
        octets.extend(&other[start..end]);
        octets
    };
    let about = |version, nodes, bits, ip_version| {
        described(Datum::Map(vec![
            ("binary_format_major_version", Datum::Number(version)),
            ("node_count", Datum::Number(nodes)),
            ("record_size", Datum::Number(bits)),
            ("ip_version", Datum::Number(ip_version)),
        ]))
    };
    assert!(Mmdb::new(about(2, 3, 24, 6)).is_ok());
    for (octets, what) in [
        (Vec::new(), "it has no description"),
        (b"<html>404</html>".to_vec(), "it has no description"),
        (whole[..mark].to_vec(), "it has no description"),
        (whole[..mark + MARK.len()].to_vec(), "another version than 2"),
        (about(1, 3, 24, 6), "another version than 2"),
        (about(2, u32::MAX, 32, 6), "damaged"),
        (about(2, 3, 25, 6), "damaged"),
        (about(2, 3, 24, 5), "damaged"),
        (described(Datum::Truth(true)), "another version than 2"),
    ] {
        let said = Mmdb::new(octets).err().unwrap();
        assert!(said.contains(what), "{said}: {what}");
    }
}

#[test]
fn no_damage_does_harm() {
    let whole = write(true, 28, &networks());
    fuzz(&whole);
    for place in 0..whole.len() {
        let mut octets = whole.clone();
        for value in [octets[place] ^ 1 << (place % 8), 0, 0xff, 0x3f] {
            octets[place] = value;
            fuzz(&octets);
        }
        fuzz(&whole[place..]);
    }
}

/// Maps within maps without end, and maps that claim millions of members.
#[test]
fn a_look_up_is_bounded() {
    let mut octets = write(false, 24, &[(ip("10.0.0.0"), 8, Datum::Map(vec![]))]);
    let start = 8 * 6 + 16;
    let tail = octets.split_off(start + 1);
    octets.pop();
    for bomb in
        [vec![7 << 5 | 31; 300_000], [vec![7 << 5 | 31, 255, 255, 255], vec![0x40; 9]].concat()]
    {
        let file = [&octets[..], &bomb, &tail].concat();
        let mmdb = Mmdb::new(file).unwrap();
        let record = mmdb.find(ip("10.0.0.1")).unwrap();
        assert_eq!(record.text(&["country", "iso_code"]), None);
    }
}
