//! Suites in the form of openspf's: scenarios with a zone and tests.

use super::world::World;
use super::{Case, Tally};
use crate::corpus;
use crate::json::Json;
use crate::yaml;
use mailreeve::dns::Kind;
use std::path::PathBuf;

const SINGLE_LABEL: &str = "4.3: a domain of one label has no record, the result is none";
const SINGLE_TARGET: &str =
    "7.1: a domain-spec that is no macro ends in a dot and a top label; 4.6: a fault of syntax";
const NOT_OURS: &str = "not a result of RFC 7208: pyspf's own `ambiguous` and lax mode";

/// What others expect against the RFC.
const BLITIRI: [(&str, &str); 7] = [
    ("Resolution limits/resolution-with-10-lookups", SINGLE_TARGET),
    ("MX resolution limits/mx-resolution-10-terms", SINGLE_LABEL),
    ("MX resolution limits/mx-resolution-11-terms", SINGLE_LABEL),
    ("NXDOMAIN tests/one-mx-not-found", SINGLE_LABEL),
    ("NXDOMAIN tests/all-mx-not-found", SINGLE_LABEL),
    ("NXDOMAIN tests/include-not-found", SINGLE_LABEL),
    ("NXDOMAIN tests/redirect-not-found", SINGLE_LABEL),
];
const PYSPF: [(&str, &str); 2] = [
    ("corner cases/default-modifier", NOT_OURS),
    ("corner cases/default-modifier-harsh", NOT_OURS),
];

#[test]
fn blitiri() {
    let Some(text) = corpus::read("spf-pyspf-blitiri/blitirispf-tests.yml") else { return };
    run(&text).finish(14, &BLITIRI);
}

#[test]
fn pyspf() {
    let Some(text) = corpus::read("spf-pyspf-blitiri/pyspf-tests.yml") else { return };
    run(&text).finish(14, &PYSPF);
}

/// Suites that are not here now, such as that of RFC 7208 itself: all cases have to agree.
#[test]
fn further_suites() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let known = ["spf-mail-auth", "spf-pyspf-blitiri"];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("spf-") || known.contains(&name.as_str()) {
            continue;
        }
        for file in std::fs::read_dir(entry.path()).expect("a folder").flatten() {
            if file.path().extension().is_some_and(|end| end == "yml") {
                let text = std::fs::read_to_string(file.path()).expect("a text");
                run(&text).finish(1, &[]);
            }
        }
    }
}

fn run(text: &str) -> Tally {
    let mut tally = Tally::default();
    for scenario in yaml::documents(text) {
        let title = ["description", "comment"].map(|key| scenario.at(key).text());
        let title = title.into_iter().flatten().next().unwrap_or_default().trim();
        let world = zone(scenario.at("zonedata"));
        let Json::Object(tests) = scenario.at("tests") else { panic!("{title}: no tests") };
        for (name, test) in tests {
            let case = case(format!("{title}/{name}"), test);
            let checked = case.check(&world, &case.identity());
            tally.case(&case, &checked);
        }
    }
    tally
}

fn case(name: String, test: &Json) -> Case {
    let text = |key: &str| test.at(key).text().unwrap_or_default().to_string();
    let results = match test.at("result") {
        Json::List(results) => results.iter().filter_map(Json::text).collect(),
        result => vec![result.text().expect("a result")],
    };
    let explanation = test.at("explanation").text();
    Case {
        name,
        ip: text("host"),
        helo: text("helo"),
        sender: text("mailfrom"),
        results: results.into_iter().map(str::to_ascii_lowercase).collect(),
        explanation: explanation.map(|it| (it != "DEFAULT").then(|| it.to_string())),
    }
}

fn zone(data: &Json) -> World {
    let mut world = World::default();
    let Json::Object(names) = data else { return world };
    for (name, entries) in names {
        world.exists(name);
        let of_kind = |wanted: &'static str| {
            entries.list().iter().filter(move |entry| *entry.at(wanted) != Json::Null)
        };
        // A record of type SPF stands for a TXT record, unless there is one.
        let is_text = of_kind("TXT").next().is_some();
        for entry in entries.list() {
            match entry {
                Json::Text(word) if word == "TIMEOUT" => world.silence(name, None),
                Json::Object(members) => {
                    for (kind, value) in members {
                        let kind = match kind.as_str() {
                            "SPF" if is_text => continue,
                            "SPF" => "TXT",
                            kind => kind,
                        };
                        record(&mut world, name, kind, value);
                    }
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    world
}

fn record(world: &mut World, name: &str, kind: &str, value: &Json) {
    let text = value.text().unwrap_or_default();
    let known = match kind {
        "A" => Kind::A,
        "AAAA" => Kind::Aaaa,
        "MX" => Kind::Mx,
        "PTR" => Kind::Ptr,
        "TXT" => Kind::Txt,
        "CNAME" => return world.alias(name, text),
        "TIMEOUT" | "SERVFAIL" => return world.silence(name, None),
        other => panic!("{name}: {other}"),
    };
    match (kind, text) {
        (_, "TIMEOUT") => world.silence(name, Some(known)),
        ("TXT", "NONE") => {}
        ("A" | "AAAA", address) => world.address(name, address),
        ("PTR", host) => world.ptr(name, host),
        ("TXT", _) => {
            let strings = value.list().iter().filter_map(Json::text);
            let joined: String = strings.collect();
            world.text(name, if joined.is_empty() { text } else { &joined });
        }
        _ => {
            let [preference, host] = value.list() else { panic!("{name}: {value:?}") };
            let preference = preference.text().and_then(|it| it.parse().ok()).expect("a number");
            world.mx(name, preference, host.text().unwrap_or_default());
        }
    }
}
