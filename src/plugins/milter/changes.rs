//! What a filter wants changed, as effects: checked as a whole before the first is staged.

use crate::client::milter::Change;
use crate::mail::edit::Edit;
use crate::mail::headers::clean;
use crate::mail::new_body::NewBody;
use crate::plugin::{Cx, MessageView};
use crate::smtp::address::{Address, ReversePath, parse_forward, parse_reverse};

/// Octets of a reason for quarantine.
const REASON_MAX: usize = 200;

/// One change, ready to be staged.
enum Ready {
    Edit(Edit),
    Sender(ReversePath),
    Add(Address),
    Delete(Address),
    Quarantine(String),
}

/// Stages all changes, or none.
///
/// # Errors
/// In words, why one of them cannot be done.
pub(super) fn stage(
    cx: &mut Cx<'_>,
    message: &MessageView<'_>,
    utf8: bool,
    wanted: &[Change],
) -> Result<(), String> {
    let header = message.current.header(message.received);
    let fields = message.current.headers().iter(header);
    let mut names: Vec<Vec<u8>> = fields.map(|it| it.name.to_ascii_lowercase()).collect();
    let mut ready = Vec::new();
    for change in wanted {
        ready.extend(read(change, &mut names, utf8)?);
    }
    let mut edits = Vec::new();
    for change in &ready {
        match change {
            Ready::Edit(edit) => edits.push(edit.clone()),
            Ready::Quarantine(why) => {
                edits.push(Edit::Insert { name: "X-Quarantine".to_string(), value: why.clone() });
            }
            Ready::Sender(_) | Ready::Add(_) | Ready::Delete(_) => {}
        }
    }
    let mut trial = message.current.clone();
    let tried = trial.apply(message.received, &edits);
    tried.map_err(|error| format!("its changes cannot be made: {error:?}"))?;
    for change in ready {
        match change {
            Ready::Edit(edit) => cx.edit(edit),
            Ready::Sender(sender) => cx.set_sender(sender),
            Ready::Add(address) => cx.add_recipient(address),
            Ready::Delete(address) => cx.delete_recipient(address),
            Ready::Quarantine(why) => cx.quarantine(&why),
        }
    }
    Ok(())
}

/// Reads one change; None where it changes nothing. `names` are those of the fields as they will stand.
fn read(change: &Change, names: &mut Vec<Vec<u8>>, utf8: bool) -> Result<Option<Ready>, String> {
    let bad = |text: &str| format!("it gives no address: {}", clean(text.as_bytes(), REASON_MAX));
    Ok(Some(match change {
        Change::AddHeader { name, value } => append(name, value, names),
        Change::InsertHeader { at, name, value } => {
            let at = (*at).min(names.len());
            names.insert(at, name.to_ascii_lowercase().into_bytes());
            let (name, value) = (name.clone(), value.clone());
            Ready::Edit(Edit::InsertAt { at, name, value })
        }
        Change::ChangeHeader { nth, name, value } => {
            let (lower, nth) = (name.to_ascii_lowercase(), nth.saturating_sub(1));
            let mut same = names.iter().enumerate().filter(|(_, it)| **it == lower.as_bytes());
            match (same.nth(nth).map(|(at, _)| at), value.is_empty()) {
                (Some(at), true) => {
                    names.remove(at);
                    Ready::Edit(Edit::Delete { name: name.clone(), nth: Some(nth) })
                }
                (Some(_), false) => {
                    let (name, value) = (name.clone(), value.clone());
                    Ready::Edit(Edit::Change { name, nth, value })
                }
                (None, true) => return Ok(None),
                // As Sendmail and Postfix do.
                (None, false) => append(name, value, names),
            }
        }
        Change::Body(body) => Ready::Edit(Edit::ReplaceBody(lines(body))),
        Change::Sender(path) => {
            let path = bracketed(path);
            Ready::Sender(parse_reverse(path.as_bytes(), utf8).map_err(|_| bad(&path))?)
        }
        Change::AddRecipient { path, .. } => {
            Ready::Add(recipient(path, utf8).ok_or_else(|| bad(path))?)
        }
        Change::DeleteRecipient(path) => {
            Ready::Delete(recipient(path, utf8).ok_or_else(|| bad(path))?)
        }
        Change::Quarantine(why) => Ready::Quarantine(clean(why.as_bytes(), REASON_MAX)),
    }))
}

fn append(name: &str, value: &str, names: &mut Vec<Vec<u8>>) -> Ready {
    names.push(name.to_ascii_lowercase().into_bytes());
    Ready::Edit(Edit::Append { name: name.to_string(), value: value.to_string() })
}

fn bracketed(path: &str) -> String {
    if path.starts_with('<') { path.to_string() } else { format!("<{path}>") }
}

fn recipient(path: &str, utf8: bool) -> Option<Address> {
    parse_forward(bracketed(path).as_bytes(), utf8).ok()
}

/// The body in CR LF lines, whatever ends them.
fn lines(body: &[u8]) -> NewBody {
    let mut out = Vec::with_capacity(body.len());
    let mut last = 0;
    for octet in body {
        if last == b'\r' && *octet != b'\n' {
            out.push(b'\n');
        } else if *octet == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(*octet);
        last = *octet;
    }
    if last == b'\r' {
        out.push(b'\n');
    }
    NewBody::new(out)
}
