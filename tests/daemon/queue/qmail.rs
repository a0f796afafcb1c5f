//! `queue/qmail-queue` with programs in its place.

use crate::daemon::big::large;
use crate::daemon::client::{kept, small};
use crate::daemon::house::{Daemon, House};
use crate::daemon::queue::smuggle;
use crate::daemon::system::{lives, until};
use nix::sys::signal::Signal;
use std::fs;

/// Takes everything and writes it down.
const TAKES: &str = "cat >$here/text.$$; cat <&1 >$here/envelope.$$; mv $here/text.$$ $here/text; \
                     mv $here/envelope.$$ $here/envelope";

/// A house whose queue is this program.
fn house(script: &str, more: &str) -> House {
    let house = House::new();
    let program = house.program("qmail-queue", script);
    house.queue(&format!("queue/qmail-queue {} {more}", program.display()));
    house
}

#[test]
fn it_gets_the_message_and_the_envelope() {
    let house = house(TAKES, "");
    let daemon = house.start();
    let mut client = daemon.client();
    client.expect("MAIL FROM:<\"a b\"@example.org>", "250");
    client.expect("RCPT TO:<b@example.com>", "250");
    client.expect("RCPT TO:<postmaster>", "250");
    client.expect("DATA", "354");
    client.send("Message-ID: <1@example.org>\r\nSubject: x\r\n\r\none\r\n..\r\ntwo\r\n.\r\n");
    let reply = client.reply();
    let words: Vec<&str> = reply.split(' ').collect();
    let [code, status, queued, time, qp, pid, id] = words[..] else { panic!("{reply}") };
    assert_eq!(
        (code, status, queued, qp, id),
        ("250", "2.0.0", "Queued!", "qp", "<1@example.org>")
    );
    assert!(time.parse::<u64>().is_ok_and(|it| it > 1_000_000_000), "{reply}");
    assert!(pid.parse::<u32>().is_ok_and(|it| it != daemon.pid()), "{reply}");
    let text = fs::read_to_string(house.path("text")).unwrap();
    assert!(text.contains("\nReceived: from localhost "), "{text}");
    assert!(text.ends_with("\nSubject: x\n\none\n.\ntwo\n") && !text.contains('\r'), "{text}");
    let envelope = fs::read(house.path("envelope")).unwrap();
    assert_eq!(envelope, b"Fa b@example.org\0Tb@example.com\0Tpostmaster\0\0");
    // The null sender.
    client.expect("MAIL FROM:<>", "250");
    client.expect("RCPT TO:<b@example.com>", "250");
    client.expect("DATA", "354");
    client.expect("Subject: bounce\r\n\r\n.", "250 2.0.0 Queued! ");
    assert_eq!(fs::read(house.path("envelope")).unwrap(), b"F\0Tb@example.com\0\0");
    daemon.stop();
}

#[test]
fn thirty_mebibytes_go_through_whole() {
    let house = house(TAKES, "");
    let daemon = house.start();
    let text = large(7, 30 * 1_024 * 1_024);
    let reply = daemon.client().deliver(&text);
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(fs::read(house.path("text")).unwrap().ends_with(&kept(&text)));
    daemon.spool_is_empty(&house);
    daemon.stop();
}

/// One message in, one message out, whatever somebody might take for its end; text of this machine has
/// no CR.
#[test]
fn nothing_can_be_smuggled() {
    let house = house("mkdir -p $here/out; cat >$here/out/$$; cat <&1 >/dev/null", "");
    smuggle(
        &house,
        || house.files("out"),
        |text| assert!(!text.contains(['\r', '\0']), "{text:?}"),
    );
}

/// The environment wins over the argument, as in qpsmtpd; it is the environment of the start.
#[test]
fn qmailqueue_names_the_program() {
    let house = House::new();
    let program = house.program("other", TAKES);
    house.queue("queue/qmail-queue /nowhere/qmail-queue");
    let daemon = Daemon::start(house.serve().env("QMAILQUEUE", program));
    assert!(daemon.client().deliver(&small("x")).starts_with("250 2.0.0 Queued! "));
    assert!(house.path("text").exists());
    daemon.stop();
    let daemon = house.start();
    let reply = daemon.client().deliver(&small("x"));
    assert!(reply.starts_with("451 4.3.0 Unable to queue message ["), "{reply}");
    daemon.log.line("error, /nowhere/qmail-queue does not run: No such file or directory");
    daemon.stop();
}

/// Whatever its end, the session goes on, and no descriptor is left.
#[test]
fn bad_ends() {
    let house = house("exit 0", "timeout 60");
    let daemon = house.start();
    let mut client = daemon.client();
    client.expect("NOOP", "250");
    let before = crate::daemon::system::descriptors(daemon.pid()).len();
    let all = "cat >/dev/null; cat <&1 >/dev/null";
    for (script, reply, line) in [
        (format!("{all}; exit 11"), "554 5.1.3 Unable to queue message (11) [", "exit code 11"),
        (format!("{all}; exit 31"), "554 5.7.1 Unable to queue message (31) [", "exit code 31"),
        (format!("{all}; exit 53"), "451 4.3.0 Unable to queue message (53) [", "exit code 53"),
        (format!("{all}; exit 120"), "451 4.3.0 Unable to queue message (120) [", "exit code 120"),
        (
            format!("{all}; kill -9 $$"),
            "451 4.3.0 Unable to queue message (signal 9) [",
            "duplicate",
        ),
        ("exec 0<&-; cat <&1; exit 54".into(), "451 4.3.0 Unable to queue message (54) [", "54"),
        ("exec 0<&-; exit 0".into(), "451 4.3.0 Unable to queue message (0, but", "duplicate"),
        (
            "exec 1<&-; cat >/dev/null".into(),
            "451 4.3.0 Unable to queue message (0, but",
            "duplicate",
        ),
    ] {
        house.program("qmail-queue", &script);
        for text in [small("x"), large(3, 300_000)] {
            let seen = daemon.log.count(line);
            let said = client.deliver(&text);
            assert!(said.starts_with(reply), "{script}: {said}");
            daemon.log.nth(line, seen + 1);
        }
    }
    daemon.spool_is_empty(&house);
    until("no descriptor more than before", || {
        (crate::daemon::system::descriptors(daemon.pid()).len() <= before).then_some(())
    });
    daemon.stop();
}

/// Who takes too long is killed, and the client keeps the mail.
#[test]
fn no_end() {
    let script = "echo $$ >$here/pid; cat >/dev/null; cat <&1 >/dev/null; sleep 1000";
    let house = house(script, "timeout 5");
    let daemon = house.start();
    let mut client = daemon.client();
    let said = client.deliver(&small("x"));
    assert!(said.starts_with("451 4.3.0 Unable to queue message (timed out) ["), "{said}");
    daemon
        .log
        .line("killed, its time was over: it may be queued all the same, a possible duplicate");
    let pid = fs::read_to_string(house.path("pid")).unwrap().trim().parse().unwrap();
    until("the end of the program", || (!lives(pid)).then_some(()));
    client.expect("NOOP", "250");
    daemon.stop();
}

/// What a supervisor left open is not for the programs of the queue.
#[test]
fn it_inherits_no_descriptor() {
    let list = "cat >/dev/null; cat <&1 >/dev/null; ls -l /proc/$$/fd >$here/list";
    let house = house(list, "");
    let serve = house.serve();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec 7>\"$0\" && exec \"$@\""]).arg(house.path("supervisor"));
    command.arg(serve.get_program()).args(serve.get_args());
    let daemon = Daemon::start(&mut command);
    assert!(daemon.client().deliver(&small("x")).starts_with("250 "));
    let list = fs::read_to_string(house.path("list")).unwrap();
    let shown: Vec<&str> = list.lines().filter(|line| line.contains(" -> ")).collect();
    // Its three pipes, and what the shell itself has opened.
    let own = |line: &&str| ["/qmail-queue", "/list"].iter().any(|end| line.ends_with(end));
    assert!(shown.iter().all(|line| line.contains("pipe:") || own(line)), "{list}");
    daemon.stop();
}

/// A stop waits for a program that has the message in hand, and its word counts.
#[test]
fn a_stop_waits_for_it() {
    let script = "cat >$here/text; cat <&1 >/dev/null; mkfifo $here/fifo; read word <$here/fifo";
    let house = house(script, "");
    let mut daemon = house.start();
    let mut client = daemon.client();
    client.data();
    client.send("Subject: x\r\n\r\n.\r\n");
    until("the program", || house.path("fifo").exists().then_some(()));
    daemon.signal(Signal::SIGTERM);
    daemon.log.line("stopping");
    fs::write(house.path("fifo"), "go on\n").unwrap();
    let reply = client.reply();
    assert!(reply.starts_with("250 2.0.0 Queued! "), "{reply}");
    assert!(daemon.wait().success());
}
