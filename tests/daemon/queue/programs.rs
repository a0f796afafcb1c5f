//! `queue/pipe` and `queue/exim-bsmtp` with programs of every kind.

use crate::daemon::big::large;
use crate::daemon::client::{kept, small};
use crate::daemon::house::House;
use crate::daemon::queue::smuggle;
use crate::daemon::system::{lives, until};
use std::fs;

/// A house whose queue is this program, named behind `line`.
fn house(line: &str, script: &str, more: &str) -> House {
    let house = House::new();
    let program = house.program("keep", script);
    house.queue(&format!("{line} {} {more}", program.display()));
    house
}

#[test]
fn large_messages_go_through_whole() {
    let text = large(9, 30 * 1_024 * 1_024);
    let house = house("queue/pipe", "cat >$here/text", "");
    let daemon = house.start();
    assert_eq!(daemon.client().deliver(&text), "250 2.0.0 Queued! <>");
    assert!(fs::read(house.path("text")).unwrap().ends_with(&kept(&text)));
    daemon.spool_is_empty(&house);
    daemon.stop();
}

#[test]
fn a_large_batch_goes_through_whole() {
    let text = large(9, 5_000_000);
    let house = house("queue/exim-bsmtp exim_path", "cat >$here/batch", "");
    let daemon = house.start();
    assert_eq!(daemon.client().deliver(&text), "250 2.0.0 Queued!");
    let mut stuffed = Vec::new();
    for line in kept(&text).split_inclusive(|octet| *octet == b'\n') {
        stuffed.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\nQUIT\n");
    assert!(fs::read(house.path("batch")).unwrap().ends_with(&stuffed));
    daemon.stop();
}

/// Exim sees one message, whatever somebody might take for its end.
#[test]
fn nothing_can_be_smuggled() {
    let script = "mkdir -p $here/out; cat >$here/out/$$";
    let house = house("queue/exim-bsmtp exim_path", script, "");
    smuggle(
        &house,
        || house.files("out"),
        |batch| {
            assert!(!batch.contains(['\r', '\0']), "{batch:?}");
            let ends: Vec<usize> = batch.match_indices("\n.\n").map(|(at, _)| at).collect();
            assert_eq!(ends, [batch.len() - "\n.\nQUIT\n".len()], "{batch:?}");
        },
    );
}

const LINES: [&str; 2] = ["queue/pipe timeout", "queue/exim-bsmtp timeout"];

/// The queue's line with this time limit, up to the program.
fn line(line: &str, seconds: u32) -> String {
    let path = if line.contains("exim") { " exim_path" } else { "" };
    format!("{line} {seconds}{path}")
}

/// Whatever their end, the session goes on.
#[test]
fn bad_ends() {
    for start in LINES {
        let house = house(&line(start, 60), "exit 0", "");
        let daemon = house.start();
        let mut client = daemon.client();
        for (script, reply, logged) in [
            ("exit 0", "451 4.3.0 Unable to queue message (0, but not all", "possible duplicate"),
            (
                "exec 0<&-; exit 0",
                "451 4.3.0 Unable to queue message (0, but",
                "possible duplicate",
            ),
            ("cat >/dev/null; kill -9 $$", "451 4.3.0 Unable to queue", "possible duplicate"),
            ("cat >/dev/null; exit 75", "451 4.3.0 ", "exit code 75"),
        ] {
            house.program("keep", script);
            for text in [small("x"), large(3, 300_000)] {
                let seen = daemon.log.count(logged);
                let said = client.deliver(&text);
                assert!(said.starts_with(reply), "{start}: {script}: {said}");
                daemon.log.nth(logged, seen + 1);
            }
        }
        daemon.spool_is_empty(&house);
        daemon.stop();
    }
}

/// Who takes too long is killed, and the client keeps the mail.
#[test]
fn no_end() {
    for start in LINES {
        let script = "echo $$ >$here/pid; cat >/dev/null; sleep 1000";
        let house = house(&line(start, 5), script, "");
        let daemon = house.start();
        let mut client = daemon.client();
        let said = client.deliver(&small("x"));
        let expected = "451 4.3.0 Unable to queue message (timed out) [";
        assert!(said.starts_with(expected), "{start}: {said}");
        daemon
            .log
            .line("killed, its time was over: it may be queued all the same, a possible duplicate");
        let pid = fs::read_to_string(house.path("pid")).unwrap().trim().parse().unwrap();
        until("the end of the program", || (!lives(pid)).then_some(()));
        client.expect("NOOP", "250");
        daemon.stop();
    }
}
