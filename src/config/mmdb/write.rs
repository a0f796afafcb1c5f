//! Writes databases in MaxMind's format, for tests only: unit tests, and the dialogues, which include
//! this file by its path. So it names nothing of the crate.

use std::collections::HashMap;
use std::net::IpAddr;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Datum {
    Text(String),
    Number(u32),
    Short(u16),
    Long(u64),
    Real(f64),
    Truth(bool),
    List(Vec<Datum>),
    Map(Vec<(&'static str, Datum)>),
}

/// Texts that are the same stand once, and are pointed to from then on.
#[derive(Default)]
struct Values {
    octets: Vec<u8>,
    texts: HashMap<String, usize>,
}

impl Values {
    fn put(&mut self, datum: &Datum) {
        match datum {
            Datum::Text(text) => self.put_text(text),
            Datum::Number(number) => {
                // As MaxMind writes them: without the zeros in front.
                let zeros = usize::try_from(number.leading_zeros() / 8).unwrap_or_default();
                self.head(6, 4 - zeros);
                self.octets.extend(&number.to_be_bytes()[zeros..]);
            }
            Datum::Short(number) => {
                self.head(5, 2);
                self.octets.extend(number.to_be_bytes());
            }
            Datum::Long(number) => {
                self.head(9, 8);
                self.octets.extend(number.to_be_bytes());
            }
            Datum::Real(real) => {
                self.head(3, 8);
                self.octets.extend(real.to_be_bytes());
            }
            Datum::Truth(truth) => self.head(14, usize::from(*truth)),
            Datum::List(items) => {
                self.head(11, items.len());
                items.iter().for_each(|item| self.put(item));
            }
            Datum::Map(members) => {
                self.head(7, members.len());
                for (name, value) in members {
                    self.put_text(name);
                    self.put(value);
                }
            }
        }
    }

    fn put_text(&mut self, text: &str) {
        if let Some(place) = self.texts.get(text) {
            // Every length of pointer has its own beginning.
            let (form, least) = match place {
                0..2_048 => (0, 0),
                2_048..526_336 => (1, 2_048),
                _ => (2, 526_336),
            };
            let [a, b, c, d] = u32::try_from(place - least).unwrap_or(u32::MAX).to_be_bytes();
            match form {
                0 => self.octets.extend([1 << 5 | c, d]),
                1 => self.octets.extend([1 << 5 | 1 << 3 | b, c, d]),
                _ => self.octets.extend([1 << 5 | 2 << 3 | a, b, c, d]),
            }
            return;
        }
        self.texts.insert(text.to_string(), self.octets.len());
        self.head(2, text.len());
        self.octets.extend(text.as_bytes());
    }

    fn head(&mut self, kind: u8, size: usize) {
        let (short, more) = match size {
            0..29 => (size, vec![]),
            29..285 => (29, vec![size - 29]),
            _ => (30, vec![(size - 285) >> 8, (size - 285) & 255]),
        };
        let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        match kind {
            0..8 => self.octets.push(kind << 5 | octet(short)),
            _ => self.octets.extend([octet(short), kind - 7]),
        }
        self.octets.extend(more.into_iter().map(octet));
    }
}

/// Where a branch of the tree leads.
#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(usize),
    Value(usize),
}

/// A database of networks (an address, the length of its prefix) and what is known of them.
pub(crate) fn write(is_v6: bool, branch_bits: u16, networks: &[(IpAddr, u8, Datum)]) -> Vec<u8> {
    let mut values = Values::default();
    let mut tree = vec![[Branch::Nothing; 2]];
    for (ip, length, datum) in networks {
        let place = values.octets.len();
        values.put(datum);
        let (bits, above) = match (ip, is_v6) {
            (IpAddr::V4(v4), false) => (u128::from(v4.to_bits()) << 96, 0),
            (IpAddr::V4(v4), true) => (u128::from(v4.to_bits()), 96),
            (IpAddr::V6(v6), _) => (v6.to_bits(), 0),
        };
        let last = above + u32::from(*length) - 1;
        let mut node = 0;
        for step in 0..=last {
            let side = usize::from(bits >> (127 - step) & 1 == 1);
            node = match tree[node][side] {
                _ if step == last => {
                    tree[node][side] = Branch::Value(place);
                    break;
                }
                Branch::Node(next) => next,
                Branch::Nothing | Branch::Value(_) => {
                    tree.push([Branch::Nothing; 2]);
                    let next = tree.len() - 1;
                    tree[node][side] = Branch::Node(next);
                    next
                }
            };
        }
    }
    let mut octets = Vec::new();
    for branches in &tree {
        let [left, right] = branches.map(|branch| match branch {
            Branch::Nothing => tree.len(),
            Branch::Node(node) => node,
            Branch::Value(place) => tree.len() + 16 + place,
        });
        let [l, r] = [left, right].map(|it| u32::try_from(it).unwrap_or(u32::MAX).to_be_bytes());
        match branch_bits {
            24 => octets.extend([&l[1..], &r[1..]].concat()),
            28 => octets.extend([&l[1..], &[l[0] << 4 | r[0]], &r[1..]].concat()),
            _ => octets.extend([l, r].concat()),
        }
    }
    octets.extend([0; 16]);
    octets.extend(&values.octets);
    octets.extend(b"\xab\xcd\xefMaxMind.com");
    let number = |number: usize| Datum::Number(u32::try_from(number).unwrap_or(u32::MAX));
    let mut about = Values::default();
    about.put(&Datum::Map(vec![
        ("binary_format_major_version", Datum::Short(2)),
        ("binary_format_minor_version", Datum::Short(0)),
        ("build_epoch", Datum::Long(1_795_325_243)),
        ("description", Datum::Map(vec![("en", Datum::Text("for tests".to_string()))])),
        ("languages", Datum::List(vec![Datum::Text("en".to_string())])),
        ("database_type", Datum::Text("GeoLite2-City".to_string())),
        ("ip_version", Datum::Short(if is_v6 { 6 } else { 4 })),
        ("node_count", number(tree.len())),
        ("record_size", Datum::Short(branch_bits)),
    ]));
    octets.extend(about.octets);
    octets
}

/// A record as city databases have it; an empty city, or no place on earth, is left out.
pub(crate) fn city(
    continent: &str,
    country: [&str; 2],
    city: &str,
    location: Option<(f64, f64)>,
) -> Datum {
    let text = |text: &str| Datum::Text(text.to_string());
    let names = |name: &str| {
        Datum::Map(vec![("de", text("auf Deutsch")), ("en", text(name)), ("fr", text("x"))])
    };
    let mut members = vec![
        (
            "continent",
            Datum::Map(vec![("code", text(continent)), ("geoname_id", Datum::Number(7))]),
        ),
        (
            "country",
            Datum::Map(vec![
                ("geoname_id", Datum::Number(2_921_044)),
                ("is_in_european_union", Datum::Truth(true)),
                ("iso_code", text(country[0])),
                ("names", names(country[1])),
            ]),
        ),
    ];
    if !city.is_empty() {
        members.insert(0, ("city", Datum::Map(vec![("names", names(city))])));
    }
    if let Some((latitude, longitude)) = location {
        let place = [("latitude", Datum::Real(latitude)), ("longitude", Datum::Real(longitude))];
        members.push(("location", Datum::Map(place.into())));
    }
    Datum::Map(members)
}

/// A record as the databases of autonomous systems have it.
pub(crate) fn autonomous_system(number: u32, organization: &str) -> Datum {
    Datum::Map(vec![
        ("autonomous_system_number", Datum::Number(number)),
        ("autonomous_system_organization", Datum::Text(organization.to_string())),
    ])
}
