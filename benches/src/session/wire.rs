//! The bytes of a session: writing what is waiting, reading what there is, cutting out replies.
//!
//! The socket never blocks; TLS, where it is on, stands between the buffers and the socket.

use super::{Session, Stage};
use std::io::{Error, ErrorKind, Read, Write};
use std::time::Instant;

impl Session {
    /// Plain text or ciphertext is waiting to be written.
    pub(super) fn pending(&self) -> bool {
        self.out_pos < self.out.len()
            || self.body.is_some()
            || self.tls.as_ref().is_some_and(|t| t.wants_write())
    }

    /// Writes what is waiting until it is gone or the socket takes no more.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.blocked = false;
        loop {
            if let Some(t) = &mut self.tls {
                while t.wants_write() {
                    match t.write_tls(&mut self.sock) {
                        Ok(_) => {}
                        Err(e) if would_block(&e) => {
                            self.blocked = true;
                            return Ok(());
                        }
                        Err(e) => return Err(e),
                    }
                }
                if t.is_handshaking() {
                    return Ok(());
                }
            }
            let chunk: &[u8] = if self.out_pos < self.out.len() {
                &self.out[self.out_pos..]
            } else if let Some((b, pos)) = &self.body {
                &b[*pos..]
            } else {
                return Ok(());
            };
            let wrote = match &mut self.tls {
                Some(t) => t.writer().write(&chunk[..chunk.len().min(1 << 16)]),
                None => self.sock.write(chunk),
            };
            let n = match wrote {
                Ok(n) => n,
                Err(e) if would_block(&e) => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if self.out_pos < self.out.len() {
                self.out_pos += n;
                if self.out_pos == self.out.len() {
                    self.out.clear();
                    self.out_pos = 0;
                }
            } else if let Some((b, pos)) = &mut self.body {
                *pos += n;
                if *pos == b.len() {
                    self.body = None;
                    self.t_dot = Instant::now();
                }
            }
        }
    }

    /// Reads what there is. Returns (nothing more to read now, end of file).
    pub(super) fn fill(&mut self, hup: bool) -> Result<(bool, bool), Error> {
        let mut buf = [0u8; 8192];
        if let Some(t) = &mut self.tls {
            loop {
                match t.read_tls(&mut self.sock) {
                    Ok(0) => return Ok((true, true)),
                    Ok(_) => {
                        t.process_new_packets().map_err(|e| Error::other(e.to_string()))?;
                        loop {
                            match t.reader().read(&mut buf) {
                                Ok(0) => return Ok((true, true)),
                                Ok(n) => self.input.extend_from_slice(&buf[..n]),
                                Err(e) if would_block(&e) => break,
                                Err(e) => return Err(e),
                            }
                        }
                        if t.wants_write() {
                            return Ok((false, false));
                        }
                    }
                    Err(e) if would_block(&e) => return Ok((true, false)),
                    Err(e) => return Err(e),
                }
            }
        }
        loop {
            match self.sock.read(&mut buf) {
                Ok(0) => return Ok((true, true)),
                Ok(n) => {
                    self.input.extend_from_slice(&buf[..n]);
                    // A short read means drained, unless the end of file is still to be read.
                    if !hup && n < buf.len() {
                        return Ok((true, false));
                    }
                    if self.stage == Stage::StartTls {
                        return Ok((false, false));
                    }
                }
                Err(e) if would_block(&e) => return Ok((true, false)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes one complete (possibly multi-line) reply: its code and its last line.
    pub(super) fn take_reply(&mut self) -> Option<(u16, usize)> {
        let mut at = 0;
        loop {
            let nl = at + self.input[at..].iter().position(|&b| b == b'\n')?;
            let line = &self.input[at..nl];
            let last = line.len() < 4 || line[3] != b'-';
            if last {
                let code = std::str::from_utf8(line.get(..3).unwrap_or(b"000"))
                    .ok()
                    .and_then(|s| s.parse().ok())
                    .unwrap_or(0);
                self.input.drain(..=nl);
                return Some((code, nl));
            }
            at = nl + 1;
        }
    }
}

fn would_block(e: &Error) -> bool {
    e.kind() == ErrorKind::WouldBlock
}
