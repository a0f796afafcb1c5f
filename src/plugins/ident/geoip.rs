//! Looks up in which country, city and network the client is, in a database on this machine.
//!
//! The database is one of MaxMind's (GeoLite2 or GeoIP2, `.mmdb`), or of another maker in that format
//! under one of these names; the first that is there is read: `GeoLite2-City.mmdb`, `GeoIP2-City.mmdb`,
//! `GeoLite2-Country.mmdb`, `GeoIP2-Country.mmdb`, and beside it `GeoLite2-ASN.mmdb`. It is held in
//! memory, some 10 MiB for countries and 60 or more for cities, and read again when it is replaced. What
//! is found is logged as `CONTINENT, COUNTRY, CITY, DISTANCE km`, put into the header, and known to the
//! plugins behind this one: `greylisting geoip …` spares countries by it. Without a database, and for
//! clients that it does not know, nothing happens. This machine, clients that may relay and whitelisted
//! ones are not looked up.
//!
//! Arguments:
//!   db_dir       the folder of the databases, by default the first with one of /usr/local/share/GeoIP,
//!                /usr/share/GeoIP and /var/lib/GeoIP
//!   distance IP  an address of ours that is in the database: tells how far clients are from there
//!   too_far KM   a client that is farther away loses karma; needs `distance`
//!   add_headers  `false`: add no header fields; by default `true`
//!
//! Config files: none.
//!
//! Replies: none.
//!
//! Karma: -1 for a client farther away than `too_far`.
//!
//! When it cannot tell: the client is treated as if nobody had looked.

use crate::config::files::Problem;
use crate::config::mmdb::{Mmdb, Record};
use crate::plugin::facts::Place;
use crate::plugin::log::{Level, foreign};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use std::net::IpAddr;
use std::sync::Arc;

/// Where databases are if nobody says: MaxMind's own place, the system's, and that of geoipupdate.
const FOLDERS: [&str; 3] = ["/usr/local/share/GeoIP", "/usr/share/GeoIP", "/var/lib/GeoIP"];

/// Names of databases of places, the most telling first.
const PLACES: [&str; 4] =
    ["GeoLite2-City.mmdb", "GeoIP2-City.mmdb", "GeoLite2-Country.mmdb", "GeoIP2-Country.mmdb"];

/// Name of a database of autonomous systems.
const SYSTEMS: &str = "GeoLite2-ASN.mmdb";

/// Characters of a name that are kept.
const NAME_MAX: usize = 100;

/// Mean radius of the earth in kilometres.
const EARTH: f64 = 6_371.0;

/// Half of the earth's girth in kilometres: nobody is farther away.
const FARTHEST: u32 = 20_038;

/// Header fields that only we may add.
const FIELDS: [&str; 4] = ["X-GeoIP-ASN", "X-GeoIP-City", "X-GeoIP-Continent", "X-GeoIP-Country"];

/// Latitude and longitude in degrees.
type Spot = (f64, f64);

struct GeoIp {
    places: Option<Mmdb>,
    systems: Option<Mmdb>,
    here: Option<Spot>,
    too_far: Option<u32>,
    add_headers: bool,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(read(args, setup))
}

fn read(args: &mut Args, setup: &Setup<'_>) -> GeoIp {
    let folder = args.named("db_dir");
    if folder.as_ref().is_some_and(|folder| !folder.starts_with('/')) {
        args.complain("db_dir: give an absolute path");
    }
    let folders: Vec<&str> = folder.as_deref().map_or(FOLDERS.to_vec(), |folder| vec![folder]);
    let places = folders.iter().find_map(|folder| {
        PLACES.iter().find_map(|name| database(setup, &format!("{folder}/{name}")))
    });
    let systems = folders.iter().find_map(|folder| database(setup, &format!("{folder}/{SYSTEMS}")));
    let line = args.line.clone();
    let warn = |what: String| {
        setup.with_problems(|problems| Problem::warning(&line, what).note(problems));
    };
    if places.is_none() {
        let (names, folders) = (PLACES.join(", "), folders.join(", "));
        warn(format!("ident/geoip knows no places: there is none of {names} in {folders}"));
    }
    let distance = args.named("distance").map(|word| (word.parse::<IpAddr>(), word));
    let here = match (&distance, &places) {
        (Some((Ok(ip), _)), Some(places)) => {
            let here = places.find(*ip).and_then(spot);
            if here.is_none() {
                warn(format!("distance {ip}: the database does not say where that is"));
            }
            here
        }
        _ => None,
    };
    if let Some((Err(_), word)) = &distance {
        args.complain(format!("distance {word}: give an IP address of ours"));
    }
    let too_far = match args.number("too_far", 0, 0..=FARTHEST) {
        0 => None,
        far => Some(far),
    };
    if too_far.is_some() && distance.is_none() {
        args.complain("too_far needs distance, an address of ours from which to measure");
    }
    let add_headers = match args.named("add_headers").as_deref() {
        None | Some("true" | "1" | "yes") => true,
        Some("false" | "0" | "no") => false,
        Some(other) => {
            args.complain(format!("add_headers {other}: use true or false"));
            true
        }
    };
    GeoIp { places, systems, here, too_far, add_headers }
}

/// A database, where there is one; a broken one is warned of and left out, as if it were missing.
fn database(setup: &Setup<'_>, path: &str) -> Option<Mmdb> {
    match Mmdb::new(setup.database(path)?) {
        Ok(mmdb) => Some(mmdb),
        Err(what) => {
            setup.warn(path, what);
            None
        }
    }
}

fn spot(record: Record<'_>) -> Option<Spot> {
    let degrees =
        |name, most: f64| record.real(&["location", name]).filter(|degrees| degrees.abs() <= most);
    Some((degrees("latitude", 90.0)?, degrees("longitude", 180.0)?))
}

/// Kilometres along the surface of the earth (the haversine formula).
fn kilometres(from: Spot, to: Spot) -> u32 {
    let [(a, b), (c, d)] = [from, to].map(|(lat, long)| (lat.to_radians(), long.to_radians()));
    let [up, along] = [c - a, d - b].map(|angle| (angle / 2.0).sin().powi(2));
    let chord = (up + a.cos() * c.cos() * along).clamp(0.0, 1.0);
    // The cast cuts what is out of range, and takes what is no number for 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let whole = (2.0 * EARTH * chord.sqrt().asin()).round() as u32;
    whole
}

impl GeoIp {
    fn look_up(&self, ip: IpAddr) -> Option<Place> {
        let record = self.places.as_ref().and_then(|places| places.find(ip));
        let text = |path: &[&str]| {
            let text = record?.text(path)?;
            (!text.is_empty()).then(|| cut(text))
        };
        let place = Place {
            country: text(&["country", "iso_code"]),
            country_name: text(&["country", "names", "en"]),
            continent: text(&["continent", "code"]),
            city: text(&["city", "names", "en"]),
            distance: self.here.and_then(|here| Some(kilometres(here, spot(record?)?))),
            asn: self.systems.as_ref().and_then(|systems| system(systems.find(ip)?)),
        };
        (place != Place::default()).then_some(place)
    }
}

/// `AS64500 NAME`, or as much of it as the database knows.
fn system(record: Record<'_>) -> Option<Box<str>> {
    let number = record.number(&["autonomous_system_number"])?;
    let name = record.text(&["autonomous_system_organization"]).unwrap_or_default();
    Some(cut(format!("AS{number} {name}").trim_end()))
}

fn cut(text: &str) -> Box<str> {
    text.chars().take(NAME_MAX).collect::<String>().into()
}

/// What the log says of a place.
fn words(place: &Place) -> String {
    let known = [&place.continent, &place.country, &place.city].into_iter().flatten();
    let shown = known.map(|text| foreign(text.as_bytes()));
    let distance = place.distance.map(|distance| format!("\t{distance} km"));
    let words: Vec<String> = shown.chain(distance).collect();
    match (words.is_empty(), &place.asn) {
        (true, Some(asn)) => foreign(asn.as_bytes()),
        _ => words.join(", "),
    }
}

impl Plugin for GeoIp {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Connect, Hook::Message])
    }

    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        let ip = cx.peer().ip;
        let is_idle = self.places.is_none() && self.systems.is_none();
        if is_idle || ip.is_loopback() || cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        let Some(place) = self.look_up(ip) else {
            cx.log(Level::Info, "pass, no results");
            return Ok(Verdict::Declined);
        };
        cx.log(Level::Info, words(&place));
        let mut both = place.distance.iter().zip(&self.too_far);
        if both.any(|(distance, too_far)| distance > too_far) {
            cx.karma(-1);
        }
        cx.facts_mut().place = Some(Arc::new(place));
        Ok(Verdict::Declined)
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        if !self.add_headers {
            return Ok(Verdict::Declined);
        }
        for name in FIELDS {
            cx.delete_header(name, None);
        }
        let Some(place) = cx.facts().place.clone() else { return Ok(Verdict::Declined) };
        let values = [&place.asn, &place.city, &place.continent, &place.country];
        for (name, value) in FIELDS.into_iter().zip(values) {
            if let Some(value) = value {
                cx.insert_header(name, value);
            }
        }
        Ok(Verdict::Declined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;
    use crate::config::mmdb::write::{autonomous_system, city, write};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn berlin() -> Vec<u8> {
        let networks = [
            (ip("192.0.2.0"), 24, city("EU", ["DE", "Germany"], "Berlin", Some((52.52, 13.405)))),
            (ip("198.51.100.0"), 24, city("EU", ["FR", "France"], "", Some((48.8566, 2.3522)))),
            (ip("203.0.113.0"), 24, city("AS", ["JP", "Japan"], "T\u{14d}ky\u{14d}", None)),
        ];
        write(true, 28, &networks)
    }

    fn systems() -> Vec<u8> {
        let networks = [
            (ip("192.0.2.0"), 24, autonomous_system(64_500, "Example Org")),
            (ip("192.88.99.0"), 24, autonomous_system(64_501, "")),
        ];
        write(false, 24, &networks)
    }

    /// The plugin of a line and files, its complaints and the problems.
    fn made(line: &str, files: &[(&str, Vec<u8>)]) -> (GeoIp, Vec<String>, Vec<String>) {
        let owned = files.iter().map(|(name, octets)| (name.to_string(), octets.clone()));
        let files = Files::in_memory_bytes(owned);
        let mut problems = Vec::new();
        let mut args = Args::of(line);
        let geoip = read(&mut args, &Setup::new(&files, &mut problems));
        let problems = problems.iter().map(ToString::to_string).collect();
        (geoip, args.finish(), problems)
    }

    #[test]
    fn arguments() {
        const ALONE: &str = "ident/geoip knows no places: there is none of";
        const NOWHERE: &str = "distance 10.0.0.1: the database does not say where that is";
        let city = [("/geo/GeoLite2-City.mmdb", berlin())];
        let country = [("/usr/share/GeoIP/GeoIP2-Country.mmdb", berlin())];
        let broken = [("/geo/GeoLite2-City.mmdb", b"<html>".to_vec())];
        for (line, files, complaints, warnings) in [
            ("ident/geoip", &[][..], 0, &[ALONE][..]),
            ("ident/geoip", &country, 0, &[]),
            ("ident/geoip db_dir /geo", &country, 0, &[ALONE]),
            ("ident/geoip db_dir /geo", &city, 0, &[]),
            ("ident/geoip db_dir /geo", &broken, 0, &["it has no description", ALONE]),
            ("ident/geoip db_dir /geo distance 192.0.2.1 too_far 500", &city, 0, &[]),
            ("geoip db_dir /geo distance 10.0.0.1 add_headers false", &city, 0, &[NOWHERE]),
            ("ident/geoip db_dir /geo too_far 500", &city, 1, &[]),
            ("ident/geoip db_dir /geo distance mx.example.net", &city, 1, &[]),
            ("ident/geoip db_dir /geo distance 192.0.2.1 too_far 99999", &city, 1, &[]),
            ("ident/geoip db_dir /geo add_headers perhaps", &city, 1, &[]),
            ("ident/geoip db_dir geo", &city, 1, &[ALONE]),
        ] {
            let (_, faults, problems) = made(line, files);
            assert_eq!(faults.len(), complaints, "{line}: {faults:?}");
            assert_eq!(problems.len(), warnings.len(), "{line}: {problems:?}");
            for (problem, part) in problems.iter().zip(warnings) {
                assert!(problem.contains(part), "{line}: {problem}");
            }
        }
    }

    #[test]
    fn places_are_found_and_told() {
        let files = [("/geo/GeoLite2-City.mmdb", berlin()), ("/geo/GeoLite2-ASN.mmdb", systems())];
        let (geoip, _, _) = made("ident/geoip db_dir /geo distance 192.0.2.200", &files);
        for (address, said, asn) in [
            ("192.0.2.1", Some("EU, DE, Berlin, \t0 km"), Some("AS64500 Example Org")),
            ("198.51.100.1", Some("EU, FR, \t877 km"), None),
            ("203.0.113.1", Some("AS, JP, T\u{14d}ky\u{14d}"), None),
            ("192.88.99.1", Some("AS64501"), Some("AS64501")),
            ("10.0.0.1", None, None),
            ("2001:db8::1", None, None),
        ] {
            let place = geoip.look_up(ip(address));
            assert_eq!(place.as_ref().map(words).as_deref(), said, "{address}");
            assert_eq!(place.and_then(|place| place.asn).as_deref(), asn, "{address}");
        }
        let germany = geoip.look_up(ip("192.0.2.1")).unwrap();
        assert_eq!(germany.country_name.as_deref(), Some("Germany"));
    }

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ((0.0, 0.0), (0.0, 0.0), 0),
            ((0.0, 0.0), (0.0, 180.0), 20_015),
            ((90.0, 0.0), (-90.0, 77.0), 20_015),
            ((0.0, 179.5), (0.0, -179.5), 111),
            ((52.52, 13.405), (-37.8136, 144.9631), 15_973),
        ] {
            assert_eq!(kilometres(from, to), expected, "{from:?} {to:?}");
        }
    }
}
