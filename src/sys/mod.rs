//! What the operating system offers and std does not: the only place with `unsafe`.
//!
//! Every function here has a safe face, so that the rest of the program needs no care and a
//! reader who looks for memory errors has one small folder to read. Wherever nix or std already
//! wrap a call, theirs is used; each `unsafe` block that is left says why it holds.

pub mod children;
pub mod inherited;
pub mod listen;
pub mod load;
pub mod malloc;
pub mod map;
pub mod random;
pub mod rlimit;
pub mod stamp;
pub mod time;

use nix::errno::Errno;
use std::io;

/// Whether an error means that no more data can be kept: the disk or a quota is full, a file may
/// not grow, or the file system has gone read-only. Such a mail is answered 452 (RFC 5321 4.2.3).
#[must_use]
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOSPC | Errno::EDQUOT | Errno::EROFS | Errno::EFBIG)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_are_told_from_other_trouble() {
        let rows = [
            (Errno::ENOSPC, true),
            (Errno::EDQUOT, true),
            (Errno::EROFS, true),
            (Errno::EFBIG, true),
            (Errno::EIO, false),
            (Errno::EACCES, false),
            (Errno::EMFILE, false),
        ];
        for (errno, expected) in rows {
            assert_eq!(is_out_of_space(&io::Error::from(errno)), expected, "{errno}");
        }
        assert!(!is_out_of_space(&io::Error::other("no number")));
    }
}
