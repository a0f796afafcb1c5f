//! An SMTP server for tests that says what it is told to, line for line, to one client.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server does: the first when a client connects, each further one after a line of his.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Play {
    /// Sends this.
    Say(&'static str),
    /// Sends this many times, as long as the client listens.
    Flood(&'static str, usize),
    /// Sends this octet by octet, with so many milliseconds between.
    Drip(&'static str, u64),
    /// Closes the connection.
    Close,
}

/// A server that waits for one client, on a port of loopback.
pub(crate) struct Server {
    address: SocketAddr,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    /// Starts it. It hangs up behind the last step, once the client has said what he has to say.
    pub(crate) fn start(plays: &[Play]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let plays = plays.to_vec();
        let thread = std::thread::spawn(move || serve(&listener, &plays));
        Server { address, thread }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The lines that the client sent; waits until it is over.
    pub(crate) fn heard(self) -> Vec<String> {
        self.thread.join().expect("the server has not panicked")
    }

    /// Ends the server and gives the address at which nobody listens any more.
    pub(crate) fn into_dead_address(self) -> SocketAddr {
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(5)));
        let address = self.address;
        self.heard();
        address
    }
}

fn serve(listener: &TcpListener, plays: &[Play]) -> Vec<String> {
    let mut heard = Vec::new();
    let Ok((mut stream, _)) = listener.accept() else { return heard };
    let Ok(reading) = stream.try_clone() else { return heard };
    let mut lines = BufReader::new(reading).lines().map_while(Result::ok);
    for (place, play) in plays.iter().enumerate() {
        if place > 0 {
            match lines.next() {
                Some(line) => heard.push(line),
                None => return heard,
            }
        }
        if !perform(&mut stream, *play) {
            return heard;
        }
    }
    heard.extend(lines);
    heard
}

/// True if the conversation goes on.
fn perform(stream: &mut TcpStream, play: Play) -> bool {
    match play {
        Play::Say(text) => stream.write_all(text.as_bytes()).is_ok(),
        Play::Flood(text, times) => {
            let block = text.repeat(1_000.min(times));
            let whole = (0..times / 1_000).all(|_| stream.write_all(block.as_bytes()).is_ok());
            whole && stream.flush().is_ok()
        }
        Play::Drip(text, pause) => {
            // Nobody ever sends here: it is a pause without a clock.
            let (_keep, never): (_, Receiver<()>) = mpsc::channel();
            text.bytes().all(|octet| {
                let _timeout = never.recv_timeout(Duration::from_millis(pause));
                stream.write_all(&[octet]).is_ok()
            })
        }
        Play::Close => false,
    }
}
