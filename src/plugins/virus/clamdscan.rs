//! Has ClamAV's daemon, clamd, scan each message for viruses.
//!
//! The message, with the changes that plugins before this one have made, is sent to clamd through its
//! socket or port, so clamd needs no right to read the spool; a version of clamd that knows INSTREAM
//! (0.95 of 2009) is needed. Nobody is exempt: neither clients that may relay, nor white-listed ones, nor
//! those that `naughty` condemns. clamd's own `StreamMaxLength` must not be below `max_size`. Fields
//! `X-Virus-Found`, `X-Virus-Details` and `X-Virus-Checked` that come with a message are removed. Clean
//! mail gets `X-Virus-Found: No` and `X-Virus-Checked: by VERSION on NAME`; mail that passes without a
//! scan gets `X-Virus-Found: Unknown` and the reason in `X-Virus-Details`.
//!
//! Arguments:
//!   clamd_socket    path of clamd's Unix socket; by default what LocalSocket in /etc/clamav/clamd.conf
//!                   or /etc/clamd.conf says, else /var/run/clamav/clamd.ctl
//!   clamd_port      ask at this TCP port instead
//!   clamd_host      of this machine, a name or an address; `localhost` by default
//!   deny_viruses    `yes` (default) refuses; `no` delivers with `X-Virus-Found: Yes` and the name in
//!                   `X-Virus-Details`
//!   defer_on_error  `yes`: what clamd cannot tell about is put off; by default `no`
//!   max_size        larger messages are not scanned, in KiB; 1024 by default
//!   scan_all        `no`: scan only what has a Content-Type of multipart; by default `yes`
//!   timeout         seconds that a scan may take; 20 by default, at most 180
//!
//! Config files: none of its own.
//!
//! Replies: `554 5.7.1 Virus found: NAME`; `451 4.3.0 Unable to scan for viruses`
//!
//! Karma: -1 for a virus, and the client is condemned: `naughty` refuses it from then on, and behind this
//! line the message too, also with `deny_viruses no`.
//!
//! When it cannot tell: the mail passes, is marked as not scanned, and the log has `error, …`; with
//! `defer_on_error yes` it is put off. A clamd that has failed three times in a row to tell its version is left
//! alone for `timeout` and half a minute, then one mail asks it again.

use super::{At, OnError, SOCKET, Scanner, TIMEOUT, configured_socket, yes};
use crate::client::breaker::Breaker;
use crate::config::routes::Server;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hook, HookSet, Hooked, Plugin};
use std::sync::Arc;
use std::time::Duration;

/// Largest message that is scanned, in KiB, where the line does not say.
const MAX_SIZE: u64 = 1_024;

/// clamd counts in 32 bits.
const MAX_SIZE_MAX: u64 = 4_000_000;

struct Clamdscan(Scanner);

/// Makes the plugin of its line.
pub fn load(args: &mut Args, setup: &Setup<'_>) -> Arc<dyn Plugin> {
    Arc::new(Clamdscan(from_args(args, setup)))
}

impl Plugin for Clamdscan {
    fn hooks(&self) -> HookSet {
        HookSet::of(&[Hook::Message])
    }

    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        self.0.scan(cx)
    }
}

pub(super) fn from_args(args: &mut Args, setup: &Setup<'_>) -> Scanner {
    let at = place(args, setup);
    let defer = yes(args, "defer_on_error", false);
    let timeout = Duration::from_secs(args.number("timeout", TIMEOUT, 1..=180));
    Scanner {
        at,
        max_size: args.number("max_size", MAX_SIZE, 1..=MAX_SIZE_MAX) * 1_024,
        timeout,
        deny: yes(args, "deny_viruses", true),
        on_error: if defer { OnError::Defer } else { OnError::Pass },
        only_multipart: !yes(args, "scan_all", true),
        plain_field: false,
        breaker: Breaker::new(timeout),
    }
}

fn place(args: &mut Args, setup: &Setup<'_>) -> At {
    let host = args.named("clamd_host");
    let socket = args.named("clamd_socket");
    let port = args.number("clamd_port", 0, 0..=u16::MAX);
    if port > 0 {
        if socket.is_some() {
            args.complain("give clamd_socket or clamd_port, not both");
        }
        let host = host.filter(|host| host != "localhost");
        let host = host.unwrap_or_else(|| "127.0.0.1".to_string());
        return At::Server(Server::named(&host, port).unwrap_or_else(|| {
            args.complain(format!("clamd_host {host}: give a host name or an address"));
            Server { host: host.into(), port }
        }));
    }
    if host.is_some() {
        args.complain("clamd_host needs a clamd_port");
    }
    match socket {
        None => {
            At::Socket(configured_socket(setup, &["/etc/clamav/clamd.conf", "/etc/clamd.conf"]))
        }
        Some(path) if path.starts_with('/') => At::Socket(path.into()),
        Some(path) => {
            args.complain(format!("clamd_socket {path}: give an absolute path"));
            At::Socket(SOCKET.into())
        }
    }
}
