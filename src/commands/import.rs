//! `mailreeve import`: takes over what qpsmtpd 0.84 or 0.96 was set up with.
//!
//! What becomes of which file is decided in `crate::import`. Here files are read and replaced, each as a
//! whole and with the owner and mode that it had, in the order in which a run that is cut off does no
//! harm and the next one finishes.

use crate::commands::dkim::keygen::write_new;
use crate::commands::{DONE, Fault, databases, db, folder, print, wants_help};
use crate::esmith::file;
use crate::import::{self, Entry, Folder, Step, database};
use crate::limits::CONFIG_FILE_MAX;
use crate::server::privileges::{self, Identity};
use crate::sys::random;
use lexopt::Arg;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub(super) const HELP: &str = "\
Usage: mailreeve import DIR [--drop-dead-lists] [--dry-run]
       mailreeve import --sme [--db-dir DIR] [--drop-dead-lists] [--dry-run]

Changes a config folder of qpsmtpd 0.84 or 0.96 where it lies, and prints a line
for each change: file:line: old → new.

  plugins, peers/*      present names and arguments: check_relay becomes relay, the
                        number of check_basicheaders both limits of headers,
                        virus/clamav virus/clamdscan, dkim_sign dkim; what there
                        is no longer becomes a comment
  badrcptto_patterns    goes into badrcptto, badmailfrom_patterns into badmailfrom
  dkimkeys/D.private    becomes dkim/D/private with the selector of the line
                        dkim_sign, for the daemon alone to read
  dnsbl_zones, rhsbl_zones, uribl_zones    lists that are dead are named

--sme does the same for SME Server's database `configuration`: RBLList, SBLList
and UBLList are parted by commas. A second run changes nothing. There is no way
back: keep a copy (cp -a).

  --drop-dead-lists   drop lists that are dead
  --dry-run           only say what would be done
  --db-dir DIR        the folder of the databases; else ESMITH_DB, DBPATH,
                      /home/e-smith/db
";

/// Folders below the config folder that are looked into: `dkim/DOMAIN/ed25519/private`.
const DEPTH_MAX: usize = 3;

/// Files of a config folder that are looked at.
const FILES_MAX: usize = 20_000;

/// Files that qpsmtpd also looks for in qmail's control folder, and that get lines of others.
const MERGED: [&str; 2] = ["badmailfrom", "badrcptto"];

/// Who ran qpsmtpd, where nothing says it.
const USER: &str = "qpsmtpd";

#[derive(Default)]
struct Words {
    folder: Option<PathBuf>,
    sme: bool,
    databases: Option<PathBuf>,
    drop_dead: bool,
    dry_run: bool,
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut words = Words::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("sme") => words.sme = true,
            Arg::Long("db-dir") => words.databases = Some(PathBuf::from(parser.value()?)),
            Arg::Long("drop-dead-lists") => words.drop_dead = true,
            Arg::Long("dry-run") => words.dry_run = true,
            Arg::Value(value) if words.folder.is_none() => {
                words.folder = Some(PathBuf::from(value));
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if words.folder.is_none() && !words.sme {
        return Err(Fault::Usage("say what: a config folder, or --sme".to_string()));
    }
    let mut changes = 0;
    if let Some(folder) = &words.folder {
        changes += import_folder(folder, &words)?;
    }
    if words.sme {
        changes += import_database(&words)?;
    }
    print(&match (changes, words.dry_run) {
        (0, _) => "nothing to change\n".to_string(),
        (count, true) => format!("{count} changes to make; nothing was written\n"),
        (count, false) => format!("{count} changes made\n"),
    });
    Ok(DONE)
}

/// Prints the report; gives the number of changes in it.
fn tell(report: &[Entry]) -> usize {
    print(&report.iter().map(|entry| format!("{entry}\n")).collect::<String>());
    report.iter().filter(|entry| entry.is_change()).count()
}

fn import_database(words: &Words) -> Result<usize, Fault> {
    let path = databases::place(words.databases.clone(), OsStr::new(databases::CONFIGURATION));
    let failed = |error: io::Error| failed(&path, &error);
    let report = if words.dry_run {
        database::configuration(&mut file::read(&path).map_err(failed)?, words.drop_dead)
    } else {
        let change = |it: &mut _| database::configuration(it, words.drop_dead);
        file::change(&path, &db::now(), change).map_err(failed)?
    };
    Ok(tell(&report.map_err(|refusal| Fault::No(refusal.to_string()))?))
}

fn import_folder(folder: &Path, words: &Words) -> Result<usize, Fault> {
    if !folder.is_dir() {
        return Err(Fault::Usage(format!("there is no folder {}", folder.display())));
    }
    let mut tree = Tree::read(folder).map_err(|error| failed(folder, &error))?;
    tree.add_control().map_err(|error| Fault::No(error.to_string()))?;
    let outcome = import::folder(&tree.files, words.drop_dead);
    // Before it is done: where a step fails, what was done by then has been told.
    let changes = tell(&outcome.report);
    if !words.dry_run {
        for step in &outcome.steps {
            tree.carry_out(step)?;
        }
    }
    Ok(changes)
}

fn failed(path: &Path, error: &io::Error) -> Fault {
    Fault::No(format!("{}: {error}", path.display()))
}

/// A config folder as it was found.
struct Tree {
    root: PathBuf,
    files: Folder,
    /// Where files really are that links lead to.
    elsewhere: BTreeMap<String, PathBuf>,
}

impl Tree {
    fn read(root: &Path) -> io::Result<Tree> {
        let root = fs::canonicalize(root)?;
        let (files, elsewhere) = (Folder::new(), BTreeMap::new());
        let mut tree = Tree { root, files, elsewhere };
        tree.walk("", 0)?;
        Ok(tree)
    }

    /// Names without a leading dot. A link inside the folder is another name of what is read anyway.
    fn walk(&mut self, below: &str, depth: usize) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(below))? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        for name in names.into_iter().filter(|name| !name.starts_with('.')) {
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            let path = self.root.join(&name);
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() && depth < DEPTH_MAX {
                self.walk(&name, depth + 1)?;
            } else if kind.is_file() {
                self.take(name, &path)?;
            } else if kind.is_symlink()
                && let Ok(real) = fs::canonicalize(&path)
                && real.is_file()
                && !real.starts_with(&self.root)
            {
                self.take(name.clone(), &real)?;
                self.elsewhere.insert(name, real);
            }
        }
        Ok(())
    }

    fn take(&mut self, name: String, path: &Path) -> io::Result<()> {
        // What is larger is no config file: the daemon would not read it.
        if fs::metadata(path)?.len() > CONFIG_FILE_MAX {
            return Ok(());
        }
        if self.files.len() == FILES_MAX {
            let what = format!("more than {FILES_MAX} files: no config folder");
            return Err(io::Error::new(ErrorKind::InvalidInput, what));
        }
        let text = fs::read(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        self.files.insert(name, Zeroizing::new(text));
        Ok(())
    }

    /// A file that is read from qmail's control folder must get its new lines there: one beside it in
    /// the config folder would hide it.
    fn add_control(&mut self) -> io::Result<()> {
        for name in MERGED {
            if self.files.contains_key(name) {
                continue;
            }
            let path = folder::control().join(name);
            match fs::read(&path) {
                Ok(text) => {
                    self.files.insert(name.to_string(), Zeroizing::new(text));
                    self.elsewhere.insert(name.to_string(), path);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    let what = format!("{}: {error}", path.display());
                    return Err(io::Error::new(error.kind(), what));
                }
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.elsewhere.get(name).cloned().unwrap_or_else(|| self.root.join(name))
    }

    fn carry_out(&self, step: &Step) -> Result<(), Fault> {
        match step {
            Step::Write { name, text } => {
                let path = self.path(name);
                made_room(&path)
                    .and_then(|()| replace(&path, text))
                    .map_err(|error| failed(&path, &error))
            }
            Step::Key { from, to } => {
                let path = self.path(to);
                let owner = self.owner(&self.path(from))?;
                let key = self.files.get(from).map_or(&[][..], |key| key);
                made_room(&path)
                    .and_then(|()| write_new(&path, key, 0o400, owner))
                    .map_err(|error| failed(&path, &error))
            }
            Step::Remove { name } => {
                let path = self.path(name);
                fs::remove_file(&path).map_err(|error| failed(&path, &error))
            }
        }
    }

    /// Who has to read a key of mode 0400: the daemon's user, else who had it, else qpsmtpd's.
    fn owner(&self, key: &Path) -> Result<Option<(u32, u32)>, Fault> {
        if !privileges::is_root() {
            return Ok(None);
        }
        let user = folder::open(self.root.clone()).scalar("user", &mut Vec::new());
        if let Some(line) = user {
            let found = Identity::find(&line.text).map_err(|why| Fault::No(format!("user: {why}")));
            return Ok(Some(found?.ids()));
        }
        let had = fs::metadata(key).map_err(|error| failed(key, &error))?;
        Ok(match Identity::find(USER) {
            Ok(identity) if had.uid() == 0 => Some(identity.ids()),
            _ => Some((had.uid(), had.gid())),
        })
    }
}

/// Makes the folder that a file is to lie in.
pub(super) fn made_room(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => fs::create_dir_all(folder),
        None => Ok(()),
    }
}

/// Puts a file with this text in the place of the one that is there, with its owner and mode.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A leading dot keeps it out of folders whose every file is a list.
    let draft = path.with_file_name(format!(".{name}.{:016x}", random::u64()?));
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&draft)?;
        match fs::metadata(path) {
            Ok(there) => {
                if privileges::is_root() {
                    fchown(&file, Some(there.uid()), Some(there.gid()))?;
                }
                file.set_permissions(Permissions::from_mode(there.mode() & 0o7777))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    if written.is_err() {
        // The first error is the one to tell.
        let _stays = fs::remove_file(&draft);
    }
    written
}
