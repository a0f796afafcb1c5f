//! A next server for tests, which answers each line as it is told to and writes down what it heard.
//!
//! It is as careless as a server can be: it takes a dot between any line ends for the end of a message.
//! Whoever sends it two messages where one was meant has been smuggled through.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What it does about a line. Texts are whole replies with their line ends.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Says this.
    Say(String),
    /// Says this and closes the connection.
    Leave(String),
    /// Says nothing, ever, and reads nothing.
    Hang,
    /// Says this octet by octet, with so many milliseconds between.
    Drip(String, u64),
    /// Says this so many times.
    Flood(String, usize),
}

/// One connection as the server saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Command lines, without line ends.
    pub(crate) lines: Vec<String>,
    /// Texts as they came, the end included.
    pub(crate) texts: Vec<Vec<u8>>,
}

/// A server on a port of loopback, for any number of clients.
pub(crate) struct Hop {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hop {
    /// One that takes everything and offers these extensions, but does otherwise where `answer` says so.
    /// That is given the number of the connection and the line; `` is the arrival of a client, `.` the
    /// end of a text.
    pub(crate) fn start(
        extensions: &'static [&'static str],
        answer: impl Fn(usize, &str) -> Option<Act> + Send + Sync + 'static,
    ) -> Hop {
        let answers = move |number: usize, line: &str| {
            answer(number, line).unwrap_or_else(|| Act::Say(usual(line, extensions)))
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let (book, answers) = (Arc::clone(&heard), Arc::new(answers));
        let ended = Arc::<AtomicBool>::default();
        let over = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut clients = Vec::new();
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (book, answers) = (Arc::clone(&book), Arc::clone(&answers));
                book.lock().expect("no panic").push(Heard::default());
                clients.push(std::thread::spawn(move || {
                    serve(stream, &|line| answers(number, line), &book, number);
                }));
            }
            drop(listener);
            clients.into_iter().for_each(|client| client.join().expect("no panic"));
        });
        Hop { address, heard, ended, thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has heard so far, by connection.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("no panic").clone()
    }

    /// Ends it once all clients are gone, and tells what it heard.
    pub(crate) fn finish(mut self) -> Vec<Heard> {
        self.close();
        self.heard()
    }

    fn close(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.ended.store(true, Ordering::Relaxed);
        // Wakes it.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(5)));
        thread.join().expect("no panic");
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        // In a test that has failed there may be clients that never leave.
        if !std::thread::panicking() {
            self.close();
        }
    }
}

fn usual(line: &str, extensions: &[&str]) -> String {
    let verb = line.split([' ', ':']).next().unwrap_or_default();
    match verb {
        "" => "220 hop.example ready\r\n".to_string(),
        "EHLO" | "LHLO" => {
            let mut lines = vec!["hop.example"];
            lines.extend(extensions);
            let last = lines.pop().unwrap_or_default();
            let lines = lines.iter().map(|line| format!("250-{line}\r\n"));
            lines.collect::<String>() + &format!("250 {last}\r\n")
        }
        "DATA" => "354 go on\r\n".to_string(),
        "." => "250 2.0.0 Ok: queued as 4XYZ\r\n".to_string(),
        "QUIT" => "221 bye\r\n".to_string(),
        _ => "250 ok\r\n".to_string(),
    }
}

/// Nobody ever sends here: it is a pause without a clock.
fn pause(milliseconds: u64) {
    let (_keep, never): (_, Receiver<()>) = mpsc::channel();
    let _timeout = never.recv_timeout(Duration::from_millis(milliseconds));
}

fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(&str) -> Act,
    book: &Mutex<Vec<Heard>>,
    number: usize,
) {
    let mut input =
        Input { stream: stream.try_clone().expect("a socket"), octets: VecDeque::new() };
    let mut in_text = perform(&mut stream, &mut input, answer("")) == Some(354);
    loop {
        let heard = if in_text { input.text() } else { input.line() };
        let Some(octets) = heard else { return };
        let mut book = book.lock().expect("no panic");
        let entry = book.get_mut(number).expect("it was pushed");
        let line = if in_text {
            entry.texts.push(octets);
            ".".to_string()
        } else {
            let line = String::from_utf8_lossy(&octets).into_owned();
            entry.lines.push(line.clone());
            line
        };
        drop(book);
        match perform(&mut stream, &mut input, answer(&line)) {
            Some(code) => in_text = code == 354,
            None => return,
        }
    }
}

/// Gives the code that was said; none if the conversation is over.
fn perform(stream: &mut TcpStream, input: &mut Input, act: Act) -> Option<u16> {
    let code = |text: &str| text.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
    match act {
        Act::Say(text) => {
            stream.write_all(text.as_bytes()).ok()?;
            (code(&text) != 221).then(|| code(&text))
        }
        Act::Leave(text) => {
            let _gone = stream.write_all(text.as_bytes());
            // What was sent and not read would turn the close into a reset, and that away the words.
            let _shut = stream.shutdown(std::net::Shutdown::Write);
            while input.more() {}
            None
        }
        Act::Hang => {
            // Until the client is gone, which its end shows.
            let mut octet = [0];
            while stream.peek(&mut octet).is_ok_and(|count| count > 0) {
                pause(10);
            }
            None
        }
        Act::Drip(text, milliseconds) => {
            for octet in text.bytes() {
                pause(milliseconds);
                stream.write_all(&[octet]).ok()?;
            }
            Some(code(&text))
        }
        Act::Flood(text, times) => {
            let block = text.repeat(1_000.min(times));
            for _ in 0..times / 1_000 {
                stream.write_all(block.as_bytes()).ok()?;
            }
            Some(code(&text))
        }
    }
}

struct Input {
    stream: TcpStream,
    octets: VecDeque<u8>,
}

impl Input {
    fn more(&mut self) -> bool {
        let mut buffer = [0; 64 * 1_024];
        match self.stream.read(&mut buffer) {
            Ok(count) if count > 0 => {
                self.octets.extend(buffer.iter().take(count));
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Option<u8> {
        while self.octets.is_empty() {
            if !self.more() {
                return None;
            }
        }
        self.octets.pop_front()
    }

    /// A line, however it ends.
    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.next()? {
                b'\n' => break,
                octet => line.push(octet),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// A text up to a line that is a dot, whatever its line ends are.
    fn text(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut line = Vec::new();
        loop {
            let octet = self.next()?;
            text.push(octet);
            if octet == b'\n' || octet == b'\r' {
                if line == b"." {
                    let behind = (octet == b'\r').then(|| self.next()).flatten();
                    match behind {
                        Some(b'\n') => text.push(b'\n'),
                        other => other.into_iter().for_each(|it| self.octets.push_front(it)),
                    }
                    return Some(text);
                }
                line.clear();
            } else {
                line.push(octet);
            }
        }
    }
}
