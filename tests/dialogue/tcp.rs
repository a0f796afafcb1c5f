//! The TCP form: the real binary as a daemon of its own for each script, and a client.

use crate::dialogue::play::{Failure, Folder, Said, Wire};
use crate::dialogue::script::{End, Script};
use crate::dialogue::tls::{Stream, config};
use mailreeve::server::clock::unix;
use mailreeve::server::tls::self_signed;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{Pid, Uid};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a line of the server, or the daemon's start, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long log lines and messages may take to appear.
const LOOK: Duration = Duration::from_secs(5);

/// A daemon and what it says. Killed with the value.
struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(script: &Script, folder: &Path) -> Result<Daemon, String> {
        let config = folder.join("config");
        for (name, text) in script.config(&folder.to_string_lossy()) {
            write(&config.join(name), &text)?;
        }
        write(&config.join("listen"), &format!("127.0.0.1:0 {}\n", script.listener))?;
        if script.tls {
            certify(&config)?;
        }
        for setting in ["spool_dir", "state_dir"] {
            let own = folder.join(setting);
            fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
            write(&config.join(setting), &format!("{}\n", own.display()))?;
        }
        if Uid::effective().is_root() {
            write(&config.join("user"), "root\n")?;
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_mailreeve"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the binary does not start: {error}"))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stderr.take().map(|stderr| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if let Ok(mut log) = log.lock() {
                        log.push(line);
                    }
                }
            })
        });
        Ok(Daemon { child, log, reader })
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// Where it listens, once it says so.
    fn address(&mut self) -> Result<SocketAddr, String> {
        let from = Instant::now();
        loop {
            let said = self.lines().iter().find_map(|line| {
                let (_, address) = line.split_once("Listening on ")?;
                address.split_whitespace().next()?.parse().ok()
            });
            if let Some(address) = said {
                return Ok(address);
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || from.elapsed() > PATIENCE {
                let lines = self.lines().join("\n    ");
                return Err(format!("no `Listening on ADDRESS` ({ended:?}):\n    {lines}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, and says what it did wrong.
    fn stop(&mut self) -> Result<(), String> {
        let id = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        let _gone = kill(Pid::from_raw(id), Signal::SIGTERM);
        let from = Instant::now();
        let ended = loop {
            match self.child.try_wait() {
                Ok(None) if from.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                ended => break ended.ok().flatten(),
            }
        };
        if ended.is_some()
            && let Some(reader) = self.reader.take()
        {
            let _joined = reader.join();
        }
        let lines = self.lines();
        match ended {
            _ if lines.iter().any(|line| line.contains("panicked")) => {
                Err(format!("a panic:\n    {}", lines.join("\n    ")))
            }
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("the daemon ended with {status}")),
            None => Err("the daemon does not end at SIGTERM".into()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Makes a certificate that signs itself.
fn certify(config: &Path) -> Result<(), String> {
    let names = ["mx.example.net".to_string()];
    let (certificate, key) = self_signed(&names, unix())?;
    for (setting, pem) in [("tls_cert", certificate), ("tls_key", key)] {
        let file = config.join(format!("{setting}.pem"));
        write(&config.join(setting), &format!("{}\n", file.display()))?;
        write(&file, &pem)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// A client of a daemon.
pub(crate) struct Client {
    daemon: Daemon,
    /// None once the client has closed.
    stream: Option<Stream>,
    input: Vec<u8>,
    closed: bool,
    folder: Folder,
}

impl Client {
    /// Starts a daemon and connects.
    pub(crate) fn connect(script: &Script) -> Result<Client, Failure> {
        let fail = |what| Failure::of(&format!("tests/dialogues/{}.txt: {what}", script.name));
        let folder = Folder::of(script)?;
        let mut daemon = Daemon::start(script, folder.path()).map_err(fail)?;
        let address = daemon.address().map_err(fail)?;
        let stream = TcpStream::connect(address).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        let stream = stream.map_err(|error| fail(format!("{address}: {error}")))?;
        let stream = Some(Stream::Plain(stream));
        Ok(Client { daemon, stream, input: Vec::new(), closed: false, folder })
    }

    /// Reads more; false at the end and where nothing comes.
    fn read(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            self.closed = true;
            return false;
        };
        let mut buffer = [0; 16 * 1_024];
        match stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(count) => {
                self.input.extend(buffer.iter().take(count));
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // A server that closes over octets it did not read resets the connection.
            Err(_) => self.closed = true,
        }
        false
    }
}

impl Wire for Client {
    fn send(&mut self, octets: &[u8]) {
        if let Some(stream) = &mut self.stream {
            // Where the server has closed, the next line shows it.
            let _sent = stream.write_all(octets);
        }
    }

    fn end(&mut self, end: End) {
        let Some(stream) = &self.stream else { return };
        match end {
            End::Shutdown => {
                let _shut = stream.socket().shutdown(Shutdown::Write);
                return;
            }
            End::Reset => {
                let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                let _set = setsockopt(stream.socket(), sockopt::Linger, &at_once);
            }
            End::Close => {}
        }
        self.stream = None;
        self.input.clear();
    }

    fn tls(&mut self, _certificate: Option<&str>) -> Result<(), String> {
        let stream = self.stream.take().ok_or("the client has closed")?;
        let stream =
            config(rustls::ALL_VERSIONS).and_then(|config| stream.into_tls(Arc::new(config)));
        let stream = stream.map_err(|error| error.to_string())?;
        self.stream = Some(stream);
        Ok(())
    }

    fn line(&mut self) -> Said {
        loop {
            if let Some(end) = self.input.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                let text = line.strip_suffix(b"\r\n").unwrap_or(b"<a line without CR LF>");
                return Said::Line(String::from_utf8_lossy(text).into_owned());
            }
            if !self.read() {
                return if self.closed { Said::Closed } else { Said::Nothing };
            }
        }
    }

    fn is_pending(&self) -> bool {
        !self.input.is_empty()
    }

    fn wait(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn log(&mut self) -> Vec<String> {
        self.daemon.lines()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn patience(&self) -> Duration {
        LOOK
    }

    fn finish(&mut self) -> Result<(), String> {
        if !self.closed {
            self.end(End::Shutdown);
            while self.read() {}
        }
        self.stream = None;
        let more = String::from_utf8_lossy(&self.input).into_owned();
        let stopped = self.daemon.stop();
        if more.is_empty() { stopped } else { Err(format!("the server also said:\n{more}")) }
    }
}
