//! Has the daemons that run read their configuration again: through their supervisor, systemd, or the
//! process number that they wrote down.

use super::Places;
use crate::commands::print;
use crate::esmith::defaults;
use crate::esmith::expand::Sources;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// Services, and whether they are to run.
fn services(sources: &Sources) -> [(&'static str, bool); 3] {
    let configuration = &sources.configuration;
    let is_on = |property: &defaults::Property| property.is_enabled(configuration, &mut Vec::new());
    [
        ("qpsmtpd", is_on(&defaults::STATUS)),
        ("sqpsmtpd", is_on(&defaults::STATUS_465)),
        ("uqpsmtpd", is_on(&defaults::STATUS_587)),
    ]
}

/// Tells them, and says whom.
pub(super) fn reload(places: &Places, sources: &Sources) {
    let mut told = Vec::new();
    for (name, is_on) in services(sources) {
        let control = places.at("service").join(name).join("supervise/control");
        // Hang up, and up again where somebody stopped it; down where it is switched off.
        let orders: &[u8] = if is_on { b"hu" } else { b"d" };
        if order(&control, orders) {
            told.push(format!("{name} (supervise)"));
        }
    }
    if told.is_empty() && !places.has_root && Path::new("/run/systemd/system").is_dir() {
        for name in ["mailreeve", "qpsmtpd", "sqpsmtpd", "uqpsmtpd"] {
            let call = |verb: &str| {
                let mut command = Command::new("systemctl");
                command.args([verb, "--quiet", name]).stdin(Stdio::null());
                command.stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            };
            if call("is-active") && call("reload-or-restart") {
                told.push(format!("{name} (systemd)"));
            }
        }
    }
    if told.is_empty() {
        for path in ["run/mailreeve.pid", "run/mailreeve/mailreeve.pid", "var/run/qpsmtpd.pid"] {
            if hang_up(&places.at(path)) {
                told.push(path.to_string());
                break;
            }
        }
    }
    print(&match told.as_slice() {
        [] => "no daemon is running\n".to_string(),
        told => format!("told to read it: {}\n", told.join(", ")),
    });
}

/// Writes to a supervisor's pipe, if somebody reads it.
fn order(control: &Path, orders: &[u8]) -> bool {
    if !fs::metadata(control).is_ok_and(|it| it.file_type().is_fifo()) {
        return false;
    }
    let pipe = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(control);
    pipe.and_then(|mut pipe| pipe.write_all(orders)).is_ok()
}

/// Signals the process of a file, if it is one of ours: numbers are used again.
fn hang_up(path: &Path) -> bool {
    let number = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let Some(number) = number.filter(|number| *number > 1) else { return false };
    let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
    let is_ours = name.starts_with("mailreeve") || name.starts_with("qpsmtpd");
    is_ours && kill(Pid::from_raw(number), Signal::SIGHUP).is_ok()
}
