//! `mailreeve tls selfsigned NAME`: a first certificate.

use crate::commands::{DONE, Fault, print, wants_help};
use crate::server::clock;
use crate::server::tls::self_signed;
use lexopt::Arg;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(super) const HELP: &str = "\
Usage: mailreeve tls selfsigned NAME [NAME…] [--dir DIR]

Makes a certificate for a host name that it signs itself, good for ten years, and its
key (ECDSA P-256): tls.crt and tls.key, the key readable by you alone. Senders on port
25 take such a certificate, mail programs of people ask about it. A file that is there
already is not overwritten.

  --dir DIR        where to write the two files, else the current folder

Then write their paths into tls_cert and tls_key of the config folder. The daemon has to
be able to read the key after it has become another user, or a changed key is not taken
over before the next start: chown it to that user.
";

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut words = Vec::new();
    let mut dir = PathBuf::from(".");
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("dir") => dir = PathBuf::from(parser.value()?),
            Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    let names = match words.split_first() {
        Some((word, names)) if word == "selfsigned" && !names.is_empty() => names,
        Some((word, _)) if word == "selfsigned" => {
            return Err(Fault::Usage("name the host that the certificate is for".to_string()));
        }
        Some((word, _)) => return Err(Fault::Usage(format!("there is no `tls {word}`"))),
        None => return Err(Fault::Usage("say selfsigned, and a name".to_string())),
    };
    let (certificate, key) = self_signed(names, clock::unix()).map_err(Fault::No)?;
    let paths = [dir.join("tls.crt"), dir.join("tls.key")];
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(Fault::No(format!("{} is there already; remove it first", path.display())));
    }
    let [certificate_path, key_path] = &paths;
    write(key_path, &key, 0o600)?;
    write(certificate_path, &certificate, 0o644)?;
    print(&format!("{}\n{}\n", certificate_path.display(), key_path.display()));
    Ok(DONE)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Fault> {
    let file = File::options().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .map_err(|error| Fault::No(format!("{}: {error}", path.display())))
}
