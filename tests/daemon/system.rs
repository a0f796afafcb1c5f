//! What the tests ask the system: waiting, `/proc`, skipping, running themselves elsewhere.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Set in a test that was started again inside a network of its own.
const INSIDE: &str = "MAILREEVE_INSIDE_NETNS";

/// Looks again and again where nothing tells of a change, up to a deadline.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(from.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The long form of the tests is wanted.
pub(crate) fn is_full() -> bool {
    std::env::var_os("MAILREEVE_FULL").is_some()
}

/// Says that a test cannot run here, and why.
pub(crate) fn skip(name: &str, why: &str) {
    report(&format!("skipped: {name}: {why}"));
}

/// Says that a test runs with less than it could have.
pub(crate) fn note(what: &str) {
    report(&format!("note: {what}"));
}

fn report(line: &str) {
    println!("{line}");
    if let Some(path) = std::env::var_os("MAILREEVE_SKIPPED") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        // In one piece: tests in other threads write here too.
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

pub(crate) fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// A program that runs and says yes.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether the calling test is to go on: it does so in a network of its own, where every address is
/// local. The first call, outside, runs the test again inside and says no.
pub(crate) fn is_inside_netns(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/netns.sh");
    if !is_root() || !succeeds("bash", &[script.to_str().unwrap(), "true"]) {
        skip(test, "needs root and network namespaces");
        return false;
    }
    let name = format!("daemon::{test}");
    let output = Command::new("bash")
        .arg(script)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "inside the network:\n{text}\n{errors}");
    assert!(text.contains("1 passed"), "{name} is not the name of one test:\n{text}");
    false
}

/// A number of a line `NAME: 123 kB` of a file below `/proc/PID`, in octets.
pub(crate) fn memory(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1_024
}

/// Processor time a process has used, in ticks (as a rule hundredths of a second).
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Whether a process is there and not just waited for.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// What the descriptors of a process lead to.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let target = |entry: std::io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
    entries.filter_map(target).map(|path| path.to_string_lossy().into_owned()).collect()
}

/// Lets this process open as many files as it ever may; gives how many those are.
pub(crate) fn raise_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard
}

/// Small numbers that nobody can foresee; the seed is told when a test fails.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed | 1)
    }

    /// Below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}
