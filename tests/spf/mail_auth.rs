//! mail-auth's cases: records and tests as lines, of which a later one may replace an earlier one.
//! HELO is judged first, and a fail of it settles the matter (RFC 7208 section 2.3).

use super::world::World;
use super::{Case, Tally};
use crate::corpus;
use crate::json::Json;
use crate::yaml;
use mailreeve::authn::spf::{Checked, Identity, SpfResult};
use mailreeve::dns::{Kind, reverse_name};

const FILES: [&str; 13] = [
    "a",
    "all",
    "basic",
    "examples",
    "exists",
    "exp",
    "identities",
    "include",
    "ip",
    "macro",
    "mx",
    "ptr",
    "redirect",
];

const AFTER_ALL: &str = "4.6: a fault of syntax anywhere in the record is permerror, and `ip:` is \
    no mechanism; 5.1 has what stands behind `all` ignored, not left unread";
const EXISTS: &str = "5.7: exists asks for A even if the client's address is of IPv6";

const VOID: &str = "4.6.4: more than two terms that find nothing are permerror";

const LISTED: [(&str, &str); 4] = [
    ("all/All test/sender@test.org 10.0.0.1", AFTER_ALL),
    ("basic/DNS Lookup Limits/sender@ok.test.org 172.168.0.1", VOID),
    ("exists/Exists/sender@ip6.test.org 167.1.2.3", EXISTS),
    ("macro/Macro expansion 2/strong-bad@email.example.com 2001:db8::cb01", EXISTS),
];

#[test]
fn mail_auth() {
    let mut tally = Tally::default();
    for file in FILES {
        let Some(text) = corpus::read(&format!("spf-mail-auth/{file}.yml")) else { return };
        for document in yaml::documents(&text) {
            let title = format!("{file}/{}", document.at("name").text().unwrap_or_default());
            run(&title, &document, &mut tally);
        }
    }
    tally.finish(140, &LISTED);
}

fn run(title: &str, document: &Json, tally: &mut Tally) {
    let mut world = World::default();
    if let Json::Object(lines) = document.at("records") {
        for (kind, line) in lines {
            records(&mut world, kind, line.text().unwrap_or_default());
        }
    }
    let (mut domain, mut sender, mut ip) = (String::new(), String::new(), String::new());
    for test in document.at("tests").list() {
        let Json::Object(members) = test else { panic!("{title}: {test:?}") };
        for (key, value) in members {
            let text = value.text().unwrap_or_default();
            match key.as_str() {
                "name" => {}
                "domain" => domain = text.to_string(),
                "sender" => sender = text.to_string(),
                "ip" => ip = text.to_string(),
                "expect" => {
                    let (result, explanation) = match text.split_once(' ') {
                        Some((result, text)) => (result, Some(Some(text.to_string()))),
                        None => (text, None),
                    };
                    let case = Case {
                        name: format!("{title}/{sender} {ip}"),
                        ip: ip.clone(),
                        helo: domain.clone(),
                        sender: sender.clone(),
                        results: vec![result.to_string()],
                        explanation,
                    };
                    tally.case(&case, &judge(&case, &world));
                }
                kind => records(&mut world, kind, text),
            }
        }
    }
}

fn judge(case: &Case, world: &World) -> Checked {
    let helo = case.check(world, &Identity::of_helo(&case.helo));
    if helo.result == SpfResult::Fail || case.sender.is_empty() {
        return helo;
    }
    case.check(world, &case.identity())
}

fn records(world: &mut World, kind: &str, line: &str) {
    let (name, data) = line.split_once(' ').unwrap_or((line, ""));
    let values = data.split(',').map(str::trim);
    match kind {
        "a" | "aaaa" => values.for_each(|address| world.address(name, address)),
        "mx" => {
            for (number, address) in values.enumerate() {
                let host = format!("host{number}.mx.{name}");
                world.mx(name, 10, &host);
                world.address(&host, address);
            }
        }
        "spf" | "exp" => {
            world.clear(name, Kind::Txt);
            world.text(name, data);
        }
        "ptr" => {
            let reverse = reverse_name(name.parse().expect("an address"));
            world.clear(&reverse, Kind::Ptr);
            values.for_each(|host| world.ptr(&reverse, host));
        }
        other => panic!("{other}: {line}"),
    }
}
