//! Plain text in pieces: a word that is cut in two is put together again.

use super::Found;
use super::plain;

/// Octets of a word that are held until it ends; what is longer is scanned in two.
const WORD_MAX: usize = 4_096;

/// Scans text that comes in pieces.
pub(super) struct TextScanner {
    word: Vec<u8>,
    guess: bool,
}

impl TextScanner {
    /// Without `guess` only URIs with a scheme are found.
    pub(super) fn new(guess: bool) -> TextScanner {
        TextScanner { word: Vec::new(), guess }
    }

    /// Takes the next piece. Nothing of it is copied but the word at its end.
    pub(super) fn feed(&mut self, piece: &[u8], found: &mut Found<'_>) {
        let mut rest = piece;
        if !self.word.is_empty() {
            let room = WORD_MAX.saturating_sub(self.word.len());
            let window = rest.get(..room).unwrap_or(rest);
            let end = window.iter().position(|octet| parts(*octet));
            let (more, behind) =
                rest.split_at_checked(end.unwrap_or(window.len())).unwrap_or((rest, b""));
            self.word.extend_from_slice(more);
            if end.is_none() && self.word.len() < WORD_MAX {
                return;
            }
            self.finish(found);
            rest = behind;
        }
        let window = rest.get(rest.len().saturating_sub(WORD_MAX)..).unwrap_or(rest);
        let end = window.iter().rposition(|octet| parts(*octet));
        let cut = match end {
            Some(end) => rest.len() - window.len() + end + 1,
            // One word: all of it is held if it is short, nothing if it cannot be.
            None if rest.len() < WORD_MAX => 0,
            None => rest.len(),
        };
        let (whole, word) = rest.split_at_checked(cut).unwrap_or((rest, b""));
        plain::scan(whole, self.guess, found);
        self.word.extend_from_slice(word);
    }

    /// Nothing comes behind.
    pub(super) fn finish(&mut self, found: &mut Found<'_>) {
        plain::scan(&self.word, self.guess, found);
        self.word.clear();
    }
}

/// What parts words whatever they are.
fn parts(octet: u8) -> bool {
    octet <= b' ' || matches!(octet, b'<' | b'>' | b'"')
}
