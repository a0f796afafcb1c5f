//! Connections to servers on this machine, by Unix sockets.

use crate::client::deadline::Deadline;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects. A socket whose queue is full lets one wait; its send time-out limits that, and stays set.
///
/// # Errors
/// The system's; `WouldBlock` or `TimedOut` when the deadline has passed.
pub(in crate::client) fn connect(path: &Path, deadline: Deadline) -> io::Result<UnixStream> {
    let kind = SockType::Stream;
    let socket = socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let left = i64::try_from(deadline.left()?.as_millis()).unwrap_or(i64::MAX).max(1);
    socket::setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(left))?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    #[test]
    fn a_full_queue_ends_with_the_deadline() {
        let path = std::env::temp_dir().join(format!("unix-{}-full", std::process::id()));
        let _old = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        socket::listen(&listener, socket::Backlog::new(1).unwrap()).unwrap();
        let short = || Deadline::after(Duration::from_millis(100));
        let waiting: Vec<_> = (0..5).map(|_| connect(&path, short())).collect();
        assert!(waiting.iter().any(Result::is_err), "the queue never fills");
        std::fs::remove_file(path).unwrap();
    }
}
