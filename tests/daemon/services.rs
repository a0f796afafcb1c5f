//! What `etc/` says of how to run the daemon, run by the programs that it is written for.

mod init;
mod sockets;
mod supervised;
mod units;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A file of `etc/`.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name)
}

/// The path of a program, in the folders of root too.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(root);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Copies a program. Another process writes it: see [`crate::daemon::house::House::program`].
fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-D", "-m", "755"]).arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

/// A daemon whose log is in a file; killed with the value.
struct Served(Child);

impl Served {
    fn stop(mut self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}
