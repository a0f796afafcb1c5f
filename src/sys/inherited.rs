//! Listening sockets that whoever started us has opened: the protocol of sd_listen_fds(3).
//!
//! `LISTEN_PID` names the process that the sockets are for, `LISTEN_FDS` says how many there are,
//! from descriptor 3 on. systemd speaks it, and so do other supervisors; with it the ports stay open
//! while the daemon is started again, and clients wait instead of being refused.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::AcceptConn;
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::{env, fs, process};

/// The first descriptor that is handed on.
const FIRST: RawFd = 3;

/// Sockets that may be handed on: more than anybody has ports to listen on.
const SOCKETS_MAX: RawFd = 256;

/// The variables of the protocol. A program that we start must not take them for its own.
const NAMES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// Takes the sockets that are meant for this process, and removes the variables that say so: a second
/// call finds none. Without the variables, or where they are for another process, there are none.
/// Accepting on them does not block, and they close when another program begins. To be called before
/// any thread starts.
///
/// # Errors
/// A sentence that says what is wrong with the variables or with a socket, or that threads run.
pub fn take() -> Result<Vec<TcpListener>, String> {
    let [pid, count, ..] = NAMES.map(env::var_os);
    if NAMES.iter().all(|name| env::var_os(name).is_none()) {
        return Ok(Vec::new());
    }
    forget()?;
    let count = meant_for(process::id(), pid, count)?;
    (FIRST..FIRST + count).map(adopt).collect()
}

/// How many sockets there are for the process of this number.
fn meant_for(us: u32, pid: Option<OsString>, count: Option<OsString>) -> Result<RawFd, String> {
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(0) };
    let (pid, count) = (pid.to_string_lossy(), count.to_string_lossy());
    let bad = |name, value| format!("{name}={value}: not a number that can be");
    if pid.parse::<u32>().map_err(|_| bad("LISTEN_PID", &pid))? != us {
        return Ok(0);
    }
    let number = count.parse().map_err(|_| bad("LISTEN_FDS", &count))?;
    if !(0..=SOCKETS_MAX).contains(&number) {
        return Err(format!("LISTEN_FDS={number}: at most {SOCKETS_MAX} sockets are taken over"));
    }
    Ok(number)
}

/// Removes the variables.
fn forget() -> Result<(), String> {
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count);
    let threads = threads.map_err(|error| format!("LISTEN_FDS: /proc/self/task: {error}"))?;
    if threads != 1 {
        return Err("LISTEN_FDS: the sockets can only be taken over before threads start".into());
    }
    for name in NAMES {
        // SAFETY: the environment may not be changed while another thread reads it. There is no other
        // thread, as was just counted, and only this one could start one.
        #[expect(unsafe_code, reason = "the environment belongs to all threads; see SAFETY")]
        unsafe {
            env::remove_var(name);
        }
    }
    Ok(())
}

/// Makes one descriptor ours.
fn adopt(number: RawFd) -> Result<TcpListener, String> {
    let complaint = |what: &str| format!("LISTEN_FDS: descriptor {number} {what}");
    // SAFETY: the call takes numbers only and changes nothing; of one that is not open it says so.
    #[expect(unsafe_code, reason = "a number that may not be open has no type; see SAFETY")]
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(complaint("is not open"));
    }
    if flags & libc::FD_CLOEXEC != 0 {
        // What was handed on has come through exec, so this is one that we have opened.
        return Err(complaint("was not handed on"));
    }
    // SAFETY: it is open, and nobody else owns it: whatever this process opens by std or nix closes on
    // exec, and this does not; it is handed to us by the protocol, whose variables are gone by now, so
    // that it is adopted once.
    #[expect(unsafe_code, reason = "descriptors are inherited as numbers; see SAFETY")]
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let closes = fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    closes.map_err(|error| complaint(&error.to_string()))?;
    checked(TcpListener::from(socket)).map_err(|what| complaint(&what))
}

/// A socket that can do what our own can.
fn checked(listener: TcpListener) -> Result<TcpListener, String> {
    const WRONG: &str = "is not a listening TCP socket";
    if getsockopt(&listener, AcceptConn) != Ok(true) {
        return Err(WRONG.into());
    }
    // std gives no address for another family than IP.
    listener.local_addr().map_err(|_| WRONG.to_string())?;
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_variables_are_read_with_care() {
        type Row = (Option<&'static str>, Option<&'static str>, Result<RawFd, &'static str>);
        let rows: [Row; 11] = [
            (None, None, Ok(0)),
            (Some("7"), None, Ok(0)),
            (None, Some("1"), Ok(0)),
            (Some("7"), Some("2"), Ok(2)),
            (Some("7"), Some("0"), Ok(0)),
            (Some("8"), Some("2"), Ok(0)),
            // For another process, whatever it says.
            (Some("8"), Some("x"), Ok(0)),
            (Some(""), Some("1"), Err("LISTEN_PID=:")),
            (Some("7"), Some("-1"), Err("LISTEN_FDS=-1")),
            (Some("7"), Some("257"), Err("at most 256")),
            (Some("7"), Some("99999999999"), Err("LISTEN_FDS=99999999999")),
        ];
        for (pid, count, expected) in rows {
            let found = meant_for(7, pid.map(OsString::from), count.map(OsString::from));
            match expected {
                Ok(number) => assert_eq!(found, Ok(number), "{pid:?} {count:?}"),
                Err(words) => assert!(found.is_err_and(|it| it.contains(words)), "{words}"),
            }
        }
    }

    #[test]
    fn a_socket_that_was_handed_on_is_adopted() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let ours = adopt(socket.into_raw_fd()).unwrap();
        assert_eq!(ours.local_addr().unwrap(), address);
        assert_eq!(ours.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(fcntl(&ours, FcntlArg::F_GETFD), Ok(FdFlag::FD_CLOEXEC.bits()));
    }

    #[test]
    fn what_was_not_handed_on_is_left_alone() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&socket);
        assert!(adopt(number).is_err_and(|it| it.contains("was not handed on")));
        assert!(socket.local_addr().is_ok());
        assert!(adopt(1_000_000).is_err_and(|it| it.contains("descriptor 1000000 is not open")));
    }

    #[test]
    fn only_what_serves_as_our_own_is_taken() {
        let folder = env::temp_dir().join(format!("mailreeve-inherited-{}", process::id()));
        let local = UnixListener::bind(&folder).unwrap();
        fs::remove_file(&folder).unwrap();
        let local = TcpListener::from(OwnedFd::from(local));
        assert_eq!(checked(local).unwrap_err(), "is not a listening TCP socket");
        let file = TcpListener::from(OwnedFd::from(fs::File::open("/dev/null").unwrap()));
        assert_eq!(checked(file).unwrap_err(), "is not a listening TCP socket");
        for address in ["127.0.0.1:0", "[::]:0"] {
            // A machine may have no IPv6.
            if let Ok(listener) = TcpListener::bind(address) {
                assert!(checked(listener).is_ok(), "{address}");
            }
        }
    }
}
