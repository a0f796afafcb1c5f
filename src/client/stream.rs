//! A connection to another program, over TCP or a Unix socket, with one deadline for all of it.

use crate::client::deadline::Deadline;
use crate::client::{Fault, unix};
use memchr::memchr;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Octets asked for at a time.
const PIECE: usize = 2_048;

const CLOSED: &str = "it closed the connection";

/// Where a program listens.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A Unix socket.
    Unix(&'a Path),
    /// A port of a machine.
    Tcp(SocketAddr),
}

/// A connection.
pub struct Stream {
    socket: Socket,
    deadline: Deadline,
    /// What came behind what was asked for.
    unread: Vec<u8>,
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Connects.
    ///
    /// # Errors
    /// The system's, `TimedOut` among them.
    pub fn connect(place: Place<'_>, deadline: Deadline) -> io::Result<Stream> {
        let socket = match place {
            Place::Unix(path) => Socket::Unix(unix::connect(path, deadline)?),
            Place::Tcp(address) => {
                let socket = TcpStream::connect_timeout(&address, deadline.left()?)?;
                // Each message is written as a whole and then waited for.
                socket.set_nodelay(true)?;
                Socket::Tcp(socket)
            }
        };
        Ok(Stream { socket, deadline, unread: Vec::new() })
    }

    /// Sends all of `octets`.
    ///
    /// # Errors
    /// The system's, `TimedOut` among them.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut rest = octets;
        while !rest.is_empty() {
            let left = Some(self.deadline.left()?);
            let written = match &mut self.socket {
                Socket::Unix(socket) => {
                    socket.set_write_timeout(left)?;
                    socket.write(rest)
                }
                Socket::Tcp(socket) => {
                    socket.set_write_timeout(left)?;
                    socket.write(rest)
                }
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the other side that nothing more will be sent.
    ///
    /// # Errors
    /// The system's.
    pub fn finish(&mut self) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
        }
    }

    /// The next line, without its LF or CR LF.
    ///
    /// # Errors
    /// The system's words; or there are `longest` octets without an end, or the end comes first.
    pub fn line(&mut self, longest: usize) -> Result<Vec<u8>, Fault> {
        let mut line = self.until(b'\n', longest)?;
        line.pop_if(|octet| *octet == b'\r');
        Ok(line)
    }

    /// What comes before the next `end`, which is taken too.
    ///
    /// # Errors
    /// The system's words; or there are `longest` octets without it, or the connection's end comes first.
    pub fn until(&mut self, end: u8, longest: usize) -> Result<Vec<u8>, Fault> {
        let mut searched = 0;
        loop {
            let new = self.unread.get(searched..).unwrap_or_default();
            if let Some(end) = memchr(end, new).map(|place| searched + place) {
                let rest = self.unread.split_off(end + 1);
                let mut text = std::mem::replace(&mut self.unread, rest);
                text.pop();
                return Ok(text);
            }
            searched = self.unread.len();
            if searched >= longest {
                return Err("a line of its answer is too long".into());
            }
            if !self.receive()? {
                return Err(CLOSED.into());
            }
        }
    }

    /// The next `count` octets.
    ///
    /// # Errors
    /// The system's words, or the end comes first.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        while self.unread.len() < count {
            if !self.receive()? {
                return Err(CLOSED.into());
            }
        }
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Everything up to the end, which may be nothing.
    ///
    /// # Errors
    /// The system's words, or there are more than `longest` octets.
    pub fn to_end(&mut self, longest: usize) -> Result<Vec<u8>, Fault> {
        while self.receive()? {
            if self.unread.len() > longest {
                return Err("its answer is too long".into());
            }
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// Adds what comes to what is unread; false at the end.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; PIECE];
        loop {
            let left = Some(self.deadline.left()?);
            let read = match &mut self.socket {
                Socket::Unix(socket) => {
                    socket.set_read_timeout(left)?;
                    socket.read(&mut buffer)
                }
                Socket::Tcp(socket) => {
                    socket.set_read_timeout(left)?;
                    socket.read(&mut buffer)
                }
            };
            match read {
                Ok(count) => {
                    self.unread.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::smtp::script::{Play, Server};
    use std::time::Duration;

    fn connect(server: &Server, time: Duration) -> Stream {
        Stream::connect(Place::Tcp(server.address()), Deadline::after(time)).unwrap()
    }

    #[test]
    fn lines_and_pieces_are_told_apart() {
        let server = Server::start(&[Play::Say("a\r\n\nbcdef"), Play::Say("g\r"), Play::Close]);
        let mut stream = connect(&server, Duration::from_secs(20));
        assert_eq!(stream.line(10).unwrap(), b"a");
        assert_eq!(stream.line(10).unwrap(), b"");
        assert_eq!(stream.exactly(3).unwrap(), b"bcd");
        stream.send(b"more\n").unwrap();
        assert_eq!(stream.exactly(4).unwrap(), b"efg\r");
        stream.send(b"end\n").unwrap();
        assert_eq!(stream.line(10), Err(CLOSED.into()));
        assert_eq!(stream.to_end(10).unwrap(), b"");
        assert_eq!(server.heard(), ["more", "end"]);
    }

    #[test]
    fn answers_are_bounded_in_size_and_time() {
        let server = Server::start(&[Play::Flood("x", 1_000_000)]);
        let mut stream = connect(&server, Duration::from_secs(20));
        assert_eq!(stream.line(1_000), Err("a line of its answer is too long".into()));
        drop(stream);
        server.heard();
        let server = Server::start(&[Play::Flood("x\n", 1_000_000)]);
        let mut stream = connect(&server, Duration::from_secs(20));
        assert_eq!(stream.to_end(1_000), Err("its answer is too long".into()));
        drop(stream);
        server.heard();
        let server = Server::start(&[Play::Drip("nothing at all", 50)]);
        let mut stream = connect(&server, Duration::from_millis(100));
        assert_eq!(stream.line(1_000), Err("Connection timed out".to_string().into()));
        drop(stream);
        server.heard();
    }

    #[test]
    fn nobody_there_is_an_error() {
        let soon = Deadline::after(Duration::from_secs(20));
        let nowhere = Stream::connect(Place::Unix(Path::new("/nowhere/at/all")), soon);
        assert!(nowhere.is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
        let dead = Server::start(&[Play::Close]).into_dead_address();
        let refused = Stream::connect(Place::Tcp(dead), soon);
        assert!(refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused));
    }
}
