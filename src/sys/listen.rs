//! Listening sockets with the options that std does not let one choose.
//!
//! std binds and listens in one step: no way to set IPV6_V6ONLY (without it `[::]:25` and
//! `0.0.0.0:25` cannot both be bound) nor a queue longer than 128, which a burst of spam fills.

use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

/// Connections the kernel may hold ready for accept; it cuts this to its own `somaxconn`.
const BACKLOG: i32 = 4_096;

/// Opens a listening TCP socket: non-blocking, closed on exec, SO_REUSEADDR (so that a restart
/// need not wait for old connections to fade), and for IPv6 addresses IPv6 only.
///
/// # Errors
/// What the kernel says: the address is taken, is not ours, or needs a right that we lack.
pub fn tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let family = if addr.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    if addr.is_ipv6() {
        setsockopt(&fd, Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    // Where libc's SOMAXCONN is smaller (musl says 128) the kernel's own maximum is asked for.
    listen(&fd, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXALLOWABLE))?;
    Ok(TcpListener::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::TcpStream;

    #[test]
    fn both_families_share_a_port_and_accept_does_not_block() {
        let four = tcp("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = four.local_addr().unwrap().port();
        assert_eq!(four.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let taken = tcp(SocketAddr::from(([0, 0, 0, 0], port))).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        match tcp(SocketAddr::from(([0u16; 8], port))) {
            Ok(six) => assert_eq!(six.accept().unwrap_err().kind(), ErrorKind::WouldBlock),
            // A machine without IPv6.
            Err(error) => assert_ne!(error.kind(), ErrorKind::AddrInUse),
        }
        #[expect(clippy::disallowed_methods, reason = "loopback answers at once")]
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(four.accept().is_ok());
    }
}
