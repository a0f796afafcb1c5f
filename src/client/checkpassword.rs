//! Asks a program with D. J. Bernstein's checkpassword interface whether a password is right.
//!
//! The program reads `user NUL password NUL timestamp NUL`, at most 512 octets, from descriptor 3 and
//! ends: 0 means that the password is right (and that the program given to it, mostly `true`, ran and
//! was content), 1 that it is wrong, 111 that it could not find out. Programs that were made by the
//! exit codes of qmail (CVM's is one) say 100 where the interface has 1. It may speak to the user by
//! descriptors 0 and 1; here there is nobody, and what it says is ignored.

use crate::client::deadline::Deadline;
use crate::client::filter::{self, Program};
use crate::client::{Fault, secret};
use crate::smtp::auth::Password;
use std::path::Path;

/// Longest input of such a program in octets.
const INPUT_MAX: usize = 512;

/// What stands for the time in protocols without one, as qpsmtpd has it.
const TIMESTAMP: &[u8] = b"Y123456";

/// Asks. `arguments` are the program to run for an accepted user, and its arguments. A user or
/// password that is too long for the interface is refused without asking.
///
/// # Errors
/// The program cannot be run, ends with another code than these, or has not ended by the deadline,
/// when it is killed.
pub fn check(
    program: &Path,
    arguments: &[&str],
    user: &str,
    password: &Password,
    deadline: Deadline,
) -> Result<bool, Fault> {
    let (user, password) = (user.as_bytes(), password.reveal().as_bytes());
    let input = secret(&[user, b"\0", password, b"\0", TIMESTAMP, b"\0"]);
    if input.len() > INPUT_MAX || [user, password].iter().any(|part| part.contains(&0)) {
        return Ok(false);
    }
    let program = Program { path: program, arguments, input: 3 };
    match filter::run(&program, &input, deadline)?.code {
        Some(0) => Ok(true),
        Some(1 | 100) => Ok(false),
        Some(2) => Err("the program says it is misused".into()),
        Some(111) => Err("the program has trouble".into()),
        Some(code) => Err(format!("the program ended with {code}").into()),
        None => Err("the program was ended by a signal".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    /// A checkpassword program in shell: it knows one user, and does what his password says.
    const SCRIPT: &str = "#!/bin/sh
given=$(tr '\\000' '|' <&3)
case $given in
    'tim|right wörd|Y123456|') exec \"$@\" ;;
    'tim|later|Y123456|') exit 111 ;;
    'tim|signal|Y123456|') kill -KILL $$ ;;
    'tim|hang|Y123456|') exec sleep 1000 ;;
    'tim|talk|Y123456|') echo 'yes, he is fine'; exit 1 ;;
    *) exit 1 ;;
esac
";

    struct Script(PathBuf);

    impl Script {
        fn new(name: &str) -> Script {
            let path = std::env::temp_dir().join(format!("checkpw-{}-{name}", std::process::id()));
            fs::write(&path, SCRIPT).unwrap();
            Script(path)
        }

        /// Has the shell read it. To execute a file that was just written can fail, while another
        /// test's new process still has it open.
        fn ask(&self, then: &[&str], user: &str, password: &str, ms: u64) -> String {
            let file = [self.0.to_str().unwrap()];
            ask(Path::new("/bin/sh"), &[&file, then].concat(), user, password, ms)
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _gone = fs::remove_file(&self.0);
        }
    }

    fn ask(program: &Path, arguments: &[&str], user: &str, password: &str, ms: u64) -> String {
        let deadline = Deadline::after(Duration::from_millis(ms));
        match check(program, arguments, user, &Password::new(password), deadline) {
            Ok(accepted) => accepted.to_string(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn the_program_decides() {
        let script = Script::new("decides");
        let long = "x".repeat(512);
        for (arguments, user, password, expected) in [
            (&["/bin/true"][..], "tim", "right wörd", "true"),
            (&["/bin/true"], "tim", "right word", "false"),
            (&["/bin/true"], "tom", "right wörd", "false"),
            (&["/bin/true"], "tim", "talk", "false"),
            (&["/bin/true"], "tim", "right wörd|Y123456|", "false"),
            (&["/bin/true"], "tim", &long, "false"),
            (&["/bin/true"], "tim", "ri\0ght", "false"),
            (&["/bin/true"], "tim", "later", "the program has trouble"),
            (&["/bin/true"], "tim", "signal", "the program was ended by a signal"),
            (&["/bin/sh", "-c", "exit 2"], "tim", "right wörd", "the program says it is misused"),
            (&["/bin/sh", "-c", "exit 100"], "tim", "right wörd", "false"),
            (&["/bin/sh", "-c", "exit 99"], "tim", "right wörd", "the program ended with 99"),
            // What shells would make of it does not matter: there is none.
            (&["/bin/true"], "$(exit 0); tim", "right wörd", "false"),
        ] {
            let seen = script.ask(arguments, user, password, 60_000);
            assert_eq!(seen, expected, "{user} {password}");
        }
    }

    #[test]
    fn trouble_is_never_a_no() {
        let script = Script::new("trouble");
        let seen = script.ask(&["/bin/true"], "tim", "hang", 200);
        assert_eq!(seen, "the program takes too long");
        let nowhere = Path::new("/nowhere/checkpassword");
        let seen = ask(nowhere, &["/bin/true"], "tim", "right wörd", 60_000);
        assert_eq!(seen, "No such file or directory");
    }
}
