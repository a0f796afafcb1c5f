//! slowdns: a name server on loopback that takes its time. No name exists for it but the test entry of
//! block lists (`2.0.0.127.…` is 127.0.0.2), and every answer comes after the delay.
//!
//!   slowdns [--delay-ms N] PORT

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let (mut delay, mut port) = (Duration::from_secs(2), 0_u16);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--delay-ms" => {
                let number = words.next().and_then(|it| it.parse().ok()).expect("a number");
                delay = Duration::from_millis(number);
            }
            "-h" | "--help" => {
                println!("usage: slowdns [--delay-ms N] PORT");
                return Ok(());
            }
            other => port = other.parse().expect("a port"),
        }
    }
    let socket = UdpSocket::bind(("127.0.0.1", port))?;
    make_room(&socket);
    serve(&socket, delay)
}

/// Tens of thousands of questions come at once. Only root may have so large a buffer; who is not loses
/// some, which the resolver asks again.
fn make_room(socket: &UdpSocket) {
    let octets: libc::c_int = 64 * 1024 * 1024;
    for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
        // SAFETY: the descriptor is open, and the pointer leads to an integer of the length given.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const octets).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if done == 0 {
            return;
        }
    }
}

fn serve(socket: &UdpSocket, delay: Duration) -> io::Result<()> {
    let mut due: VecDeque<(Instant, SocketAddr, Vec<u8>)> = VecDeque::new();
    let mut buffer = [0; 1_500];
    loop {
        let wait = due.front().map(|(at, ..)| at.saturating_duration_since(Instant::now()));
        if wait != Some(Duration::ZERO) {
            socket.set_read_timeout(wait)?;
            match socket.recv_from(&mut buffer) {
                Ok((count, from)) => {
                    if let Some(reply) = reply(&buffer[..count]) {
                        due.push_back((Instant::now() + delay, from, reply));
                    }
                    continue;
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // Somebody has closed the socket that an answer went to.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        if let Some((_, to, reply)) = due.pop_front() {
            let _ = socket.send_to(&reply, to);
        }
    }
}

/// Number and question as they came, and the answer.
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let mut at = 12;
    while *query.get(at)? != 0 {
        at += 1 + usize::from(query[at]);
    }
    let mut reply = query.get(..at + 5)?.to_vec();
    let is_test = query.get(12..).is_some_and(|name| name.starts_with(b"\x012\x010\x010\x03127"));
    reply[2..12].copy_from_slice(&[0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0]);
    if is_test {
        (reply[3], reply[7]) = (0x80, 1);
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2]);
    }
    Some(reply)
}
