//! Keys of the former plugin `dkim_sign`: from `dkimkeys/HOST.private` to `dkim/HOST`.

use super::{Entry, Folder, Outcome, Step};
use crate::authn::crypto::PrivateKey;
use crate::authn::dkim::text::{domain_name, selector_name};
use crate::plugin::dkim_keys::SELECTOR;
use zeroize::Zeroizing;

/// Moves all keys, if a line dkim_sign used them. `signs` is its selector.
pub(super) fn move_all(files: &Folder, signs: Option<&str>, outcome: &mut Outcome) {
    let selector = signs.map(|name| (name, selector_name(name)));
    if let Some((name, None)) = &selector {
        let what = format!("selector {name} of dkim_sign is none; {SELECTOR} is used");
        outcome.report.push(Entry::noted("dkimkeys", what));
    }
    let selector = selector.map(|(_, good)| good.unwrap_or_else(|| SELECTOR.to_string()));
    for (name, key) in files {
        let host = name.strip_prefix("dkimkeys/").and_then(|it| it.strip_suffix(".private"));
        let Some(host) = host else { continue };
        match domain_name(host) {
            Some(domain) => move_one(files, name, key, &domain, selector.as_deref(), outcome),
            None => outcome.report.push(Entry::noted(name, "is named after no domain; it stays")),
        }
    }
}

fn move_one(
    files: &Folder,
    from: &str,
    key: &Zeroizing<Vec<u8>>,
    domain: &str,
    selector: Option<&str>,
    outcome: &mut Outcome,
) {
    let to = format!("dkim/{domain}/private");
    let remove = Step::Remove { name: from.to_string() };
    let Outcome { report, steps } = outcome;
    match (files.get(&to), selector) {
        (Some(there), _) if there == key => {
            report.push(Entry::changed(from, "the key", format!("(removed: it is in {to})")));
            steps.push(remove);
        }
        (Some(_), _) => {
            report.push(Entry::noted(from, format!("stays: {to} is there and is another key")));
        }
        (None, None) => {
            report.push(Entry::noted(from, "stays: no line dkim_sign in the lists uses it"));
        }
        (None, Some(selector)) => {
            let new = format!("{to}, selector {selector}");
            report.push(Entry::changed(from, "the key", new));
            let mut beside = |name: &str, text: String| {
                let name = format!("dkim/{domain}/{name}");
                if !files.contains_key(&name) {
                    steps.push(Step::Write { name, text: text.into_bytes() });
                }
            };
            let pem = str::from_utf8(key).map_err(|_| "is no PEM".to_string());
            match pem.and_then(|pem| PrivateKey::from_pem(pem).map_err(|why| why.to_string())) {
                Ok(key) => {
                    if let Some(public) = key.public() {
                        beside("public", public.to_pem());
                    }
                }
                Err(why) => report.push(Entry::noted(from, format!("signs nothing: it {why}"))),
            }
            beside("selector", format!("{selector}\n"));
            steps.push(Step::Key { from: from.to_string(), to });
            steps.push(remove);
        }
    }
}
