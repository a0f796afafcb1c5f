//! Plugins that look for viruses, and what those that ask a scanner share: the question to clamd and what
//! follows from its answer.

pub mod clamav;
pub mod clamdscan;
pub mod pattern_filter;

use crate::client::breaker::{Breaker, News, RESTS};
use crate::client::clamd::{self, Finding};
use crate::client::deadline::Deadline;
use crate::client::stream::Place;
use crate::config::routes::Server;
use crate::plugin::log::{Level, foreign};
use crate::plugin::next_hop::addresses;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Hooked, Lane, Pending, RejectType, Verdict};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Seconds that a scan may take unless the line says otherwise: what a message hook has in all.
const TIMEOUT: u64 = 20;

/// Where clamd listens if nobody says.
const SOCKET: &str = "/var/run/clamav/clamd.ctl";

/// Header fields that only we may add.
const FOUND: &str = "X-Virus-Found";
const DETAILS: &str = "X-Virus-Details";
const CHECKED: &str = "X-Virus-Checked";

/// Where clamd is.
#[derive(Debug, PartialEq, Eq)]
enum At {
    Socket(PathBuf),
    Server(Server),
}

/// How a message that was not scanned for want of an answer is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnError {
    Pass,
    Defer,
}

/// A plugin that asks clamd.
struct Scanner {
    at: At,
    /// Longest message in octets that is scanned.
    max_size: u64,
    timeout: Duration,
    deny: bool,
    on_error: OnError,
    only_multipart: bool,
    /// `X-Virus-Checked` of clean mail as virus/clamav writes it, which does not tell the version.
    plain_field: bool,
    breaker: Breaker,
}

/// Takes a word for yes or no.
fn yes(args: &mut Args, name: &str, default: bool) -> bool {
    match args.named(name).as_deref() {
        None => default,
        Some("yes" | "1" | "true" | "on") => true,
        Some("no" | "0" | "false" | "off") => false,
        Some(other) => {
            args.complain(format!("{name} {other}: use yes or no"));
            default
        }
    }
}

/// Where the first of these configurations of clamd says that it listens, or Debian's place.
fn configured_socket(setup: &Setup<'_>, files: &[&str]) -> PathBuf {
    let socket = |file: &&str| {
        let text = setup.system(file);
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("LocalSocket"));
        let mut paths = lines.filter(|rest| rest.starts_with([' ', '\t'])).map(str::trim);
        paths.find(|path| path.starts_with('/')).map(PathBuf::from)
    };
    files.iter().find_map(socket).unwrap_or_else(|| SOCKET.into())
}

/// The message says that it has parts.
fn is_multipart(cx: &Cx<'_>) -> bool {
    cx.message().is_some_and(|message| {
        let header = message.current.header(message.received);
        message.current.headers().all(header, "Content-Type").any(|field| {
            let value = field.value.to_ascii_lowercase();
            let has_boundary = value.windows(9).any(|it| it == b"boundary=");
            value.trim_ascii_start().starts_with(b"multipart/") && has_boundary
        })
    })
}

impl Scanner {
    /// What both do at the end of the message.
    fn scan(&self, cx: &mut Cx<'_>) -> Hooked {
        // Nobody outside may say that a message is clean.
        for name in [FOUND, DETAILS, CHECKED] {
            cx.delete_header(name, None);
        }
        let Some(message) = cx.message() else { return Ok(Verdict::Declined) };
        let size = message.current.len(message.received);
        if u64::try_from(size).is_ok_and(|size| size > self.max_size) {
            cx.log(Level::Notice, format!("skip, too big ({size}), passed unscanned"));
            return Ok(unscanned(cx, "too big"));
        }
        if self.only_multipart && !is_multipart(cx) {
            cx.log(Level::Notice, "skip, not multipart");
            return Ok(unscanned(cx, "not multipart"));
        }
        let now = cx.now().mono;
        if self.breaker.rests(now) {
            return Ok(self.failed(cx, RESTS));
        }
        let found = match self.addresses(cx)? {
            Ok(found) => found,
            Err(words) => return Ok(self.failed(cx, words)),
        };
        cx.lane(Lane::Scanners)?;
        if !self.breaker.may_ask(now) {
            return Ok(self.failed(cx, RESTS));
        }
        let (answer, news) = self.ask(now, &found, &message.current.parts(message.received));
        if let Some(news) = news {
            cx.log(Level::Warning, format!("info, clamd {news}"));
        }
        Ok(match answer {
            Ok((_, Finding::Virus(name))) => self.found(cx, &name),
            Ok((version, Finding::Clean)) => self.clean(cx, &version),
            Err(words) => self.failed(cx, &words),
        })
    }

    /// The addresses to connect to, none for a socket; the inner error is in words.
    fn addresses(&self, cx: &Cx<'_>) -> Result<Result<Vec<SocketAddr>, &'static str>, Pending> {
        match &self.at {
            At::Socket(_) => Ok(Ok(Vec::new())),
            At::Server(server) => addresses(cx, server),
        }
    }

    /// Version and finding. Where clamd has several addresses, the first at which it answers counts. It
    /// has failed for all mail only where it does not even tell its version: what it fails at in a message
    /// must not let other mail pass unscanned.
    fn ask(
        &self,
        now: Duration,
        found: &[SocketAddr],
        parts: &[&[u8]],
    ) -> (Result<(String, Finding), String>, Option<News>) {
        let deadline = Deadline::after(self.timeout);
        let places: Vec<Place<'_>> = match &self.at {
            At::Socket(path) => vec![Place::Unix(path)],
            At::Server(_) => found.iter().map(|address| Place::Tcp(*address)).collect(),
        };
        let mut words = "it has no address".to_string();
        for place in places {
            match clamd::version(place, deadline) {
                Ok(version) => {
                    let news = self.breaker.heard(now, true);
                    let finding = clamd::scan(place, parts, deadline);
                    let answer = finding.map(|finding| (version, finding));
                    return (answer.map_err(|fault| fault.to_string()), news);
                }
                Err(fault) => words = fault.to_string(),
            }
        }
        (Err(words), self.breaker.heard(now, false))
    }

    /// A virus was found.
    fn found(&self, cx: &mut Cx<'_>, name: &str) -> Verdict {
        cx.log(Level::Notice, format!("fail, found virus {}", foreign(name.as_bytes())));
        cx.karma(-1);
        let text = format!("Virus found: {name}");
        cx.condemn(RejectType::Perm, &text);
        if self.deny {
            return Verdict::deny((7, 1), text);
        }
        cx.insert_header(DETAILS, name);
        cx.insert_header(FOUND, "Yes");
        Verdict::Declined
    }

    /// Nothing was found.
    fn clean(&self, cx: &mut Cx<'_>, version: &str) -> Verdict {
        cx.log(Level::Info, "pass, clean");
        let me = &cx.config().rules.me;
        let checked = if self.plain_field {
            format!("Checked by ClamAV on {me}")
        } else {
            format!("by {version} on {me}")
        };
        cx.insert_header(CHECKED, &checked);
        cx.insert_header(FOUND, "No");
        Verdict::Declined
    }

    /// clamd cannot tell.
    fn failed(&self, cx: &mut Cx<'_>, words: &str) -> Verdict {
        let what = match self.on_error {
            OnError::Pass => "passed unscanned",
            OnError::Defer => "deferred",
        };
        let words = foreign(words.as_bytes());
        cx.log(Level::Error, format!("error, scanning mail: {words}, {what}"));
        match self.on_error {
            OnError::Pass => unscanned(cx, "scanner error"),
            OnError::Defer => Verdict::deny_soft((3, 0), "Unable to scan for viruses"),
        }
    }
}

/// Marks a message that passes without having been looked at.
fn unscanned(cx: &mut Cx<'_>, why: &str) -> Verdict {
    cx.insert_header(DETAILS, &format!("not scanned, {why}"));
    cx.insert_header(FOUND, "Unknown");
    Verdict::Declined
}

#[cfg(test)]
mod tests;
