//! Appends whole messages to a file that is named by the date.
//!
//! Messages in the file stand one behind the other with LF line ends and nothing between them. Writers
//! of this process take turns, so that no message lies within another; what could not be written to its
//! end is taken back.

use crate::client::text::UnixText;
use crate::sys::stamp::{Moment, expand};
use crate::sys::time::local;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Only we read the mail of others.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Whose turn it is. One for all files: there is rarely more than one.
static TURN: Mutex<()> = Mutex::new(());

/// Appends the parts of a message to the file whose path is `pattern`, a pattern of strftime, at that
/// second since 1970 in local time. The file and its folder are made where they are missing. Gives the
/// path.
///
/// # Errors
/// The system's; `InvalidInput` for what is no plain file. Then the file is as it was before, unless it
/// could not even be cut.
pub fn append(pattern: &Path, unix: i64, parts: &[&[u8]]) -> io::Result<PathBuf> {
    let now = Moment { unix, local: local(unix) };
    let path = PathBuf::from(expand(&pattern.to_string_lossy(), &now, "%i"));
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = match open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(&path);
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
            open(&path)?
        }
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    let length = parts.iter().map(|part| part.len()).sum();
    let mut text = UnixText::new(length);
    match text.put_all(b"", parts, &mut |piece| file.write_all(piece)) {
        Ok(()) => Ok(path),
        Err(error) => file.set_len(found.len()).and(Err(error)),
    }
}

/// Opens without waiting, which a pipe that nobody reads would make us do.
fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NONBLOCK;
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A folder of one test's own, gone with the value.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let name = format!("mailreeve-append-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _gone_or_kept_for_a_look = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn messages_stand_one_behind_the_other() {
        let folder = Scratch::new("order");
        let pattern = folder.0.join("a/b/log.%s");
        let path = folder.0.join("a/b/log.86400");
        for text in ["1", "2"] {
            let parts: [&[u8]; 3] = [b"Subject: x\r\n", b"\r\n", text.as_bytes()];
            assert_eq!(append(&pattern, 86_400, &parts).unwrap(), path);
        }
        assert_eq!(fs::read(&path).unwrap(), b"Subject: x\n\n1Subject: x\n\n2");
        for (path, mode) in [(path.as_path(), FILE_MODE), (path.parent().unwrap(), FOLDER_MODE)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn messages_do_not_mix() {
        let folder = Scratch::new("turns");
        let path = folder.0.join("log");
        std::thread::scope(|scope| {
            for letter in [b'a', b'b', b'c'] {
                let (path, text) = (&path, vec![letter; 300_000]);
                scope.spawn(move || append(path, 0, &[&text]).unwrap());
            }
        });
        let text = fs::read(&path).unwrap();
        let runs = text.chunk_by(|one, next| one == next).map(<[u8]>::len);
        assert_eq!(runs.collect::<Vec<_>>(), vec![300_000; 3]);
    }

    #[test]
    fn what_is_no_plain_file_is_an_error() {
        let folder = Scratch::new("kinds");
        let pipe = folder.0.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [Path::new("/dev/full"), &folder.0, &pipe, &pipe.join("below")] {
            assert!(append(path, 0, &[b"text"]).is_err(), "{}", path.display());
        }
    }
}
