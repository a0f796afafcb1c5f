//! rspamd's functional tests of SPF: its fake DNS, and for each case the symbol that it expects.

use super::world::World;
use super::{Case, Tally};
use crate::corpus;
use crate::json::Json;
use mailreeve::dns::Kind;

const INCLUDE_NONE: &str = "5.2: an included domain without a record is permerror";
const TOO_MANY: &str = "4.6.4: at most 10 terms that ask DNS; rspamd allows more";
const RELAY: &str = "whose mail is judged by a Received field is rspamd's own idea";

const LISTED: [(&str, &str); 3] = [
    ("SPF ALLOW DNS REQUESTS AT LIMIT 0", TOO_MANY),
    ("SPF EXTERNAL RELAY 0", RELAY),
    ("SPF FAIL UNRESOLVEABLE INCLUDE 0", INCLUDE_NONE),
];

#[test]
fn rspamd() {
    let Some(cases) = corpus::read("rspamd-functional/cases.json") else { return };
    let Some(dns) = corpus::read("rspamd-functional/fake_dns.json") else { return };
    let world = zone(Json::parse(&dns).at("merged-local.conf").list());
    let mut tally = Tally::default();
    for case in Json::parse(&cases).list() {
        if case.at("suite").text() != Some("117_spf.robot") {
            continue;
        }
        let name = case.at("name").text().unwrap_or_default();
        for (number, scan) in case.at("scans").list().iter().enumerate() {
            let text = |key: &str| scan.at("opts").at(key).text().unwrap_or_default();
            let symbols = scan.at("expect").list().iter().filter_map(Json::text);
            let sender = Some(text("From")).filter(|from| *from != "<>").unwrap_or_default();
            let case = Case {
                name: format!("{name} {number}"),
                ip: Some(text("IP")).filter(|ip| !ip.is_empty()).unwrap_or("127.0.0.1").into(),
                helo: text("Helo").to_string(),
                sender: sender.to_string(),
                results: symbols.filter_map(result_of).map(str::to_string).collect(),
                explanation: None,
            };
            let checked = case.check(&world, &case.identity());
            tally.case(&case, &checked);
        }
    }
    tally.finish(36, &LISTED);
}

fn result_of(symbol: &str) -> Option<&'static str> {
    match symbol {
        "R_SPF_ALLOW" | "R_SPF_PLUSALL" => Some("pass"),
        "R_SPF_FAIL" => Some("fail"),
        "R_SPF_SOFTFAIL" => Some("softfail"),
        "R_SPF_NEUTRAL" => Some("neutral"),
        "R_SPF_DNSFAIL" => Some("temperror"),
        "R_SPF_PERMFAIL" => Some("permerror"),
        "R_SPF_NA" => Some("none"),
        _ => None,
    }
}

fn zone(records: &[Json]) -> World {
    let mut world = World::default();
    for record in records {
        let text = |key: &str| record.at(key).text().unwrap_or_default();
        let name = text("name");
        let kind = match text("type") {
            "a" => Kind::A,
            "aaaa" => Kind::Aaaa,
            "mx" => Kind::Mx,
            "ptr" => Kind::Ptr,
            "txt" => Kind::Txt,
            _ => continue,
        };
        match text("rcode") {
            "" => {}
            "norec" => world.exists(name),
            "nxdomain" => continue,
            _ => world.silence(name, Some(kind)),
        }
        for reply in record.at("replies").list().iter().filter_map(Json::text) {
            match kind {
                Kind::A | Kind::Aaaa => world.address(name, reply),
                Kind::Ptr => world.ptr(name, reply),
                Kind::Mx => {
                    let (preference, host) = reply.split_once(' ').expect("a preference");
                    world.mx(name, preference.parse().expect("a number"), host);
                }
                Kind::Txt | Kind::Ns => world.text(name, reply),
            }
        }
    }
    world
}
