//! Scans each message for viruses: lines for ClamAV's command line scanner, which ask clamd now.
//!
//! No program is run any more: the message is sent to clamd as `virus/clamdscan` does it, and that name is
//! the better one for new lines. Nobody is exempt. Clean mail gets `X-Virus-Found: No` and
//! `X-Virus-Checked: Checked by ClamAV on NAME`; the same fields from outside are removed, and mail that
//! passes without a scan gets `X-Virus-Found: Unknown` and the reason in `X-Virus-Details`.
//!
//! Arguments:
//!   action            `reject` (default), or `add-header`: deliver with `X-Virus-Found: Yes` and the name
//!                     in `X-Virus-Details`
//!   max_size          larger messages are not scanned, in octets; 524288 by default
//!   declined_on_fail  what clamd cannot tell about passes; by default it is put off
//!   clamd_conf        the configuration of clamd whose LocalSocket says where it listens; by default
//!                     /etc/clamd.conf, then /etc/clamav/clamd.conf, else /var/run/clamav/clamd.ctl
//!   timeout           seconds that a scan may take; 20 by default, at most 180
//!   clamscan_path, tmp_dir, back_compat
//!                     only the program needed them; accepted with a warning, and not used
//!
//! Config files: none of its own.
//!
//! Replies: `554 5.7.1 Virus found: NAME`; `451 4.3.0 Unable to scan for viruses`
//!
//! Karma: -1 for a virus, and the client is condemned as by `virus/clamdscan`.
//!
//! When it cannot tell: the mail is put off; with `declined_on_fail` it passes, is marked as not scanned,
//! and the log has `error, …`. A clamd that has failed three times in a row to tell its version is left alone
//! for `timeout` and half a minute, then one mail asks it again.

use super::{At, OnError, Scanner, TIMEOUT, configured_socket};
use crate::client::breaker::Breaker;
use crate::config::files::Problem;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin};
use std::sync::Arc;
use std::time::Duration;

/// Largest message that is scanned, in octets, where the line does not say.
const MAX_SIZE: u64 = 524_288;

/// clamd counts in 32 bits.
const MAX_SIZE_MAX: u64 = 4_000_000_000;

struct Clamav(Scanner);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Clamav(from_args(args, setup)))
}

impl Plugin for Clamav {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        self.0.scan(cx)
    }
}

pub(super) fn from_args(args: &mut Args, setup: &Setup<'_>) -> Scanner {
    let deny = match args.named("action").as_deref() {
        None | Some("reject") => true,
        Some("add-header") => false,
        Some(other) => {
            args.complain(format!("action {other}: use reject or add-header"));
            true
        }
    };
    let conf = args.named("clamd_conf");
    let max_size = args.number("max_size", MAX_SIZE, 1..=MAX_SIZE_MAX);
    let timeout = Duration::from_secs(args.number("timeout", TIMEOUT, 1..=180));
    let mut unused = Vec::new();
    for name in ["clamscan_path", "tmp_dir"] {
        if args.named(name).is_some() {
            unused.push(name);
        }
    }
    let on_error = flags(args, &mut unused);
    if !unused.is_empty() {
        let what = format!("no program is run, clamd is asked: leave out {}", unused.join(", "));
        setup.with_problems(|problems| Problem::warning(&args.line, what).note(problems));
    }
    let socket = match &conf {
        Some(file) => configured_socket(setup, &[file]),
        None => configured_socket(setup, &["/etc/clamd.conf", "/etc/clamav/clamd.conf"]),
    };
    Scanner {
        at: At::Socket(socket),
        max_size,
        timeout,
        deny,
        on_error,
        only_multipart: false,
        plain_field: true,
        breaker: Breaker::new(timeout),
    }
}

/// Reads the words that may stand alone; the first path is that of the program.
fn flags(args: &mut Args, unused: &mut Vec<&'static str>) -> OnError {
    let mut on_error = OnError::Defer;
    for (place, word) in args.rest().iter().enumerate() {
        let (name, value) = word.split_once('=').unwrap_or((word, "1"));
        match (name, value) {
            ("declined_on_fail", "0" | "no") => on_error = OnError::Defer,
            ("declined_on_fail", "1" | "yes") => on_error = OnError::Pass,
            ("back_compat", _) => unused.push("back_compat"),
            (path, "1") if place == 0 && path.starts_with('/') => unused.push("the program's path"),
            _ => args.complain(format!("unknown argument: {word}")),
        }
    }
    on_error
}
