//! Limits that the kernel puts on this process, and how the daemon wants them.
//!
//! Every client is a file descriptor, and the soft limit most systems start a process with (1024)
//! is far below what they allow it to ask for.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Raises the soft limit of open files to the hard limit and returns (soft, hard) as they then
/// are. Where that is not allowed the old soft limit stays, and shows in the answer.
///
/// # Errors
/// When the limits cannot even be read.
pub fn raise_files() -> nix::Result<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raised = soft >= hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    Ok((wide(if raised { hard } else { soft }), wide(hard)))
}

/// The C type of a limit is only 32 bits wide on some targets.
fn wide(limit: impl Into<u64>) -> u64 {
    limit.into()
}

/// Makes a write past the file size limit (RLIMIT_FSIZE, `softlimit -f`) fail with EFBIG, which
/// the mail is answered 452 for, where the kernel would otherwise kill the whole daemon with
/// SIGXFSZ. Call it once, before threads are started.
///
/// # Errors
/// Never on Linux; what the kernel says elsewhere.
pub fn refuse_oversize_writes() -> nix::Result<()> {
    // SAFETY: ignoring a signal installs no handler, so no code runs in signal context.
    #[expect(unsafe_code, reason = "nix marks all of signal(2) unsafe; see SAFETY")]
    let old = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    old.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_becomes_hard_and_stays() {
        let (soft, hard) = raise_files().unwrap();
        assert!(soft > 0 && soft <= hard);
        assert_eq!(raise_files().unwrap(), (soft, hard));
        let told = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((wide(told.0), wide(told.1)), (soft, hard));
    }

    #[test]
    fn the_size_signal_can_be_ignored() {
        refuse_oversize_writes().unwrap();
        nix::sys::signal::raise(Signal::SIGXFSZ).unwrap();
    }
}
