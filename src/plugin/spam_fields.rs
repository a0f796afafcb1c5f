//! What the plugins that ask a spam filter have in common: where it listens, in whose name it is asked,
//! what becomes of fields `X-Spam-…` that a message brings along, and the mark on a subject.

use crate::client::spamd::{Points, is_of_spam, is_spam_field};
use crate::client::stream;
use crate::mail::headers::{clean_utf8, unfold};
use crate::plugin::login::address;
use crate::plugin::{Args, Cx, MessageView};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The field that only we write.
pub const USER_FIELD: &str = "X-Spam-User";

/// Octets of a subject that is written anew.
pub const SUBJECT_MAX: usize = 4_000;

/// Octets of a user's name.
const USER_MAX: usize = 128;

/// Fields of others that are renamed, the rest is dropped, and the octets of one.
const OLD_MAX: usize = 20;
const OLD_VALUE_MAX: usize = 2_000;

/// Where a filter listens.
#[derive(Debug, PartialEq, Eq)]
pub enum Socket {
    /// The path of a socket.
    Unix(PathBuf),
    /// A port.
    Tcp(SocketAddr),
}

impl Socket {
    /// Reads the argument `key`: a path, `IP:PORT` or `localhost:PORT`. By default this port of
    /// localhost.
    pub fn from_args(args: &mut Args, key: &str, port: u16) -> Socket {
        let localhost = Socket::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        let Some(word) = args.named(key) else { return localhost };
        if word.starts_with('/') {
            return Socket::Unix(PathBuf::from(word));
        }
        // With a port always, as qpsmtpd has it: what is only a name is a forgotten slash.
        let found =
            Some(&word).filter(|word| word.contains(':')).and_then(|it| address(it, 0).ok());
        match found.filter(|it| it.port() != 0) {
            Some(address) => Socket::Tcp(address),
            None => {
                let what = "give the path of a socket, IP:PORT, or localhost:PORT";
                args.complain(format!("{key} {word}: {what}"));
                localhost
            }
        }
    }

    /// For a client.
    pub fn place(&self) -> stream::Place<'_> {
        match self {
            Socket::Unix(path) => stream::Place::Unix(path),
            Socket::Tcp(address) => stream::Place::Tcp(*address),
        }
    }
}

/// What becomes of fields that came with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// They get the names `X-Old-Spam-…`.
    Rename,
    /// They go.
    Drop,
    /// They stay, but for [`USER_FIELD`].
    Keep,
}

impl Old {
    /// Reads the argument `leave_old_headers`.
    pub fn from_args(args: &mut Args) -> Old {
        let olds = [("rename", Old::Rename), ("drop", Old::Drop), ("keep", Old::Keep)];
        choice(args, "leave_old_headers", Old::Rename, &olds)
    }

    /// Takes the fields away that came with the message.
    pub fn clear(self, cx: &mut Cx<'_>, message: &MessageView<'_>) {
        if let Old::Keep = self {
            cx.delete_header(USER_FIELD, None);
            return;
        }
        let header = message.current.header(message.received);
        let mut names: Vec<String> = Vec::new();
        let mut renamed = Vec::new();
        for field in message.current.headers().iter(header) {
            let name = String::from_utf8_lossy(field.name);
            if !is_of_spam(&name) {
                continue;
            }
            let name = name.to_ascii_lowercase();
            let forged = name.eq_ignore_ascii_case(USER_FIELD);
            if let (Old::Rename, false, true) = (self, forged, renamed.len() < OLD_MAX)
                && let Some(rest) = name.get(7..).filter(|_| is_spam_field(&name))
            {
                let value = clean_utf8(&unfold(field.value), OLD_VALUE_MAX);
                renamed.push((format!("X-Old-Spam-{}", capitals(rest)), value));
            }
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            cx.delete_header(&name, None);
        }
        for (name, value) in renamed.iter().rev() {
            cx.insert_header(name, value);
        }
    }
}

/// Puts a prefix before the subject.
pub fn mark_subject(cx: &mut Cx<'_>, message: &MessageView<'_>, prefix: &str) {
    let header = message.current.header(message.received);
    match message.current.headers().first(header, "Subject") {
        Some(field) => {
            let old = clean_utf8(&unfold(field.value), SUBJECT_MAX);
            cx.change_header("Subject", 0, &format!("{prefix} {old}"));
        }
        None => cx.insert_header("Subject", prefix),
    }
}

/// Takes one of a few words.
pub fn choice<T: Copy>(args: &mut Args, key: &str, default: T, words: &[(&str, T)]) -> T {
    let Some(word) = args.named(key) else { return default };
    if let Some((_, found)) = words.iter().find(|(known, _)| *known == word) {
        return *found;
    }
    let known: Vec<_> = words.iter().map(|(known, _)| *known).collect();
    args.complain(format!("{key} {word}: use {}", known.join(", ")));
    default
}

/// Reads a number of points, or complains.
pub fn points(args: &mut Args, key: &str, word: &str) -> Option<Points> {
    let found = Points::read(word);
    if found.is_none() {
        args.complain(format!("{key} {word}: give a number"));
    }
    found
}

/// The site's user: that of the file `user`, or `mailreeve`.
pub fn account(cx: &Cx<'_>) -> String {
    let account = cx.config().user.as_deref().unwrap_or("mailreeve");
    account.split(':').next().unwrap_or_default().to_string()
}

/// What no one who runs as a user, or looks for his files, can misread.
pub fn is_user(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-+@/".contains(&octet);
    name.len() <= USER_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && name.bytes().all(plain)
        && !name.contains("..")
        && !name.contains("//")
}

/// `status` as `Status`, `checker-version` as `Checker-Version`.
fn capitals(name: &str) -> String {
    let mut at_start = true;
    let up = |letter: char| {
        let letter = if at_start { letter.to_ascii_uppercase() } else { letter };
        at_start = letter == '-';
        letter
    };
    name.chars().map(up).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets() {
        for (word, port, path) in [
            ("localhost:1783", 1_783, ""),
            ("192.0.2.1:25", 25, ""),
            ("[::1]:783", 783, ""),
            ("/run/x", 0, "/run/x"),
            // Not taken: the default.
            ("spam.example:783", 7, ""),
            ("localhost", 7, ""),
            ("spamd", 7, ""),
            ("::1", 7, ""),
        ] {
            let mut args = Args::of(&format!("x socket {word}"));
            let expected = usize::from(port == 7);
            match Socket::from_args(&mut args, "socket", 7) {
                Socket::Tcp(address) => assert_eq!(address.port(), port, "{word}"),
                Socket::Unix(found) => assert_eq!(found, PathBuf::from(path), "{word}"),
            }
            assert_eq!(args.finish().len(), expected, "{word}");
        }
        assert_eq!(capitals("checker-version"), "Checker-Version");
    }
}
