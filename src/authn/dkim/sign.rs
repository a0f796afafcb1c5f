//! Signing (RFC 6376 section 5).
//!
//! Fields that a reader sees or a mail client obeys are named once more than they are there, so that
//! nobody can add another one (section 8.15). Fields that relays add on the way are not signed.

use super::canon::{Canon, Wanted, hash_body};
use super::fields::{Fields, write_own_field};
use super::text::folded_base64;
use super::{Algorithm, Mail};
use crate::authn::crypto::{KeyKind, PrivateKey, sha256};
use crate::mail::headers::Field;

/// The field's name.
pub const NAME: &str = "DKIM-Signature";

/// Signed as often as they are there and once more.
const OVERSIGNED: [&str; 10] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Reply-To",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Signed as often as they are there: a mailing list may add them.
const SIGNED: [&str; 18] = [
    "Sender",
    "In-Reply-To",
    "References",
    "Content-Disposition",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
];

/// Columns of a line of the field.
const LINE: usize = 76;

/// Who signs, and how.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// With this key.
    pub key: &'a PrivateKey,
    /// `d=`: in lower case and A-labels.
    pub domain: &'a str,
    /// `s=`
    pub selector: &'a str,
    /// Form of the header.
    pub header_canon: Canon,
    /// Form of the body.
    pub body_canon: Canon,
    /// `t=`, seconds since 1970.
    pub time: u64,
}

/// The values of the fields `DKIM-Signature` for a message, in the order of the signers; a value has
/// its folds and begins with a blank. None where the library cannot sign.
///
/// The fields are to be written above all others as they are; none of them covers another.
pub fn sign(mail: &Mail<'_>, signers: &[Signer<'_>]) -> Option<Vec<String>> {
    let fields = Fields::new(mail.header, mail.headers);
    let mut wanted: Vec<Wanted> = Vec::new();
    for signer in signers {
        let wish = Wanted { canon: signer.body_canon, length: None };
        if !wanted.contains(&wish) {
            wanted.push(wish);
        }
    }
    let hashes = hash_body(mail.body, &wanted, mail.passed);
    let names = names(&fields);
    let one = |signer: &Signer<'_>| {
        let mut hashed = wanted.iter().zip(&hashes);
        let (_, body) = hashed.find(|(wish, _)| wish.canon == signer.body_canon)?;
        signer.field(&fields, &names, &(*body)?.hash)
    };
    signers.iter().map(one).collect()
}

impl Signer<'_> {
    fn field(&self, fields: &Fields<'_>, names: &[&str], body_hash: &[u8]) -> Option<String> {
        let mut text = self.unsigned(names, body_hash);
        let mut data = Vec::new();
        let octets = names.iter().map(|name| name.as_bytes());
        fields.write(&mut data, octets, self.header_canon, None);
        let raw = format!("{NAME}:{text}");
        let own = Field { name: NAME.as_bytes(), value: text.as_bytes(), raw: raw.as_bytes() };
        write_own_field(&mut data, &own, self.header_canon, &(text.len()..text.len()));
        let signature = self.key.sign(&to_be_signed(data, self.key.kind()))?;
        text.push_str(&folded_base64(&signature));
        Some(text)
    }

    /// The value up to `b=`.
    fn unsigned(&self, names: &[&str], body_hash: &[u8]) -> String {
        let algorithm = match self.key.kind() {
            KeyKind::Rsa => Algorithm::RsaSha256,
            KeyKind::Ed25519 => Algorithm::Ed25519Sha256,
        };
        let mut folder = Folder { text: String::new(), column: NAME.len() + 1 };
        folder.word("v=1;");
        folder.word(&format!("a={};", algorithm.name()));
        folder.word(&format!("c={}/{};", self.header_canon.name(), self.body_canon.name()));
        folder.word(&format!("d={};", self.domain));
        folder.word(&format!("s={};", self.selector));
        folder.word(&format!("t={};", self.time));
        for (index, name) in names.iter().enumerate() {
            let front = if index == 0 { "h=" } else { "" };
            let end = if index + 1 == names.len() { ';' } else { ':' };
            let piece = format!("{front}{}{end}", name.to_ascii_lowercase());
            if index == 0 { folder.word(&piece) } else { folder.more(&piece) }
        }
        folder.word("bh=");
        folder.text.push_str(&folded_base64(body_hash));
        folder.text.push(';');
        folder.line("b=");
        folder.text
    }
}

/// Puts words into lines.
struct Folder {
    text: String,
    column: usize,
}

impl Folder {
    /// A word behind a blank, or at the start of a new line.
    fn word(&mut self, word: &str) {
        if self.column + 1 + word.len() > LINE {
            return self.line(word);
        }
        self.text.push(' ');
        self.text.push_str(word);
        self.column += 1 + word.len();
    }

    /// A word right behind the last one, where it fits.
    fn more(&mut self, word: &str) {
        if self.column + word.len() > LINE {
            return self.line(word);
        }
        self.text.push_str(word);
        self.column += word.len();
    }

    /// A word in a new line.
    fn line(&mut self, word: &str) {
        self.text.push_str("\r\n\t");
        self.text.push_str(word);
        self.column = 1 + word.len();
    }
}

/// The names for `h=`, in an order that does not depend on the message.
fn names(fields: &Fields<'_>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (list, more) in [(&OVERSIGNED[..], 1), (&SIGNED[..], 0)] {
        for name in list {
            let times = fields.count(&name.to_ascii_lowercase()) + more;
            names.extend(std::iter::repeat_n(*name, times));
        }
    }
    names
}

/// What a key of this kind signs: the data, or its hash (RFC 8463 section 3).
pub fn to_be_signed(data: Vec<u8>, kind: KeyKind) -> Vec<u8> {
    match kind {
        KeyKind::Rsa => data,
        KeyKind::Ed25519 => sha256(&data).to_vec(),
    }
}

#[cfg(test)]
mod tests;
