//! What octets go over: a socket. What encrypts is another [`Transport`] around this one, made in
//! [`tls`](super::tls).
//!
//! Each call waits for what is left of the conversation's deadline and no longer.

use crate::client::deadline::Deadline;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// Both directions of a connection.
pub trait Transport: Send {
    /// Waits for octets; 0 is the end.
    ///
    /// # Errors
    /// The system's; `TimedOut` when the deadline has passed.
    fn receive(&mut self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize>;

    /// Sends some of the octets, and tells how many.
    ///
    /// # Errors
    /// As for [`Transport::receive`].
    fn send(&mut self, octets: &[u8], deadline: Deadline) -> io::Result<usize>;

    /// Receives what has come, without waiting; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has come; else the system's.
    fn arrived(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A connected socket.
pub struct Socket(OwnedFd);

impl Socket {
    /// Takes a connection over.
    pub fn new(stream: impl Into<OwnedFd>) -> Socket {
        Socket(stream.into())
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// The system's; `TimedOut` when `limit` has passed.
    pub fn connect(server: &SocketAddr, limit: Duration) -> io::Result<Socket> {
        let stream = TcpStream::connect_timeout(server, limit.max(Duration::from_millis(1)))?;
        // What is worth one segment is sent in one piece, so waiting for more gains nothing.
        stream.set_nodelay(true)?;
        Ok(Socket::new(stream))
    }

    /// Tries until the socket is ready or the deadline has passed.
    fn retry(
        &self,
        flags: PollFlags,
        deadline: Deadline,
        mut attempt: impl FnMut(i32) -> nix::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match attempt(self.0.as_raw_fd()) {
                Err(Errno::EAGAIN) => {}
                Err(Errno::EINTR) => continue,
                other => return Ok(other?),
            }
            let left = deadline.left()?.max(Duration::from_millis(1));
            let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.0.as_fd(), flags)], patience) {
                Ok(0) => return Err(ErrorKind::TimedOut.into()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Transport for Socket {
    fn receive(&mut self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        deadline.left()?;
        self.retry(PollFlags::POLLIN, deadline, |fd| recv(fd, buffer, MsgFlags::MSG_DONTWAIT))
    }

    fn send(&mut self, octets: &[u8], deadline: Deadline) -> io::Result<usize> {
        deadline.left()?;
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        self.retry(PollFlags::POLLOUT, deadline, |fd| send(fd, octets, flags))
    }

    fn arrived(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }
}
