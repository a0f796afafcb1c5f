//! Local networks: who may relay, whose address is looked up nowhere, whom which list of plugins serves.

use super::{Fragment, Sources, lines};
use crate::esmith::defaults::{self, DISABLED, ENABLED, property, scalar};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A local network.
struct Network {
    address: u32,
    bits: u32,
    may_relay: bool,
}

/// Reads the networks; those that are none are named.
fn networks(sources: &Sources, warnings: &mut Vec<String>) -> Vec<Network> {
    let auth = defaults::RELAY_REQUIRES_AUTH.text(&sources.configuration, warnings);
    let mut found = Vec::new();
    for (key, record) in sources.networks.records() {
        if record.kind() != Some(b"network") {
            continue;
        }
        let name = String::from_utf8_lossy(key).into_owned();
        let mask = property(record, "Mask").unwrap_or_else(|| "255.255.255.0".to_string());
        let parsed = name.parse::<Ipv4Addr>().ok().zip(mask.parse::<Ipv4Addr>().ok());
        let Some((address, mask)) = parsed.map(|(a, m)| (u32::from(a), u32::from(m))) else {
            warnings.push(format!("networks {name}: no network of IPv4, left out"));
            continue;
        };
        let bits = mask.leading_ones();
        if bits == 0 || mask.count_ones() != bits {
            warnings
                .push(format!("networks {name}: the mask is none of a local network, left out"));
            continue;
        }
        let own = property(record, "RelayRequiresAuth");
        let own = own.filter(|value| value == ENABLED || value == DISABLED);
        let may_relay = own.as_ref().unwrap_or(&auth) == DISABLED;
        found.push(Network { address: address & mask, bits, may_relay });
    }
    found
}

impl Network {
    /// The names that cover it: octets with dots, `192.168.1`.
    fn names(&self) -> Vec<String> {
        let octets = self.bits.div_ceil(8);
        let count = 1_u32 << (octets * 8 - self.bits);
        let step = |number: u32| number.checked_shl(32 - octets * 8).unwrap_or(0);
        let address = |number| Ipv4Addr::from(self.address | step(number)).octets();
        (0..count)
            .map(|number| {
                let shown = address(number).map(|octet| octet.to_string());
                let wanted = usize::try_from(octets).unwrap_or(4);
                shown.iter().take(wanted).cloned().collect::<Vec<_>>().join(".")
            })
            .collect()
    }

    /// The same as prefixes: with a dot behind all but whole addresses.
    fn prefixes(&self) -> Vec<String> {
        let whole = self.bits > 24;
        self.names().into_iter().map(|name| if whole { name } else { name + "." }).collect()
    }
}

/// `relayclients`, `norelayclients` and `dnsbl_allow`.
pub(super) fn files(
    sources: &Sources,
    warnings: &mut Vec<String>,
) -> Vec<(&'static str, Vec<Fragment>)> {
    let networks = networks(sources, warnings);
    let own: Vec<String> = address(sources, "LocalIP").into_iter().collect();
    let without_auth = networks.iter().filter(|it| it.may_relay).flat_map(Network::prefixes);
    let guests = defaults::UNAUTHENTICATED_RELAY_CLIENTS.text(&sources.configuration, warnings);
    let mut single = Vec::new();
    for guest in guests.split(',').map(str::trim).filter(|guest| !guest.is_empty()) {
        match guest.parse::<Ipv4Addr>() {
            Ok(_) => single.push(guest.to_string()),
            Err(_) => warnings.push(format!(
                "qpsmtpd UnauthenticatedRelayClients: '{}' is no IPv4 address, left out",
                guest.escape_debug()
            )),
        }
    }
    let local = networks.iter().flat_map(Network::prefixes);
    let known = std::iter::once("127.0.0.1".to_string()).chain(local);
    vec![
        (
            "relayclients",
            vec![
                Fragment::new(
                    "10localhost",
                    lines(std::iter::once("127.0.0.".to_string()).chain(own)),
                ),
                Fragment::new("20networks", lines(without_auth)),
                Fragment::new("60unauthenticated", lines(single)),
            ],
        ),
        ("norelayclients", vec![Fragment::new("10gateway", lines(address(sources, "GatewayIP")))]),
        ("dnsbl_allow", vec![Fragment::new("10local", lines(known))]),
    ]
}

/// The links below `peers/`: name and the list it leads to. The gateway stands for the whole Internet, so
/// it is served like it.
#[must_use]
pub fn links(sources: &Sources) -> BTreeMap<String, &'static str> {
    let mut unused = Vec::new();
    let mut links = BTreeMap::from([("127.0.0.1".to_string(), "local")]);
    if defaults::ACCESS_25.text(&sources.configuration, &mut unused) != "localhost" {
        let names = networks(sources, &mut unused).into_iter().flat_map(|it| it.names());
        links.extend(names.map(|name| (name, "local")));
        links.extend(address(sources, "LocalIP").map(|own| (own, "local")));
    }
    links.extend(address(sources, "GatewayIP").map(|gateway| (gateway, "0")));
    links
}

/// A single value that is an address.
fn address(sources: &Sources, key: &str) -> Option<String> {
    scalar(&sources.configuration, key).filter(|it| it.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_octets() {
        for (address, bits, first, last, count) in [
            ("192.168.1.0", 24, "192.168.1", "192.168.1", 1),
            ("10.1.0.0", 16, "10.1", "10.1", 1),
            ("10.0.0.0", 8, "10", "10", 1),
            ("192.168.4.0", 22, "192.168.4", "192.168.7", 4),
            ("172.16.0.0", 12, "172.16", "172.31", 16),
            ("192.0.2.128", 25, "192.0.2.128", "192.0.2.255", 128),
            ("192.0.2.4", 32, "192.0.2.4", "192.0.2.4", 1),
        ] {
            let address = u32::from(address.parse::<Ipv4Addr>().unwrap());
            let names = Network { address, bits, may_relay: false }.names();
            assert_eq!(names.first().unwrap(), first);
            assert_eq!((names.last().unwrap().as_str(), names.len()), (last, count));
        }
    }
}
