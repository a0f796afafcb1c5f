//! Takes addresses without angle brackets: `MAIL FROM:a@example.com`, as old devices write them.
//!
//! The brackets are put around the address before it is read; parameters behind it stay, and all
//! further checks see what a client with manners would have sent. Nothing at all does not become
//! the null sender, and half a pair of brackets is not mended.
//!
//! Arguments: none.
//!
//! Config files: none.
//!
//! Replies: none of its own.
//!
//! Karma: -2 for each address without brackets.
//!
//! When it cannot tell: there is nothing to find out.

use crate::plugin::log::Level;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin, Verdict};
use crate::smtp::address::split_path;
use crate::smtp::session::PathOf;
use std::sync::Arc;

struct DontRequireAnglebrackets;

/// Makes the plugin of its line.
pub fn load(_args: &mut Args, _setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(DontRequireAnglebrackets)
}

impl Plugin for DontRequireAnglebrackets {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Address])
    }

    fn address(&self, cx: &mut Cx<'_>, command: PathOf, raw: &[u8]) -> Hooked {
        let Some(mended) = with_brackets(raw) else { return Ok(Verdict::Declined) };
        let verb = match command {
            PathOf::Mail => "MAIL",
            PathOf::Rcpt => "RCPT",
        };
        cx.karma(-2);
        cx.log(Level::Info, format!("fail, added {verb} angle brackets"));
        Ok(Verdict::Ok(Some(mended.into())))
    }
}

/// The text behind `FROM:` or `TO:` with brackets around its path. None where there is no path,
/// where it has a bracket already, and where it is no text; what is wrong then is found by who
/// reads it.
fn with_brackets(raw: &[u8]) -> Option<String> {
    let (path, parameters) = split_path(raw).ok()?;
    if path.is_empty() || path.contains(&b'<') || path.contains(&b'>') {
        return None;
    }
    let (path, parameters) = (str::from_utf8(path).ok()?, str::from_utf8(parameters).ok()?);
    Some(if parameters.is_empty() { format!("<{path}>") } else { format!("<{path}> {parameters}") })
}

/// Any octets: what is mended holds the path and the parameters that were there, and is mended
/// once.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let Some(mended) = with_brackets(data) else { return };
    assert!(with_brackets(mended.as_bytes()).is_none());
    assert!(mended.len() <= data.len() + 3);
    let (Ok((path, parameters)), Ok(after)) = (split_path(data), split_path(mended.as_bytes()))
    else {
        return;
    };
    assert_eq!(after, ([b"<", path, b">"].concat().as_slice(), parameters));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_added_where_there_are_none() {
        for (raw, expected) in [
            ("a@b.example", Some("<a@b.example>")),
            (" a@b.example", Some("<a@b.example>")),
            ("a@b.example SIZE=1  BODY=8BITMIME ", Some("<a@b.example> SIZE=1  BODY=8BITMIME")),
            ("a@b.example\tSIZE=1", Some("<a@b.example> SIZE=1")),
            ("postmaster", Some("<postmaster>")),
            ("grüße@b.example SMTPUTF8", Some("<grüße@b.example> SMTPUTF8")),
            ("\"a", Some("<\"a>")),
            ("<a@b.example>", None),
            ("<a@b.example> SIZE=1", None),
            ("<>", None),
            ("", None),
            ("  ", None),
            ("<a@b.example", None),
            ("a@b.example>", None),
            ("a@b.example> SIZE=1", None),
            ("a<b@c.example>", None),
        ] {
            assert_eq!(with_brackets(raw.as_bytes()).as_deref(), expected, "{raw:?}");
            fuzz(raw.as_bytes());
        }
        assert_eq!(with_brackets(b"a\xff@b.example"), None);
    }
}
