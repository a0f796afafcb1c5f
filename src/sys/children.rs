//! What the programs that we start must not inherit from whoever started us.
//!
//! Our own descriptors all close when another program begins; one that a supervisor or a run script
//! left open would not, and would reach every program that handles a mail.

use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use std::fs;
use std::io;

/// Closes the descriptors beside the standard three at the start of each program (where there is no
/// /proc they cannot be found, and stay), and lets programs be waited for: a parent that ignores
/// SIGCHLD hands that on, and the exit code of a delivery would be lost. Call it once, at the start.
///
/// # Errors
/// Never on Linux; what the kernel says of the signal elsewhere.
pub fn prepare() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<libc::c_int>().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            // SAFETY: the call takes numbers only, and sets a flag that changes nothing within this
            // process; of a number that is not open any more (the folder's own) it says EBADF.
            #[expect(unsafe_code, reason = "the descriptors of others have no owner; see SAFETY")]
            let _closed = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    // SAFETY: the default installs no handler, so no code runs in signal context.
    #[expect(unsafe_code, reason = "nix marks all of signal(2) unsafe; see SAFETY")]
    let old = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    Ok(old.map(drop)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    #[test]
    fn what_was_inherited_is_not_handed_on() {
        let file = fs::File::open("/dev/null").unwrap();
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        prepare().unwrap();
        assert_eq!(fcntl(&file, FcntlArg::F_GETFD), Ok(FdFlag::FD_CLOEXEC.bits()));
    }
}
