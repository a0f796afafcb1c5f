//! The `geoip:` lines of a script: databases of places, as MaxMind's come.

#[path = "../../src/config/mmdb/write.rs"]
#[expect(clippy::indexing_slicing, reason = "the tree is made where it is walked")]
mod write;

use std::net::IpAddr;
use write::{Datum, autonomous_system, city};

/// Where the plugin looks first.
const FOLDER: &str = "/usr/local/share/GeoIP";

/// What the databases know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    places: Vec<(IpAddr, u8, Datum)>,
    systems: Vec<(IpAddr, u8, Datum)>,
}

impl Places {
    /// Takes `NETWORK CONTINENT COUNTRY CITY|- [LATITUDE LONGITUDE]` or `NETWORK ASnumber NAME`.
    pub(crate) fn add(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (network, rest) = words.split_first().ok_or("geoip: a network")?;
        let (ip, bits) = network.split_once('/').ok_or("geoip: a network with its length")?;
        let ip = ip.parse().map_err(|_| format!("geoip: {ip} is no address"))?;
        let bits = bits.parse().map_err(|_| format!("geoip: {bits} is no length"))?;
        let real = |text: &str| text.parse().map_err(|_| format!("geoip: {text} is no number"));
        let is_system = rest.first().and_then(|word| word.strip_prefix("AS"));
        match (is_system.and_then(|number| number.parse().ok()), rest) {
            (Some(number), [_, name @ ..]) => {
                self.systems.push((ip, bits, autonomous_system(number, &name.join(" "))));
            }
            (_, [continent, country, town, place @ ..]) => {
                let location = match place {
                    [] => None,
                    [latitude, longitude] => Some((real(latitude)?, real(longitude)?)),
                    _ => return Err("geoip: latitude and longitude".into()),
                };
                let town = if *town == "-" { "" } else { town };
                self.places.push((ip, bits, city(continent, [country, country], town, location)));
            }
            _ => {
                return Err(
                    "geoip: NETWORK CONTINENT COUNTRY CITY, or NETWORK ASnumber NAME".into()
                );
            }
        }
        Ok(())
    }

    /// Some line says something.
    pub(crate) fn is_set(&self) -> bool {
        !self.places.is_empty() || !self.systems.is_empty()
    }

    /// The databases, by their whole path.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let databases =
            [("GeoLite2-City.mmdb", &self.places), ("GeoLite2-ASN.mmdb", &self.systems)];
        let known = databases.into_iter().filter(|(_, networks)| !networks.is_empty());
        known
            .map(|(name, networks)| (format!("{FOLDER}/{name}"), write::write(true, 28, networks)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, right) in [
            ("192.0.2.0/24 EU DE Berlin 52.5 13.4", true),
            ("2001:db8::/32 EU DE -", true),
            ("192.0.2.0/24 AS64500 Example Org", true),
            ("192.0.2.0/24 AS JP Tokyo", true),
            ("192.0.2.0 EU DE Berlin", false),
            ("192.0.2.0/24 EU DE", false),
            ("192.0.2.0/24 EU DE Berlin 52.5", false),
            ("192.0.2.0/24 EU DE Berlin north east", false),
        ] {
            let mut places = Places::default();
            assert_eq!(places.add(line).is_ok(), right, "{line}");
            assert_eq!((places.is_set(), places.files().len()), (right, usize::from(right)));
        }
    }
}
