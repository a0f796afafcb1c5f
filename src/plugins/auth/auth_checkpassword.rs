//! Logins checked by a program with the checkpassword interface, such as vchkpw.
//!
//! The program is run for each login, without a shell, as the daemon's own user; it gets user and
//! password on descriptor 3. A program that needs other rights has to have them itself (set-uid).
//!
//! Arguments:
//!   checkpw  the program's path; without it the first word of the config file counts
//!   true     the program that it runs for who is accepted, by default `/bin/true`
//!
//! Config files: `smtpauth-checkpassword` (`PROGRAM TRUE`).
//!
//! Replies: `235 2.7.0 PLAIN authentication successful for USER - auth_checkpassword`; `535 5.7.8 PLAIN
//! authentication failed for USER`; `454 4.7.0 Temporary authentication failure`.
//!
//! Karma: that of every failed login, -1, given by the daemon.
//!
//! When it cannot tell: a program that cannot be run, has not ended after some seconds (it is killed
//! then), or ends with anything but yes and no is a fault of ours, so 454 and never 535.

use crate::client::checkpassword::check;
use crate::config::types::Role;
use crate::plugin::login::{MECHANISMS, Words, checked};
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Peer, Plugin};
use crate::smtp::auth::{Credentials, Mechanism};
use std::path::PathBuf;
use std::sync::Arc;

struct Checkpassword {
    program: PathBuf,
    after: String,
}

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    let line = setup.scalar("smtpauth-checkpassword").map(|line| line.text).unwrap_or_default();
    let mut words = line.split_whitespace().map(str::to_string);
    let (program, after) = (words.next(), words.next());
    let program = PathBuf::from(args.named("checkpw").or(program).unwrap_or_default());
    if !program.is_absolute() {
        args.complain("name the program: checkpw /path/of/program true /bin/true");
    }
    let after = args.named("true").or(after).unwrap_or_else(|| "/bin/true".to_string());
    Arc::new(Checkpassword { program, after })
}

impl Plugin for Checkpassword {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Auth])
    }

    fn mechanisms(&self, _peer: &Peer, _role: Role) -> &'static [Mechanism] {
        MECHANISMS
    }

    fn auth(&self, cx: &mut Cx<'_>, credentials: &Credentials) -> Hooked {
        let words = Words { accepted: "auth_checkpassword", refused: "" };
        checked(cx, credentials, &words, |_, password, deadline| {
            check(&self.program, &[&self.after], &credentials.user, password, deadline)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn the_program_is_named_by_line_or_file() {
        for (line, file, complaints) in [
            ("checkpw /bin/vchkpw true /bin/true", "", 0),
            ("checkpw /bin/vchkpw", "", 0),
            ("", "/bin/vchkpw /usr/bin/true", 0),
            ("", "", 1),
            ("checkpw vchkpw", "", 1),
            ("checkpw /bin/vchkpw odd", "", 1),
        ] {
            let text = format!("{file}\n");
            let files = Files::in_memory([("smtpauth-checkpassword".to_string(), text)]);
            let mut problems = Vec::new();
            let mut args = Args::of(&format!("auth/auth_checkpassword {line}"));
            load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!(args.finish().len(), complaints, "{line} {file}");
        }
    }
}
