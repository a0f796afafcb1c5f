//! Puts files, links and keys where they belong, and notes what changed.

use crate::authn::crypto::PrivateKey;
use crate::authn::keygen::{RSA_BITS, rsa};
use crate::esmith::expand::BANNER;
use crate::server::privileges::{self, Identity};
use crate::sys::random;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

/// The user that the daemon runs as on SME Server.
const USER: &str = "qpsmtpd";

/// Modes of new files: for everybody, for the daemon's group, and for it with a password inside.
const OPEN: u32 = 0o644;
const SECRET: u32 = 0o640;
const LOGIN: u32 = 0o440;

/// What was changed, or would be.
pub(super) struct Change {
    pub(super) what: String,
    pub(super) diff: String,
}

/// What was done so far.
pub(super) struct Target {
    is_dry: bool,
    pub(super) changes: Vec<Change>,
    pub(super) warnings: Vec<String>,
    pub(super) faults: Vec<String>,
}

impl Target {
    pub(super) fn new(is_dry: bool) -> Target {
        Target { is_dry, changes: Vec::new(), warnings: Vec::new(), faults: Vec::new() }
    }

    pub(super) fn say(&mut self, what: String) {
        self.changes.push(Change { what, diff: String::new() });
    }

    /// Does it unless nothing is to be done, and notes what comes of it.
    fn carry_out(
        &mut self,
        what: String,
        diff: String,
        path: &Path,
        work: impl FnOnce() -> io::Result<()>,
    ) {
        let done = if self.is_dry { Ok(()) } else { work() };
        if let Err(error) = done {
            self.faults.push(format!("{}: {error}", path.display()));
            return;
        }
        self.changes.push(Change { what, diff });
    }

    /// A file with this text. One that says nothing takes the place only of one of ours: what an admin
    /// wrote by hand stays, and so does qmail's file of that name, which counts where there is none.
    pub(super) fn file(&mut self, folder: &Path, name: &str, text: &str) {
        self.change(folder, name, text, OPEN);
    }

    /// The same for one with passwords: no diff, and whatever mode it had, the daemon alone may read it.
    pub(super) fn login(&mut self, folder: &Path, name: &str, text: &str) {
        self.change(folder, name, text, LOGIN);
    }

    /// The same, unless somebody else wrote one, whatever is in it.
    pub(super) fn first(&mut self, folder: &Path, name: &str, text: &str) {
        let there = fs::read(folder.join(name)).ok();
        if there.is_none_or(|octets| octets.starts_with(BANNER.as_bytes())) {
            self.file(folder, name, text);
        }
    }

    fn change(&mut self, folder: &Path, name: &str, text: &str, mode: u32) {
        let path = folder.join(name);
        let before = match fs::read(&path) {
            Ok(octets) => Some(String::from_utf8_lossy(&octets).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.faults.push(format!("{}: {error}", path.display()));
                return;
            }
        };
        let says_nothing = text.lines().all(|line| line.starts_with('#'));
        let is_ours = before.as_deref().is_some_and(|it| it.starts_with(BANNER));
        if before.as_deref() == Some(text) || (says_nothing && !is_ours) {
            return;
        }
        let diff = match mode {
            LOGIN => String::new(),
            _ => diff(name, before.as_deref().unwrap_or_default(), text),
        };
        self.carry_out(format!("changed: {name}"), diff, &path, || {
            put(&path, text.as_bytes(), mode)
        });
    }

    /// A file that the daemon alone may read, and no diff shows.
    pub(super) fn secret(&mut self, path: &Path, text: &str) {
        if fs::read(path).is_ok_and(|before| before == text.as_bytes()) {
            return;
        }
        let what = format!("made: {}", path.display());
        self.carry_out(what, String::new(), path, || put(path, text.as_bytes(), SECRET));
    }

    /// Links below `peers`; others that lead to a list go. Files stay.
    pub(super) fn links(&mut self, folder: &Path, wanted: &BTreeMap<String, &'static str>) {
        for name in super::names(folder) {
            let path = folder.join(&name);
            let leads = fs::read_link(&path).ok();
            let is_list = leads.is_some_and(|it| it == Path::new("local") || it == Path::new("0"));
            if is_list && name != "local" && name != "0" && !wanted.contains_key(&name) {
                let what = format!("removed: peers/{name}");
                self.carry_out(what, String::new(), &path, || fs::remove_file(&path));
            }
        }
        for (name, list) in wanted {
            self.link(&folder.join(name), Path::new(list), &format!("peers/{name}"));
        }
    }

    fn link(&mut self, path: &Path, leads: &Path, shown: &str) {
        match fs::symlink_metadata(path) {
            Ok(there) if !there.is_symlink() => return,
            Ok(_) if fs::read_link(path).is_ok_and(|it| it == leads) => return,
            _ => {}
        }
        let what = format!("linked: {shown} -> {}", leads.display());
        self.carry_out(what, String::new(), path, || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(leads, path)
        });
    }

    /// The default key where there is none, and a link in the config folder for each folder of keys.
    pub(super) fn keys(&mut self, store: &Path, links: &Path) {
        let folder = store.join("default");
        let private = folder.join("private");
        if private.symlink_metadata().is_err() {
            let what = format!("made: {}", private.display());
            self.carry_out(what, String::new(), &private, || make_key(&folder));
        }
        for name in super::names(links) {
            let path = links.join(&name);
            let leads = fs::read_link(&path).ok();
            if leads.is_some_and(|it| it.starts_with(store) && !it.exists()) {
                let what = format!("removed: dkim/{name}");
                self.carry_out(what, String::new(), &path, || fs::remove_file(&path));
            }
        }
        let mut folders = super::names(store);
        folders.retain(|name| store.join(name).is_dir());
        if self.is_dry && !folders.iter().any(|name| name == "default") {
            folders.push("default".to_string());
        }
        for name in folders {
            self.link(&links.join(&name), &store.join(&name), &format!("dkim/{name}"));
        }
    }
}

/// Puts a file, on the disk, in the place of the one that is there; its owner and mode are kept. A new one
/// has this mode, and belongs to the daemon's group if it is secret; so does any one with a password.
fn put(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}", random::u64()?));
    let draft = Path::new(&name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
        if let Some(there) = fs::metadata(path).ok().filter(|_| mode != LOGIN) {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (there.uid(), there.gid()) {
                chown(draft, Some(there.uid()), Some(there.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(there.mode() & 0o7777))?;
        } else if let Some((_, group)) = daemon().filter(|_| mode != OPEN) {
            chown(draft, None, Some(group))?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(draft, path)
    })();
    if written.is_err() {
        // The first error is the one to tell.
        let _stays = fs::remove_file(draft);
    }
    written?;
    File::open(folder)?.sync_all()
}

/// The daemon's user and group, where they exist and we may give files away.
fn daemon() -> Option<(u32, u32)> {
    Identity::find(USER).ok().filter(|_| privileges::is_root()).map(|it| it.ids())
}

/// The private key comes last, by a link that fails where there is one: nothing is ever overwritten.
fn make_key(folder: &Path) -> io::Result<()> {
    let broken = || io::Error::other("the key that was made cannot be used");
    let pem = rsa(*RSA_BITS.start(), &mut random::bytes)?;
    let public = PrivateKey::from_pem(&pem).map_err(|_| broken())?.public().ok_or_else(broken)?;
    fs::create_dir_all(folder)?;
    put(&folder.join("selector"), b"default\n", OPEN)?;
    put(&folder.join("public"), public.to_pem().as_bytes(), OPEN)?;
    let draft = folder.join(format!("private.{:016x}", random::u64()?));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&draft)?;
        file.write_all(pem.as_bytes())?;
        // Without that user the daemon runs as another, whom the admin gives the key to.
        if let Some((user, group)) = daemon() {
            chown(&draft, Some(user), Some(group))?;
        }
        file.sync_all()?;
        fs::hard_link(&draft, folder.join("private"))
    })();
    let removed = fs::remove_file(&draft);
    written.and(removed)
}

/// Lines that go and lines that come; what is alike at both ends is left out.
fn diff(name: &str, before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let ends = old.iter().rev().zip(new.iter().rev()).take_while(|(one, other)| one == other);
    let tail = ends.count().min(old.len().min(new.len()) - head);
    let middle = |lines: &[&str], sign: char| -> String {
        let rows = lines.iter().skip(head).take(lines.len() - head - tail);
        rows.map(|line| format!("{sign}{line}\n")).collect()
    };
    format!(
        "--- {name}\n+++ {name}\n@@ line {} @@\n{}{}",
        head + 1,
        middle(&old, '-'),
        middle(&new, '+')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_what_differs() {
        assert_eq!(diff("x", "a\nb\nc\n", "a\nd\nc\n"), "--- x\n+++ x\n@@ line 2 @@\n-b\n+d\n");
        assert_eq!(diff("x", "", "a\n"), "--- x\n+++ x\n@@ line 1 @@\n+a\n");
        assert_eq!(diff("x", "a\na\n", "a\n"), "--- x\n+++ x\n@@ line 2 @@\n-a\n");
    }
}
