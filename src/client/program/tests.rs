//! Programs that do what programs do: end well, badly, early, late, and never.

use super::*;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Programs of a test, in a folder that goes away with the value.
pub(crate) struct Programs(PathBuf);

impl Programs {
    pub(crate) fn new() -> Programs {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mailreeve-programs-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Programs(folder)
    }

    /// A shell script, which finds its folder in `$here`.
    pub(crate) fn shell(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        let text = format!("#!/bin/sh\nhere={}\n{script}\n", self.0.display());
        // Another process writes it: a child that a test starts at this moment would hold our file
        // open for writing, and what is open for writing is not run.
        let mut install = Command::new("install");
        let install = install.args(["-m", "755", "/dev/stdin"]).arg(&path);
        let mut child = install.stdin(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What a program has written into its folder.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn go(path: &Path, text: &[u8], envelope: Option<&[u8]>, deadline: Deadline) -> Run {
    let program = Program { path, args: &[], environment: &[], envelope };
    run(&program, deadline, |sink| text.chunks(10_000).try_for_each(sink)).unwrap()
}

#[test]
fn each_end_is_told() {
    let programs = Programs::new();
    let all = "cat >$here/text; cat <&1 >$here/envelope";
    for (script, ending, took_all) in [
        (all, Ending::Exited(0), true),
        ("cat >/dev/null; cat <&1 >/dev/null; exit 71", Ending::Exited(71), true),
        ("cat >/dev/null; cat <&1 >/dev/null; kill -9 $$", Ending::Signalled(9), true),
        ("cat >/dev/null; cat <&1 >/dev/null; kill -15 $$", Ending::Signalled(15), true),
        // The envelope stays unread, or the text, or both.
        ("cat >/dev/null", Ending::Exited(0), false),
        ("exit 0", Ending::Exited(0), false),
        ("exit 31", Ending::Exited(31), false),
        ("head -c 3 >/dev/null; exec 0<&-; cat <&1 >/dev/null", Ending::Exited(0), false),
        // One end is closed early.
        ("exec 0<&-; cat <&1 >/dev/null; exit 54", Ending::Exited(54), false),
        ("cat >/dev/null; exec 1<&-; exit 54", Ending::Exited(54), false),
    ] {
        let program = programs.shell("program", script);
        for text in [&b"Subject: x\n\na word\n"[..], &b"x".repeat(300_000)] {
            let run = go(&program, text, Some(b"Fa\0Tb\0\0"), soon());
            assert_eq!((run.ending, run.took_all), (ending, took_all), "{script}");
            if script == all {
                assert!(
                    programs.read("text") == text && programs.read("envelope") == b"Fa\0Tb\0\0"
                );
            }
        }
    }
}

/// The envelope comes behind the text: who wants it first gets it if the text fits into the pipe.
#[test]
fn the_text_comes_first() {
    let programs = Programs::new();
    let program = programs.shell("program", "cat <&1 >$here/envelope");
    let run = go(&program, b"a word\n", Some(b"Fa\0\0"), soon());
    assert_eq!((run.ending, run.took_all), (Ending::Exited(0), false));
    assert_eq!(programs.read("envelope"), b"Fa\0\0");
    let run =
        go(&program, &b"x".repeat(100_000), Some(b"\0"), Deadline::after(Duration::from_secs(1)));
    assert_eq!((run.ending, run.took_all), (Ending::Killed, false));
}

#[test]
fn what_is_large_goes_through_whole() {
    let programs = Programs::new();
    let script = "cat >$here/text; cat <&1 >$here/envelope";
    let program = programs.shell("program", script);
    let text: Vec<u8> = (0..30_000_000_u32).map(|it| (it / 7) as u8).collect();
    let envelope = b"Ta long address\0".repeat(50_000);
    let run = go(&program, &text, Some(&envelope), soon());
    assert_eq!((run.ending, run.took_all), (Ending::Exited(0), true));
    assert!(programs.read("text") == text && programs.read("envelope") == envelope);
}

#[test]
fn who_takes_too_long_is_killed() {
    let programs = Programs::new();
    for script in [
        "exec sleep 1000",
        "sleep 1000",
        "trap '' TERM INT HUP; sleep 1000",
        "exec 2>&-; cat >/dev/null; cat <&1 >/dev/null; sleep 1000",
    ] {
        let program = programs.shell("program", script);
        let text = b"x".repeat(100_000);
        let run = go(&program, &text, Some(b"\0"), Deadline::after(Duration::from_secs(1)));
        assert_eq!(run.ending, Ending::Killed, "{script}");
    }
}

#[test]
fn what_it_started_is_killed_with_it() {
    let programs = Programs::new();
    let script = "cat >/dev/null; sleep 1000 & echo $! >$here/other; wait";
    let program = programs.shell("program", script);
    let run = go(&program, b"text\n", None, Deadline::after(Duration::from_secs(5)));
    assert_eq!(run.ending, Ending::Killed);
    let other: i32 = String::from_utf8(programs.read("other")).unwrap().trim().parse().unwrap();
    // The signal was sent; a busy machine lets it be taken some time later.
    let patience = Deadline::after(Duration::from_secs(60));
    while lives(other) {
        assert!(patience.left().is_ok(), "what it started lives");
        std::thread::yield_now();
    }
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

/// Whoever is killed in the middle of the text must not have taken it for all of it.
#[test]
fn the_end_of_the_text_is_not_shown_to_who_is_late() {
    let programs = Programs::new();
    let script = "sleep 2; cat >$here/text; cat <&1 >$here/envelope; echo all >$here/end";
    let program = programs.shell("program", script);
    let text = b"x".repeat(1_000_000);
    let run = go(&program, &text, Some(b"Fa\0\0"), Deadline::after(Duration::from_secs(1)));
    assert_eq!((run.ending, run.took_all), (Ending::Killed, false));
    assert!(!programs.path("end").exists() && !programs.path("envelope").exists());
}

#[test]
fn who_reads_slowly_is_waited_for() {
    let programs = Programs::new();
    let script = "for i in 1 2 3 4 5; do head -c 65536 >>$here/text; sleep 0.2; done; \
                  cat >>$here/text; cat <&1 >$here/envelope";
    let program = programs.shell("program", script);
    let text = b"0123456789\n".repeat(100_000);
    let run = go(&program, &text, Some(b"Fa\0\0"), soon());
    assert_eq!((run.ending, run.took_all), (Ending::Exited(0), true));
    assert!(programs.read("text") == text);
}

/// Without an envelope descriptor 1 is its output, which is kept up to a bound.
#[test]
fn what_it_says_is_kept_within_bounds() {
    let programs = Programs::new();
    for (script, words) in [
        ("cat >/dev/null; echo one; echo two >&2", "one?two"),
        ("cat >/dev/null; printf 'a\\033[2Jb\\000\\n\\n'", "a?[2Jb?"),
        ("cat >/dev/null", ""),
    ] {
        let run = go(&programs.shell("program", script), b"text\n", None, soon());
        assert_eq!((run.ending, &*run.words()), (Ending::Exited(0), words), "{script}");
    }
    let script = "yes | head -c 3000000; cat >/dev/null; yes | head -c 3000000 >&2; exit 3";
    let run = go(&programs.shell("program", script), &b"x".repeat(200_000), None, soon());
    assert_eq!((run.ending, run.took_all, run.said.len()), (Ending::Exited(3), true, SAID_MAX));
    assert_eq!(run.words().len(), WORDS_MAX);
}

/// It is alone in its process group, has SIGPIPE as usual, few variables, and no descriptor of ours.
#[test]
fn it_starts_clean() {
    let programs = Programs::new();
    let script = "cat >/dev/null; cat <&1 >/dev/null
        grep SigIgn: /proc/$$/status >$here/ignored
        env >$here/environment
        set -- $(cat /proc/$$/stat); echo $1 $5 >$here/group
        for it in /proc/$$/fd/*; do readlink $it || true; done >$here/descriptors";
    let path = programs.shell("program", script);
    let secret = fs::File::create(programs.path("secret")).unwrap();
    let program = Program {
        path: &path,
        args: &[],
        environment: &[("TCPREMOTEIP", "192.0.2.1".to_string())],
        envelope: Some(b"\0"),
    };
    let run = run(&program, soon(), |sink| sink(b"text\n")).unwrap();
    drop(secret);
    assert_eq!((run.ending, run.took_all), (Ending::Exited(0), true));
    let read = |name| String::from_utf8(programs.read(name)).unwrap();
    let ignored = read("ignored");
    let ignored = u64::from_str_radix(ignored.split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_eq!(ignored & 1 << (Signal::SIGPIPE as u32 - 1), 0, "SIGPIPE is ignored");
    assert_eq!(read("group"), format!("{0} {0}\n", run.pid));
    let descriptors = read("descriptors");
    assert!(!descriptors.contains("secret"), "{descriptors}");
    let environment = read("environment");
    assert!(environment.contains("TCPREMOTEIP=192.0.2.1\n"), "{environment}");
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        // The shell adds some of its own.
        let known = INHERITED.contains(&name)
            || ["TCPREMOTEIP", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name);
        assert!(known, "{line}");
    }
}

#[test]
fn who_cannot_be_started_has_not_run() {
    let programs = Programs::new();
    fs::write(programs.path("text"), "no program").unwrap();
    for (path, kind) in [
        (programs.path("absent"), ErrorKind::NotFound),
        (programs.path("text"), ErrorKind::PermissionDenied),
        (programs.path(""), ErrorKind::PermissionDenied),
    ] {
        let program = Program { path: &path, args: &[], environment: &[], envelope: None };
        let error = run(&program, soon(), |sink| sink(b"text\n")).unwrap_err();
        assert_eq!(error.kind(), kind, "{path:?}");
    }
}

/// What a program leaves behind in the background, with its output open, is not waited for.
#[test]
fn who_leaves_something_behind_has_ended() {
    let programs = Programs::new();
    let script = "cat >/dev/null; sleep 1000 & echo $! >$here/other; exit 4";
    let run = go(&programs.shell("program", script), b"text\n", None, soon());
    assert_eq!((run.ending, run.took_all), (Ending::Exited(4), true));
    let other: i32 = String::from_utf8(programs.read("other")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(Pid::from_raw(other), Signal::SIGKILL).unwrap();
}
