//! `mailreeve dkim keygen`: a key and the files around it.
//!
//! A key is written to a file without any other name until it is whole, and then linked to its place,
//! which fails where there is one: nothing is ever overwritten, and a kill leaves no half of a key.

use super::Words;
use crate::authn::crypto::{PrivateKey, PublicKey};
use crate::authn::dkim::text::{domain_name, selector_name};
use crate::authn::keygen::{RSA_BITS, RSA_STEP, ed25519, rsa};
use crate::commands::print_dns::key_record;
use crate::commands::{DONE, Fault, NO, complain, databases, folder, print};
use crate::config::files::Files;
use crate::plugin::dkim_keys::{DEFAULT, SECOND, SELECTOR};
use crate::plugin::log::foreign;
use crate::server::privileges::{self, Identity};
use crate::sys::random;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

/// What is wrong where there is not exactly one of these.
const ONE_PLACE: &str = "say where: one of DIR, --default, --domain D and --all";

/// Where a key goes.
struct Place {
    folder: PathBuf,
    /// Who is to own the private key; None where it is whoever runs this.
    owner: Option<(u32, u32)>,
    /// A key that is there already is no fault.
    is_idempotent: bool,
    /// The end of the record's full name; None where one domain is meant, and everybody knows which.
    domain: Option<String>,
}

/// What key is to be made.
struct Wanted {
    is_ed25519: bool,
    bits: usize,
    selector: String,
}

impl Wanted {
    fn of(words: &Words) -> Result<Wanted, Fault> {
        let bits = words.bits.unwrap_or(*RSA_BITS.start());
        if words.ed25519 && words.bits.is_some() {
            return Err(Fault::Usage("an Ed25519 key has no --bits".to_string()));
        }
        if !RSA_BITS.contains(&bits) || !bits.is_multiple_of(RSA_STEP) {
            return Err(Fault::Usage(format!("--bits {bits}: use 2048, 3072 or 4096")));
        }
        let usual = if words.ed25519 { SECOND } else { SELECTOR };
        let selector = words.selector.as_deref().unwrap_or(usual);
        let selector = selector_name(selector)
            .ok_or_else(|| Fault::Usage(format!("--selector {selector}: that is no selector")))?;
        Ok(Wanted { is_ed25519: words.ed25519, bits, selector })
    }
}

pub(super) fn run(words: &Words, folder: Option<&str>) -> Result<u8, Fault> {
    let wanted = Wanted::of(words)?;
    if !words.all {
        return make(&wanted, &place(words, folder)?);
    }
    if folder.is_some() || words.default || words.domain.is_some() {
        return Err(Fault::Usage(ONE_PLACE.to_string()));
    }
    let domains = databases::hosted_domains()?;
    let config = folder::find(words.config.clone())?;
    let owner = owner(&folder::open(config.clone()))?;
    let mut worst = DONE;
    for name in &domains {
        // One that cannot be made keeps none of the others from being made.
        let made = match domain_name(name).filter(|domain| domain != DEFAULT) {
            None => Err(Fault::No("that is no domain".to_string())),
            Some(domain) => {
                let folder = folder_of(&config, &domain, words);
                let domain = Some(domain);
                make(&wanted, &Place { folder, owner, is_idempotent: true, domain })
            }
        };
        match made {
            Ok(_) => {}
            Err(Fault::Usage(what) | Fault::No(what) | Fault::Later(what)) => {
                complain(&format!("mailreeve dkim: {}: {what}\n", foreign(name.as_bytes())));
                worst = NO;
            }
        }
    }
    Ok(worst)
}

/// Makes one key.
fn make(wanted: &Wanted, place: &Place) -> Result<u8, Fault> {
    let private = place.folder.join("private");
    // Followed to its end: a link that leads to a key is one.
    if private.symlink_metadata().is_ok() {
        let what = format!("{} is there already and stays as it is", private.display());
        if place.is_idempotent {
            complain(&format!("mailreeve dkim: {what}\n"));
            return Ok(DONE);
        }
        return Err(Fault::No(what));
    }
    let pem = match wanted.is_ed25519 {
        true => ed25519(&mut random::bytes),
        false => rsa(wanted.bits, &mut random::bytes),
    };
    let pem = pem.map_err(|error| Fault::Later(format!("no random numbers: {error}")))?;
    let broken = || Fault::No("the key that was made cannot be used".to_string());
    let public = PrivateKey::from_pem(&pem).map_err(|_| broken())?.public().ok_or_else(broken)?;
    let selector = &wanted.selector;
    write_all(place, &pem, selector, &public)?;
    print(&format!("; made {}; the record to publish:\n", private.display()));
    let end = place.domain.as_deref().map(|domain| format!(".{domain}.")).unwrap_or_default();
    print(&format!("{selector}._domainkey{end} IN TXT {}\n", key_record(&public, " ")));
    Ok(DONE)
}

fn place(words: &Words, folder: Option<&str>) -> Result<Place, Fault> {
    let name = match (folder, words.default, words.domain.as_deref()) {
        (Some(folder), false, None) => {
            let folder = PathBuf::from(folder);
            return Ok(Place { folder, owner: None, is_idempotent: false, domain: None });
        }
        (None, true, None) => DEFAULT.to_string(),
        (None, false, Some(domain)) => domain_name(domain.trim_end_matches('.'))
            .filter(|name| name != DEFAULT)
            .ok_or_else(|| Fault::Usage(format!("--domain {domain}: that is no domain")))?,
        _ => return Err(Fault::Usage(ONE_PLACE.to_string())),
    };
    let config = folder::find(words.config.clone())?;
    let owner = owner(&folder::open(config.clone()))?;
    let folder = folder_of(&config, &name, words);
    Ok(Place { folder, owner, is_idempotent: words.default, domain: None })
}

fn folder_of(config: &Path, name: &str, words: &Words) -> PathBuf {
    let folder = config.join("dkim").join(name);
    if words.ed25519 { folder.join(SECOND) } else { folder }
}

/// The daemon's user, who has to read the key after the daemon has become that user.
fn owner(files: &Files) -> Result<Option<(u32, u32)>, Fault> {
    if !privileges::is_root() {
        return Ok(None);
    }
    match files.scalar("user", &mut Vec::new()) {
        None => Ok(None),
        Some(line) => Identity::find(&line.text)
            .map(|identity| Some(identity.ids()))
            .map_err(|why| Fault::No(format!("user: {why}"))),
    }
}

fn write_all(place: &Place, pem: &str, selector: &str, public: &PublicKey) -> Result<(), Fault> {
    let folder = &place.folder;
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|error| Fault::No(format!("{}: {error}", folder.display())))?;
    let write = |name: &str, text: &str, mode, owner| {
        let path = folder.join(name);
        write_new(&path, text.as_bytes(), mode, owner)
            .map_err(|error| Fault::No(format!("{}: {error}", path.display())))
    };
    // What is left of an earlier key would not fit this one.
    for name in ["selector", "public"] {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            let what = format!("{} is there already; remove it first", path.display());
            return Err(Fault::No(what));
        }
    }
    write("private", pem, 0o400, place.owner)?;
    write("selector", &format!("{selector}\n"), 0o644, None)?;
    write("public", &public.to_pem(), 0o644, None)
}

/// Makes a file that is not there, whole or not at all.
pub(in crate::commands) fn write_new(
    path: &Path,
    text: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}", random::u64()?));
    let draft = PathBuf::from(name);
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(text)?;
        if let Some((user, group)) = owner {
            chown(&draft, Some(user), Some(group))?;
        }
        file.sync_all()?;
        fs::hard_link(&draft, path)
    })();
    let removed = fs::remove_file(&draft);
    written.and(removed)
}
