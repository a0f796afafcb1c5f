//! The plugins of one list, and how their methods are called.
//!
//! Whoever owns a session is the [`Host`] of its plugins. A hook that may have to wait is run by an
//! [`Invocation`]; observers ask nothing and are told at once. A plugin that panics is caught in both
//! cases: it is logged, and nothing but its own word is lost.

mod invocation;
#[cfg(test)]
mod tests;

use crate::plugin::cx::{Cx, Ground, Moment, Occasion, Run, Staged};
use crate::plugin::log::Level;
use crate::plugin::question::{Memo, Place};
use crate::plugin::{Denial, Hook, HookSet, Hooked, Plugin, Queued};
use crate::smtp::address::Address;
use crate::smtp::session::{Call, Hello, PathOf};
use crate::smtp::verdict::Verdict;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

pub use invocation::{Invocation, Step};

/// A plugin with what its line in the file said about running it.
#[derive(Clone)]
pub struct Loaded {
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Its name in the registry.
    pub name: &'static str,
    /// Its name in logs: `queue::maildir`.
    pub log_name: Arc<str>,
    /// Owner of its notes.
    pub key: u64,
    /// `loglevel`: 0 to 7 replaces each line's level, a signed number shifts it.
    pub loglevel: LogShift,
    /// `speculate no`: its questions are only sent when its turn has come (paid lists).
    pub speculate: bool,
    /// `inline no`: it runs on a worker, not in the event loop.
    pub inline: bool,
    /// It judges what is known of a client's address or name.
    pub reputation: bool,
}

/// The `loglevel` argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogShift {
    /// As the plugin says.
    #[default]
    Keep,
    /// This level for every line.
    Fixed(Level),
    /// Less (positive) or more important.
    By(i8),
}

impl Loaded {
    /// A plugin without arguments that matter here, for tests and harnesses.
    pub fn plain(name: &'static str, plugin: Arc<dyn Plugin>) -> Loaded {
        Loaded {
            plugin,
            name,
            log_name: crate::plugin::log::log_name(name).into(),
            key: name
                .bytes()
                .fold(7, |key: u64, octet| key.wrapping_mul(1_099_511_628_211) ^ u64::from(octet)),
            loglevel: LogShift::Keep,
            speculate: true,
            inline: true,
            reputation: false,
        }
    }

    /// The level of one of its lines.
    pub fn level(&self, level: Level) -> Level {
        match self.loglevel {
            LogShift::Keep => level,
            LogShift::Fixed(fixed) => fixed,
            LogShift::By(by) => level.shifted(by),
        }
    }
}

/// A list of plugins, indexed by hook.
pub struct Chain {
    /// The list's name: `plugins`, or that of the file under `peers/`.
    pub name: Arc<str>,
    plugins: Vec<Loaded>,
    hooks: HookSet,
    recipients_max: usize,
    waits: Option<u64>,
}

impl Chain {
    /// A chain in the order of the list.
    pub fn new(name: &str, plugins: Vec<Loaded>) -> Chain {
        let hooks = Hook::ALL
            .into_iter()
            .filter(|hook| plugins.iter().any(|loaded| loaded.plugin.hooks().has(*hook)))
            .fold(HookSet::default(), HookSet::with);
        let most = plugins.iter().map(|loaded| loaded.plugin.recipients_max()).min();
        let recipients_max = most.unwrap_or(usize::MAX);
        let waits = plugins.iter().find(|loaded| loaded.plugin.waits_for_others());
        let waits = waits.map(|loaded| loaded.key);
        Chain { name: name.into(), plugins, hooks, recipients_max, waits }
    }

    /// The queue that hands messages to somebody who may let us wait, by its key.
    pub fn waits_for_others(&self) -> Option<u64> {
        self.waits
    }

    /// Recipients that a message may have, as far as the queue is concerned.
    pub fn recipients_max(&self) -> usize {
        self.recipients_max
    }

    /// A message for these two can be kept for both or for none.
    pub fn go_together(&self, first: &Address, next: &Address) -> bool {
        self.plugins.iter().all(|loaded| loaded.plugin.goes_with(first, next))
    }

    /// The list for a listener where only users send (RFC 6409): the same without the plugins that judge
    /// what is known of a client's address, which is that of somebody's phone.
    pub fn for_users(&self) -> Arc<Chain> {
        let plugins = self.plugins.iter().filter(|loaded| !loaded.reputation).cloned();
        Arc::new(Chain::new(&self.name, plugins.collect()))
    }

    /// Some plugin implements this hook.
    pub fn has(&self, hook: Hook) -> bool {
        self.hooks.has(hook)
    }

    /// The plugins, in order.
    pub fn plugins(&self) -> &[Loaded] {
        &self.plugins
    }

    /// A plugin of this name is in the list.
    pub fn contains(&self, name: &str) -> bool {
        self.plugins.iter().any(|loaded| loaded.name == name)
    }
}

/// Whoever owns the session: gives plugins their ground and takes what they did.
pub trait Host {
    /// What the next plugin sees.
    fn ground(&self) -> Ground<'_>;

    /// One plugin's run counts.
    fn commit(&mut self, plugin: &Loaded, hook: &'static str, staged: Staged);

    /// A line of the chain itself about a plugin.
    fn note(&mut self, level: Level, hook: &'static str, plugin: &Loaded, text: String);

    /// Monotonic time for measuring runs; the default measures nothing.
    fn stopwatch(&self) -> Duration {
        Duration::ZERO
    }
}

/// qpsmtpd's name of the hook as log lines print it: EHLO and HELO, MAIL and RCPT differ.
pub fn hook_name(hook: Hook, occasion: Occasion<'_>) -> &'static str {
    match (hook, occasion) {
        (Hook::Helo, Occasion::Call(Call::Helo(Hello { esmtp: true, .. }))) => "ehlo",
        (Hook::Address, Occasion::Call(Call::Address(PathOf::Mail, _))) => "mail_pre",
        (Hook::Address, Occasion::Call(Call::Address(PathOf::Rcpt, _))) => "rcpt_pre",
        _ => hook.name(),
    }
}

/// Calls the method of the hook.
pub fn ask(plugin: &dyn Plugin, hook: Hook, cx: &mut Cx<'_>, occasion: Occasion<'_>) -> Hooked {
    let call = match occasion {
        Occasion::Call(call) => Some(call),
        Occasion::Plain => None,
    };
    match (hook, call) {
        (Hook::Accept, _) => plugin.accept(cx),
        (Hook::Connect, _) => plugin.connect(cx),
        (Hook::Greet, _) => plugin.greet(cx),
        (Hook::Helo, Some(Call::Helo(hello))) => plugin.helo(cx, hello),
        (Hook::Auth, Some(Call::Auth(credentials))) => plugin.auth(cx, credentials),
        (Hook::Address, Some(Call::Address(of, raw))) => plugin.address(cx, *of, raw),
        (Hook::Mail, Some(Call::Mail(mail))) => plugin.mail(cx, mail),
        (Hook::Rcpt, Some(Call::Rcpt(recipient))) => plugin.rcpt(cx, recipient),
        (Hook::Data, Some(Call::Data(chunk))) => plugin.data(cx, chunk.is_some()),
        (Hook::Headers, _) => plugin.headers(cx),
        (Hook::Message, _) => plugin.message(cx),
        (Hook::Seal, _) => plugin.seal(cx),
        (Hook::Queue, _) => plugin.queue(cx),
        (Hook::Noop, _) => plugin.noop(cx),
        (Hook::Vrfy, Some(Call::Vrfy(what))) => plugin.vrfy(cx, what),
        (Hook::Help, Some(Call::Help(what))) => plugin.help(cx, what),
        (Hook::Quit, _) => plugin.quit(cx),
        (Hook::Unrecognized, Some(Call::Unrecognized(line))) => plugin.unrecognized(cx, line),
        _ => Ok(Verdict::Unhooked),
    }
}

/// What an observer is told.
#[derive(Clone, Copy)]
pub enum Observed<'a> {
    /// A message was handed over.
    Queued(Queued<'a>),
    /// Somebody has logged in.
    Authenticated,
    /// A plugin refused.
    Denied(Denial<'a>),
    /// A transaction ended.
    Reset,
    /// The connection ends.
    Disconnect,
    /// The connection has ended.
    Closed,
}

impl Observed<'_> {
    /// The hook of it.
    pub fn hook(&self) -> Hook {
        match self {
            Observed::Queued(_) => Hook::Queued,
            Observed::Authenticated => Hook::Authenticated,
            Observed::Denied(_) => Hook::Denied,
            Observed::Reset => Hook::Reset,
            Observed::Disconnect => Hook::Disconnect,
            Observed::Closed => Hook::Closed,
        }
    }
}

/// Calls one observer.
pub fn tell(plugin: &dyn Plugin, cx: &mut Cx<'_>, observed: Observed<'_>) {
    match observed {
        Observed::Queued(queued) => plugin.queued(cx, &queued),
        Observed::Authenticated => plugin.authenticated(cx),
        Observed::Denied(denial) => plugin.denied(cx, &denial),
        Observed::Reset => plugin.reset(cx),
        Observed::Disconnect => plugin.disconnect(cx),
        Observed::Closed => plugin.closed(cx),
    }
}

/// Tells all observers of a chain. They ask nothing and decide nothing, so they run at once.
pub fn observe(chain: &Chain, host: &mut dyn Host, observed: Observed<'_>, now: Moment) {
    let hook = observed.hook();
    if !chain.has(hook) {
        return;
    }
    let memo = Memo::default();
    for loaded in chain.plugins.iter().filter(|loaded| loaded.plugin.hooks().has(hook)) {
        let run = Run {
            plugin: loaded,
            chain: &chain.plugins,
            hook,
            memo: &memo,
            place: Place::Loop,
            closed: true,
            now,
            deadline: now.mono,
        };
        let mut cx = Cx::new(host.ground(), &run);
        let told = catch_unwind(AssertUnwindSafe(|| tell(&*loaded.plugin, &mut cx, observed)));
        let (staged, _) = cx.into_parts();
        if told.is_ok() {
            host.commit(loaded, hook.name(), staged);
        } else {
            note_panic(host, hook.name(), loaded);
        }
    }
}

fn note_panic(host: &mut dyn Host, hook: &'static str, loaded: &Loaded) {
    let text = format!("FATAL PLUGIN ERROR [{}]: the plugin panicked", loaded.log_name);
    host.note(Level::Critical, hook, loaded, text);
}
