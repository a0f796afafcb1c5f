//! The daemon is killed at the nth system call of a transaction, for every n.

use crate::daemon::faults::scene::{Outcome, Scene};
use crate::daemon::faults::shim::{Action, Fault, Shim};
use crate::daemon::system::{is_full, skip};
use nix::errno::Errno;

/// A transaction that makes more calls than this has no end.
const CALLS_MAX: i32 = 3_000;

/// Kills it at each call; in the short form of the tests at every seventh, from one by chance on.
/// In the end every mail that was acknowledged is there once, any other once or not at all.
fn killed_at_every_call(scene: &Scene, test: &str) {
    let Some(shim) = Shim::new(&scene.house) else {
        return skip(test, "needs a C compiler and a program that loads libraries");
    };
    let step = if is_full() { 1 } else { 7 };
    let first = std::process::id() as i32 % step + 1;
    let (mut kills, mut nth) = (0, first);
    loop {
        let mut daemon = shim.start(&scene.house);
        let name = format!("k{nth}");
        shim.arm(&Fault { call: "*", errno: Errno::EIO, action: Action::Die, nth, lasts: false });
        let outcome = scene.send(&daemon, &name);
        let died = shim.disarm();
        if died {
            daemon.wait();
        } else {
            daemon.stop();
        }
        scene.settle();
        let copies = scene.copies(&name);
        let allowed = if outcome == Outcome::Accepted { 1..=1 } else { 0..=1 };
        let context = format!("killed at call {nth}: {outcome:?}, copies {copies:?}");
        assert!(copies.iter().all(|count| allowed.contains(count)), "{context}");
        assert!(matches!(outcome, Outcome::Accepted | Outcome::Unknown), "{context}");
        if !died {
            assert_eq!(outcome, Outcome::Accepted);
            break;
        }
        kills += 1;
        nth += step;
        assert!(nth < CALLS_MAX, "a transaction without an end");
    }
    println!("{kills} kills, the transaction has about {nth} calls");
    assert!(kills > 2, "only {kills} calls");
    let daemon = shim.start(&scene.house);
    assert_eq!(scene.send(&daemon, "behind"), Outcome::Accepted);
    daemon.stop();
    assert_eq!(scene.house.names("spool"), [""; 0]);
}

#[test]
fn maildir() {
    killed_at_every_call(&Scene::maildir(), "faults::kill::maildir");
}

#[test]
fn qmail_queue() {
    killed_at_every_call(&Scene::qmail(), "faults::kill::qmail_queue");
}

#[test]
fn smtp_forward() {
    killed_at_every_call(&Scene::forward(false), "faults::kill::smtp_forward");
}
