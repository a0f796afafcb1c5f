//! System calls that fail, one by one: a mail that was acknowledged is there once and whole, any other
//! is not there, and the daemon serves on.

mod clock;
mod kill;
mod scene;
mod shim;

use crate::daemon::house::Daemon;
use crate::daemon::system::{descriptors, is_full, skip, until};
use nix::errno::Errno;
use scene::{Outcome, Scene};
use shim::{Action, Fault, Shim};

/// What disks say.
const DISK: &[Errno] = &[Errno::ENOSPC, Errno::EIO, Errno::EDQUOT, Errno::EINTR, Errno::EMFILE];
const SOCKETS: &[Errno] = &[Errno::ECONNRESET, Errno::EINTR, Errno::EIO, Errno::ENOBUFS];

/// Calls and what each is made to say.
const CALLS: &[(&str, &[Errno])] = &[
    ("open", DISK),
    ("write", DISK),
    ("read", DISK),
    ("fsync", DISK),
    ("close", DISK),
    ("mmap", &[Errno::ENOMEM, Errno::ENOSPC, Errno::EIO, Errno::EMFILE]),
    ("mkdir", DISK),
    ("link", DISK),
    ("unlink", DISK),
    ("rename", DISK),
    ("ftruncate", DISK),
    ("stat", &[Errno::EIO, Errno::ENOMEM, Errno::EINTR]),
    ("send", SOCKETS),
    ("recv", SOCKETS),
    ("connect", &[Errno::ECONNREFUSED, Errno::EINTR, Errno::ETIMEDOUT, Errno::EMFILE]),
    ("socket", &[Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS]),
    ("pipe", &[Errno::EMFILE, Errno::ENFILE]),
    ("spawn", &[Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::EIO]),
    ("wait", &[Errno::EINTR, Errno::ECHILD]),
    ("poll", &[Errno::EINTR, Errno::ENOMEM]),
    ("epoll", &[Errno::ENOSPC, Errno::ENOMEM]),
    ("accept", &[Errno::EMFILE, Errno::ECONNABORTED, Errno::EINTR]),
];

/// A call that fails more often than this in one transaction is no call of ours.
const NTH_MAX: i32 = 400;

/// Lets every call of the transaction fail in every way, and once for all calls from it on. The calls
/// of `needed` have to be among those that failed.
fn every_call_fails(scene: &Scene, needed: &[&str], test: &str) {
    let Some(shim) = Shim::new(&scene.house) else {
        return skip(test, "needs a C compiler and a program that loads libraries");
    };
    let daemon = shim.start(&scene.house);
    assert_eq!(scene.send(&daemon, "before"), Outcome::Accepted);
    let open_before = descriptors(daemon.pid()).len();
    let (mut rounds, mut accepted) = (0, 0);
    for (number, (call, errnos)) in CALLS.iter().enumerate() {
        let mut fired = 0;
        for nth in 1..NTH_MAX {
            // All in turn where not each is tried.
            let one = [errnos[(nth as usize + number) % errnos.len()]];
            let ways = [(Action::Fail, false), (Action::WorkAndFail, false), (Action::Fail, true)];
            let mut any = false;
            for errno in if is_full() { errnos } else { &one[..] } {
                for (action, lasts) in ways {
                    let works = matches!(action, Action::WorkAndFail);
                    // Signals without an end are no fault of a disk: who writes on is right. And a
                    // client that is never let in waits, which is right too.
                    let endless = lasts && (*errno == Errno::EINTR || *call == "accept");
                    if endless || works && !["link", "fsync"].contains(call) {
                        continue;
                    }
                    rounds += 1;
                    let fault = Fault { call, errno: *errno, action, nth, lasts };
                    let (outcome, did) = one_round(scene, &shim, &daemon, &fault, rounds);
                    accepted += usize::from(did && outcome == Outcome::Accepted);
                    any |= did;
                }
            }
            fired += i32::from(any);
            if !any {
                break;
            }
        }
        assert!(fired < NTH_MAX - 1, "{call} has no end");
        assert!(fired > 0 || !needed.contains(call), "{call} was never made");
        println!("{call}: {fired} calls");
    }
    println!("{rounds} rounds, {accepted} accepted in spite of a fault");
    assert_eq!(scene.send(&daemon, "behind"), Outcome::Accepted);
    assert!(scene.copies("behind").iter().all(|count| *count == 1));
    daemon.spool_is_empty(&scene.house);
    // One client may just be leaving; the next server's connection may be kept or not.
    until("no descriptor more than before", || {
        (descriptors(daemon.pid()).len() <= open_before + 1).then_some(())
    });
    daemon.stop();
    assert_eq!(scene.house.names("spool"), [""; 0]);
}

/// One transaction with one fault; what the client heard, and whether the fault came to pass.
fn one_round(
    scene: &Scene,
    shim: &Shim,
    daemon: &Daemon,
    fault: &Fault,
    number: usize,
) -> (Outcome, bool) {
    let name = format!("m{number}");
    let doubted = daemon.log.count("a possible duplicate");
    shim.arm(fault);
    let outcome = scene.send(daemon, &name);
    // A client that is gone does not end what the queue has begun.
    if outcome == Outcome::Unknown {
        daemon.spool_is_empty(&scene.house);
    }
    let fired = shim.disarm();
    daemon.spool_is_empty(&scene.house);
    scene.settle();
    let copies = scene.copies(&name);
    let context = || format!("{fault:?}: {outcome:?}, copies {copies:?}\n{:#?}", tail(daemon));
    assert!(copies.windows(2).all(|pair| pair[0] == pair[1]), "some have it: {}", context());
    let allowed = match &outcome {
        Outcome::Accepted => 1..=1,
        Outcome::Unknown => 0..=1,
        // Where nobody can know, the log says so.
        Outcome::Deferred(_) if daemon.log.count("a possible duplicate") > doubted => 0..=1,
        Outcome::Deferred(_) => 0..=0,
        Outcome::Wrong(_) => panic!("{}", context()),
    };
    assert!(copies.iter().all(|count| allowed.contains(count)), "{}", context());
    (outcome, fired)
}

fn tail(daemon: &Daemon) -> Vec<String> {
    let lines = daemon.log.lines();
    lines[lines.len().saturating_sub(10)..].to_vec()
}

#[test]
fn maildir() {
    let needed = ["open", "write", "fsync", "mmap", "mkdir", "link", "close"];
    every_call_fails(&Scene::maildir(), &needed, "faults::maildir");
}

#[test]
fn qmail_queue() {
    every_call_fails(
        &Scene::qmail(),
        &["open", "write", "pipe", "spawn", "wait"],
        "faults::qmail_queue",
    );
}

#[test]
fn smtp_forward() {
    let needed = ["open", "write", "send", "recv", "poll"];
    every_call_fails(&Scene::forward(true), &needed, "faults::smtp_forward");
}

#[test]
fn smtp_forward_with_a_connection_for_each_mail() {
    let needed = ["open", "write", "socket", "connect", "send", "recv"];
    every_call_fails(&Scene::forward(false), &needed, "faults::smtp_forward_with_a_connection");
}
