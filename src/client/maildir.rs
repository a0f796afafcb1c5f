//! Delivery into Maildirs: durable, and for all recipients or none.
//!
//! A reply of 250 makes us responsible for the mail (RFC 5321 section 6.1), so before it every
//! copy is written and synced, then all are made visible, then the folders are synced. What fails
//! before the first copy is visible leaves nothing; what fails later takes the visible copies
//! away again. qpsmtpd 0.96 syncs nothing, and when the second recipient fails the first has
//! already got the mail and gets it again with the client's next try.
//!
//! Copies have no name until they are complete (O_TMPFILE, then linkat), so that a killed daemon
//! leaves nothing. Kernels and file systems that cannot do so get a named file in `tmp/`, as the
//! Maildir convention has it. Nothing is ever renamed over: a link fails where a name is taken.

mod content;
mod disk;
mod name;
mod template;

pub use template::{Recipient, Template};

use crate::client::text::UnixText;
use disk::{Disk, System};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

#[cfg(any(test, fuzzing))]
pub use fuzzing::fuzz;

/// Copies whose open files are held until all are linked. For more the files get names in `tmp/`,
/// so that one mail to a thousand recipients does not use up the process's descriptors.
const HELD_MAX: usize = 64;

/// One mail and whom it is for.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The sender with its angle brackets; `<>` for a bounce.
    pub return_path: &'a str,
    /// All recipients of the message; at least one.
    pub recipients: &'a [Recipient<'a>],
    /// The message in order (our header fields, the rest), with CRLF line ends; a CR LF may be
    /// cut in two by the end of a part.
    pub parts: &'a [&'a [u8]],
    /// Whether to sync files and folders. Only measurements say no.
    pub sync: bool,
    /// The name of this machine, for the names of the files.
    pub host: &'a str,
}

/// What kind of trouble kept a mail from being delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// Disk or quota full, or the file system read-only: 452 4.3.1.
    Space,
    /// The daemon's user may not write there: 451 4.3.0, and something for the admin to mend.
    Permission,
    /// Anything else: 451 4.3.0.
    Temporary,
}

/// Why nothing was delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// Which reply it calls for.
    pub kind: FailureKind,
    /// Step, path and the system's words, for the log.
    pub what: String,
    /// The text of the reply, as qpsmtpd 0.96 words it.
    pub reply: &'static str,
}

/// Delivers one mail to all its recipients, or to none. When it returns `Ok` all copies are on
/// the disk and visible exactly once. The content is `Return-Path:`, the `Delivered-To:` lines of
/// the copy's recipients, and the parts with LF line ends, as Unix keeps text.
///
/// Without a sub-folder pattern there is one copy for all; with one there is a copy for each
/// distinct folder. Missing Maildirs are made.
///
/// # Errors
/// See [`Failure`]; then no copy is left, unless the file system refuses even to remove one,
/// which `what` then says.
pub fn deliver(template: &Template, job: &Job<'_>) -> Result<(), Failure> {
    deliver_on(&System, template, job)
}

/// [`deliver`] on a disk that tests can let fail.
fn deliver_on<D: Disk>(disk: &D, template: &Template, job: &Job<'_>) -> Result<(), Failure> {
    let copies = plan(template, job);
    if copies.is_empty() {
        let what = "no recipients".to_owned();
        return Err(Failure { kind: FailureKind::Temporary, what, reply: Step::Open.reply() });
    }
    for copy in &copies {
        make_maildir(disk, &copy.maildir, template.folder_mode(), job.sync)?;
    }
    let mut delivery = Delivery { disk, sync: job.sync, staged: Vec::new() };
    let result = delivery.stage(&copies, template, job).and_then(|()| delivery.publish());
    match result {
        Ok(()) => {
            delivery.forget_names();
            Ok(())
        }
        Err(mut failure) => {
            delivery.withdraw(&mut failure);
            Err(failure)
        }
    }
}

/// The steps a delivery can fail in.
#[derive(Clone, Copy, Debug)]
enum Step {
    MakeFolder,
    Open,
    Write,
    Sync,
    Link,
}

impl Step {
    fn reply(self) -> &'static str {
        match self {
            Self::MakeFolder => "queue error (mkdir)",
            Self::Open => "queue error (open)",
            Self::Write => "queue error (write)",
            Self::Sync => "queue error (sync)",
            Self::Link => "queue error (link)",
        }
    }

    /// Makes a failure of an error; to be used with `map_err`.
    fn failed(self, path: &Path) -> impl Fn(Errno) -> Failure + '_ {
        move |errno| Failure {
            kind: match errno {
                Errno::EACCES | Errno::EPERM => FailureKind::Permission,
                _ if crate::sys::is_out_of_space(&errno.into()) => FailureKind::Space,
                _ => FailureKind::Temporary,
            },
            what: format!("{}: {}: {errno}", self.reply(), path.display()),
            reply: self.reply(),
        }
    }
}

/// One file to be: where, and the lines before the message.
struct Copy {
    maildir: PathBuf,
    header: Vec<u8>,
}

/// Which copies the recipients need, in the order in which each was first named.
fn plan(template: &Template, job: &Job<'_>) -> Vec<Copy> {
    let mut copies: Vec<Copy> = Vec::new();
    let mut places: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for recipient in job.recipients {
        let maildir = template.target(recipient);
        let place = *places.entry(maildir).or_insert_with_key(|maildir| {
            let header = content::field("Return-Path", job.return_path);
            copies.push(Copy { maildir: maildir.clone(), header });
            copies.len() - 1
        });
        if let Some(copy) = copies.get_mut(place) {
            copy.header.extend(content::field("Delivered-To", recipient.display));
        }
    }
    copies
}

/// A mail on its way: the copies that exist, visible or not.
struct Delivery<'d, D: Disk> {
    disk: &'d D,
    sync: bool,
    staged: Vec<Staged<D::File>>,
}

/// A copy that is written and synced.
struct Staged<F> {
    body: Body<F>,
    /// Its path to be, `MAILDIR/new/NAME`.
    visible: PathBuf,
    /// Whether that name may be ours by now.
    linked: bool,
}

/// How a copy is held until it is visible.
enum Body<F> {
    Unnamed(F),
    /// The path in `tmp/`.
    Named(PathBuf),
}

impl<D: Disk> Delivery<'_, D> {
    /// Writes and syncs every copy; none is visible afterwards.
    fn stage(
        &mut self,
        copies: &[Copy],
        template: &Template,
        job: &Job<'_>,
    ) -> Result<(), Failure> {
        let total = job.parts.iter().map(|part| part.len()).sum::<usize>();
        let mut text = UnixText::new(total.saturating_add(1_024));
        for copy in copies {
            let name = name::unique(job.host);
            let tmp = copy.maildir.join("tmp").join(&name);
            let file = self.create(&tmp, template.file_mode(), copies.len() <= HELD_MAX)?;
            let visible = copy.maildir.join("new").join(&name);
            let (file, body) = match file {
                Created::Unnamed(file) => (None, Body::Unnamed(file)),
                Created::Named(file) => (Some(file), Body::Named(tmp.clone())),
            };
            self.staged.push(Staged { body, visible, linked: false });
            let Some(staged) = self.staged.last() else { continue };
            let Some(file) = file.as_ref().or(staged.unnamed()) else { continue };
            let mut sink = |data: &[u8]| write_all(self.disk, file, data);
            text.put_all(&copy.header, job.parts, &mut sink).map_err(Step::Write.failed(&tmp))?;
            if self.sync {
                self.disk.sync(file).map_err(Step::Sync.failed(&tmp))?;
            }
        }
        Ok(())
    }

    /// Makes the file of one copy, without a name where that can be done.
    fn create(&self, tmp: &Path, mode: u32, hold: bool) -> Result<Created<D::File>, Failure> {
        let disk = self.disk;
        let folder = tmp.parent().unwrap_or(Path::new("."));
        if hold && !disk.only_named().load(Ordering::Relaxed) {
            match disk.create_unnamed(folder, mode) {
                Err(Errno::EISDIR | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => {
                    disk.only_named().store(true, Ordering::Relaxed);
                }
                result => {
                    return result.map(Created::Unnamed).map_err(Step::Open.failed(folder));
                }
            }
        }
        disk.create_named(tmp, mode).map(Created::Named).map_err(Step::Open.failed(tmp))
    }

    /// Makes all copies visible and syncs that.
    fn publish(&mut self) -> Result<(), Failure> {
        for staged in &mut self.staged {
            let result = match &staged.body {
                Body::Unnamed(file) => self.disk.link_unnamed(file, &staged.visible),
                Body::Named(tmp) => self.disk.link_named(tmp, &staged.visible),
            };
            // Some file systems (NFS) report an error for a link that was made.
            staged.linked = result != Err(Errno::EEXIST);
            result.map_err(Step::Link.failed(&staged.visible))?;
        }
        if !self.sync {
            return Ok(());
        }
        for staged in &self.staged {
            if let Some(file) = staged.unnamed().filter(|file| self.disk.forgets_unnamed(file)) {
                self.disk.sync(file).map_err(Step::Sync.failed(&staged.visible))?;
            }
            let new = staged.visible.parent().unwrap_or(Path::new("."));
            self.disk.sync_folder(new).map_err(Step::Sync.failed(new))?;
        }
        Ok(())
    }

    /// Removes the names in `tmp/` of a mail that is delivered. One that stays is a second name
    /// of the same file, which mail readers remove from `tmp/` after some days.
    fn forget_names(&self) {
        for staged in &self.staged {
            if let Body::Named(tmp) = &staged.body {
                let _stays = self.disk.remove(tmp);
            }
        }
    }

    /// Takes every copy away again, newest first; what cannot be removed is told.
    fn withdraw(&self, failure: &mut Failure) {
        for staged in self.staged.iter().rev() {
            let tmp = match &staged.body {
                Body::Named(tmp) => Some(tmp),
                Body::Unnamed(_) => None,
            };
            for path in staged.linked.then_some(&staged.visible).into_iter().chain(tmp) {
                match self.disk.remove(path) {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    Err(errno) => {
                        let stays = format!("; {} stays: {errno}", path.display());
                        failure.what.push_str(&stays);
                    }
                }
            }
        }
    }
}

impl<F> Staged<F> {
    fn unnamed(&self) -> Option<&F> {
        match &self.body {
            Body::Unnamed(file) => Some(file),
            Body::Named(_) => None,
        }
    }
}

/// A file just made.
enum Created<F> {
    Unnamed(F),
    Named(F),
}

/// Writes all of `data`, whatever the kernel takes at a time.
fn write_all<D: Disk>(disk: &D, file: &D::File, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match disk.write(file, data) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => data = data.split_at_checked(count).map_or(&[], |halves| halves.1),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes a Maildir and the folders above it where they are missing. `new/` is made last: where it
/// is, the others were made before it.
fn make_maildir<D: Disk>(disk: &D, maildir: &Path, mode: u32, sync: bool) -> Result<(), Failure> {
    let there = |path: &Path| disk.is_folder(path).map_err(Step::MakeFolder.failed(path));
    if there(&maildir.join("new"))? && there(&maildir.join("tmp"))? {
        return Ok(());
    }
    let mut missing: Vec<PathBuf> = Vec::new();
    for folder in maildir.ancestors().take_while(|path| !path.as_os_str().is_empty()) {
        if there(folder)? {
            break;
        }
        missing.push(folder.to_path_buf());
    }
    missing.reverse();
    missing.extend(["cur", "tmp", "new"].map(|name| maildir.join(name)));
    let mut made: Vec<&Path> = Vec::new();
    let result = make_all(disk, &missing, mode, sync, &mut made);
    if result.is_err() {
        // A folder that stayed would be taken for one that is safe on the disk by the next mail.
        for folder in made.iter().rev() {
            let _in_use = disk.remove_folder(folder);
        }
    }
    result
}

/// Makes the folders in order and syncs the folder above each, so that a power cut takes none of
/// them away with the mail in it. `made` gets those that were not there.
fn make_all<'p, D: Disk>(
    disk: &D,
    missing: &'p [PathBuf],
    mode: u32,
    sync: bool,
    made: &mut Vec<&'p Path>,
) -> Result<(), Failure> {
    let mut above: Vec<&Path> = Vec::new();
    for folder in missing {
        match disk.make_folder(folder, mode) {
            Ok(()) => made.push(folder),
            // Another delivery made it just now, or only its neighbours were missing: it may not
            // be synced yet.
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Step::MakeFolder.failed(folder)(errno)),
        }
        let parent = folder.parent().filter(|path| !path.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if above.last() != Some(&parent) {
            above.push(parent);
        }
    }
    for folder in above.iter().filter(|_| sync) {
        disk.sync_folder(folder).map_err(Step::Sync.failed(folder))?;
    }
    Ok(())
}

#[cfg(any(test, fuzzing))]
mod fuzzing {
    /// Feeds arbitrary octets to everything here that meets foreign text: see the asserts.
    pub fn fuzz(data: &[u8]) {
        super::template::fuzz(data);
        super::name::fuzz(data);
    }
}

#[cfg(test)]
mod tests;
