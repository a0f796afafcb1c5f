//! Which lines divide a message: the boundaries of the multiparts that are open.
//!
//! A delimiter is `--`, the boundary and nothing but blanks (RFC 2046 section 5.1.1); with `--` behind
//! the boundary it closes. Clients compare whole lines, so here that is the rule too, and comparing
//! beginnings is what is left for multiparts that have no such line ([`Boundaries::loose`]).
//!
//! A line is hashed once and then compared with the hashes of all boundaries, so a message full of
//! hyphens at great depth costs little more than one without.

/// A boundary of the multipart at one depth; a multipart may have several (see `field`).
struct Boundary {
    frame: usize,
    hash: u64,
    text: Box<[u8]>,
}

/// The boundaries of all open multiparts, outermost first.
#[derive(Default)]
pub(super) struct Boundaries {
    list: Vec<Boundary>,
    longest: usize,
}

/// What a line delimits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delimiter {
    /// The depth of the multipart that it belongs to.
    pub(super) frame: usize,
    /// It closes the multipart.
    pub(super) closes: bool,
    /// It is one by its beginning only.
    pub(super) loose: bool,
}

impl Boundaries {
    /// Adds a boundary of the multipart at depth `frame`, which is the deepest. True if a line could
    /// be taken for one of another multipart too.
    pub(super) fn push(&mut self, frame: usize, text: &[u8]) -> bool {
        let text = trim_end(text);
        let reused =
            self.list.iter().any(|other| other.frame != frame && bare(&other.text) == bare(text));
        self.longest = self.longest.max(text.len());
        self.list.push(Boundary { frame, hash: hash(text), text: text.into() });
        reused
    }

    /// Takes away those of depth `frame` and deeper.
    pub(super) fn cut(&mut self, frame: usize) {
        while self.list.pop_if(|last| last.frame >= frame).is_some() {}
        self.longest = self.list.iter().map(|boundary| boundary.text.len()).max().unwrap_or(0);
    }

    /// What the line delimits, if anything. Multiparts that are not closed come first, inner before
    /// outer; `is_closed` knows.
    pub(super) fn delimiter(
        &self,
        line: &[u8],
        is_closed: impl Fn(usize) -> bool,
    ) -> Option<Delimiter> {
        let text = line.strip_prefix(b"--")?;
        // Whatever is longer has no room for blanks only, so their number is bounded here too.
        let window = text.get(..self.longest.saturating_add(2 + PADDING_MAX)).unwrap_or(text);
        let text = trim_end(window);
        if text.len() > self.longest + 2 || self.list.is_empty() {
            return None;
        }
        let opening = hash(text);
        let closing = text.strip_suffix(b"--").map(|text| (text, hash(text)));
        let matches = |boundary: &Boundary| {
            if boundary.hash == opening && *boundary.text == *text {
                return Some(Delimiter { frame: boundary.frame, closes: false, loose: false });
            }
            let (text, hash) = closing?;
            (boundary.hash == hash && *boundary.text == *text).then_some(Delimiter {
                frame: boundary.frame,
                closes: true,
                loose: false,
            })
        };
        let mut closed = None;
        for found in self.list.iter().rev().filter_map(matches) {
            if !is_closed(found.frame) {
                return Some(found);
            }
            closed = closed.or(Some(found));
        }
        closed
    }

    /// What the line delimits by its beginning, of the multiparts that `is_loose` names. It closes one
    /// if it ends as closing lines do.
    pub(super) fn loose(&self, line: &[u8], is_loose: impl Fn(usize) -> bool) -> Option<Delimiter> {
        let text = line.strip_prefix(b"--")?;
        self.list.iter().rev().filter(|boundary| is_loose(boundary.frame)).find_map(|boundary| {
            let behind = text.strip_prefix(&*boundary.text)?;
            let closes = trim_end(behind).ends_with(b"--");
            Some(Delimiter { frame: boundary.frame, closes, loose: true })
        })
    }
}

/// Blanks behind a delimiter that are looked at (RFC 2046 calls them transport padding).
const PADDING_MAX: usize = 1_024;

/// A boundary without hyphens at its end, which closing adds.
fn bare(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|octet| *octet != b'-').map_or(0, |at| at + 1);
    text.get(..end).unwrap_or(text)
}

fn trim_end(text: &[u8]) -> &[u8] {
    text.trim_ascii_end()
}

/// FNV-1a, which is enough to tell lines apart that nobody built to collide; then the text decides.
fn hash(text: &[u8]) -> u64 {
    let mix = |sum: u64, octet: &u8| (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    text.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let mut boundaries = Boundaries::default();
        assert!(!boundaries.push(0, b"a"));
        assert!(!boundaries.push(1, b"ab "));
        assert!(!boundaries.push(1, b"x"));
        assert!(boundaries.push(3, b"ab--"));
        let rows: &[(&str, Option<(usize, bool)>)] = &[
            ("--a", Some((0, false))),
            ("--a \t\r\n", Some((0, false))),
            ("--a--\n", Some((0, true))),
            ("--a --\n", None),
            ("--ab\r\n", Some((1, false))),
            ("--x-- \r\n", Some((1, true))),
            ("--ab--\r\n", Some((3, false))),
            ("--ab----\r\n", Some((3, true))),
            ("--abc\r\n", None),
            ("--A\r\n", None),
            ("-a\r\n", None),
            ("--\r\n", None),
            ("--a-\r\n", None),
            (" --a\r\n", None),
        ];
        for (line, want) in rows {
            let found = boundaries.delimiter(line.as_bytes(), |_| false);
            assert_eq!(found.map(|d| (d.frame, d.closes)), *want, "{line:?}");
        }
        // Of two that fit, the one that is not closed.
        let found = boundaries.delimiter(b"--ab--", |frame| frame == 3).unwrap();
        assert_eq!(found, Delimiter { frame: 1, closes: true, loose: false });
        let found = boundaries.loose(b"--abc--\r\n", |frame| frame < 2).unwrap();
        assert_eq!(found, Delimiter { frame: 1, closes: true, loose: true });
        assert_eq!(boundaries.loose(b"--c\r\n", |_| true), None);
        boundaries.cut(1);
        assert_eq!(boundaries.delimiter(b"--x\r\n", |_| false), None);
    }

    #[test]
    fn an_empty_boundary_is_one_for_some() {
        let mut boundaries = Boundaries::default();
        boundaries.push(0, b"");
        assert!(boundaries.delimiter(b"--\r\n", |_| false).is_some_and(|d| !d.closes));
        assert!(boundaries.delimiter(b"----\r\n", |_| false).is_some_and(|d| d.closes));
        assert!(boundaries.delimiter(b"--x\r\n", |_| false).is_none());
    }
}
