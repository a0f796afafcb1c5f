//! `mailreeve auth`: makes the lines that password files hold.

use crate::authn::password::{new_argon2id, new_sha512};
use crate::authn::scram::{ITERATIONS, Keys};
use crate::commands::{DONE, Fault, complain, print, wants_help};
use crate::smtp::auth::{PASSWORD_MAX, Password};
use crate::sys::random;
use lexopt::{Arg, ValueExt};
use nix::sys::termios::{self, LocalFlags, SetArg};
use std::io::{self, IsTerminal, Read};
use zeroize::Zeroizing;

pub(super) const HELP: &str = "\
Usage: mailreeve auth hash [--sha512 | --scram]

Reads a password from standard input, up to the end of its first line, and
prints the line to store for it: in flat_auth_pw behind `user@domain:`. On a
terminal it asks, and shows nothing of what is typed. The password is never an
argument, since everybody on the machine can read those.

  (without)  argon2id: 19 MiB of memory and 2 passes for each login
  --sha512   SHA-512 crypt with 100,000 rounds, which every crypt(3) reads
  --scram    keys for the mechanism SCRAM-SHA-256, by which clients prove that
             they know the password without sending it; PLAIN and LOGIN work
             with them as well

Exit code 0: printed; 1: no password that a client could send (empty, longer
than 1,024 octets, not UTF-8, control characters); 75: not enough memory or no
random numbers.
";

/// What is printed.
#[derive(Clone, Copy)]
enum Kind {
    Argon2id,
    Sha512,
    Scram,
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let (mut what, mut kind) = (None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("sha512") if kind.is_none() => kind = Some(Kind::Sha512),
            Arg::Long("scram") if kind.is_none() => kind = Some(Kind::Scram),
            Arg::Value(value) if what.is_none() => what = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if what.as_deref() != Some("hash") {
        return Err(Fault::Usage("say what: auth hash".to_string()));
    }
    let line = line(kind.unwrap_or(Kind::Argon2id), &read()?)?;
    print(&format!("{line}\n"));
    Ok(DONE)
}

fn line(kind: Kind, password: &Password) -> Result<String, Fault> {
    let mut salt = [0; 16];
    random::bytes(&mut salt).map_err(|error| Fault::Later(format!("random numbers: {error}")))?;
    let password = password.reveal();
    let line = match kind {
        Kind::Argon2id => new_argon2id(password, &salt),
        Kind::Sha512 => salt.first_chunk().and_then(|salt| new_sha512(password, salt)),
        Kind::Scram => Keys::derive(password, &salt, ITERATIONS).map(|keys| keys.line()),
    };
    line.ok_or_else(|| Fault::Later("not enough memory".to_string()))
}

/// The first line of standard input.
fn read() -> Result<Password, Fault> {
    let quiet = Quiet::new();
    // With room for an octet too many, so that too long a password is seen to be too long. The end
    // of the line may be CR LF.
    let mut octets = Zeroizing::new(vec![0; PASSWORD_MAX + 3]);
    let mut count = 0;
    let mut input = io::stdin().lock();
    while let Some(free) = octets.get_mut(count..).filter(|free| !free.is_empty()) {
        let more = input.read(free).map_err(|error| Fault::No(format!("reading: {error}")))?;
        count += more;
        if more == 0 || octets.get(..count).is_some_and(|read| read.contains(&b'\n')) {
            break;
        }
    }
    drop(quiet);
    let line = octets.get(..count).and_then(|read| read.split(|octet| *octet == b'\n').next());
    let line = line.unwrap_or_default();
    let text = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line));
    Password::usable(text.unwrap_or_default()).ok_or_else(|| {
        let what = "no password: 1 to 1,024 octets of UTF-8 without control characters are one";
        Fault::No(what.to_string())
    })
}

/// A terminal that does not show what is typed, until this is dropped. Its keys that stop a program
/// do nothing meanwhile, or it would stay so.
struct Quiet(Option<termios::Termios>);

impl Quiet {
    fn new() -> Quiet {
        if !io::stdin().is_terminal() {
            return Quiet(None);
        }
        let before = termios::tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
            // Where it does not work the password is seen by who types it.
            let _shown = termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet);
        }
        complain("Password: ");
        Quiet(before)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal has gone away.
            let _gone = termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, before);
            complain("\n");
        }
    }
}
