//! What a hook sees of session, message and world, and what it can do ([`Cx`]).
//!
//! Everything done through a `Cx` is staged: it takes effect when the run commits, and is thrown away
//! when an answer was missing. Effects are operations that can be applied in any order (add to the
//! karma, insert a field), never a value that was read and is written back.

use crate::authn;
use crate::config::Config;
use crate::dns;
use crate::mail::edit::Edit;
use crate::mail::new_body::NewBody;
use crate::plugin::facts::{Facts, Immunity, MailFacts, Naughty, RejectType};
use crate::plugin::log::{Id, Level};
use crate::plugin::lookup::{Asked, Lookup, Resolver, of_resolver};
use crate::plugin::policy::{Policy, Reject};
use crate::plugin::question::{Answer, Lane, Memo, Pending, Place, Question, Token};
use crate::plugin::{Hook, chain::Loaded};
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::session::{Hello, Transaction};
use crate::smtp::verdict::Verdict;
use crate::store::{Op, Unavailable, reports::Judged};
use std::time::Duration;
use std::{any::Any, cell::RefCell};

pub use crate::plugin::ground::{
    Arrival, Effect, Ground, MessageView, Moment, Occasion, Peer, Staged,
};

/// A record of the store, None where there is none, or that the store cannot say.
pub type Recalled = Result<Option<Box<[u8]>>, Unavailable>;

/// How one run of one plugin is made.
pub(super) struct Run<'a> {
    pub(super) plugin: &'a Loaded,
    pub(super) chain: &'a [Loaded],
    pub(super) hook: Hook,
    pub(super) memo: &'a Memo,
    pub(super) place: Place<'a>,
    pub(super) closed: bool,
    pub(super) now: Moment,
    pub(super) deadline: Duration,
}

/// The hook's window on the session, the message and the world.
pub struct Cx<'a> {
    ground: Ground<'a>,
    plugin: &'a Loaded,
    chain: &'a [Loaded],
    pub(super) lookup: Lookup<'a>,
    now: Moment,
    hook: Hook,
    random: u64,
    staged: Staged,
}

impl<'a> Cx<'a> {
    pub(super) fn new(ground: Ground<'a>, run: &Run<'a>) -> Cx<'a> {
        let seed = mix(ground.id.0 ^ run.plugin.key) ^ run.hook as u64;
        let lookup = Lookup {
            memo: run.memo,
            prefetched: ground.prefetched,
            place: run.place,
            closed: run.closed,
            deadline: run.deadline,
            asked: RefCell::default(),
        };
        Cx {
            ground,
            plugin: run.plugin,
            chain: run.chain,
            lookup,
            now: run.now,
            hook: run.hook,
            random: mix(seed ^ u64::from(run.now.mono.subsec_nanos())),
            staged: Staged::default(),
        }
    }

    /// A window for tests that call a plugin directly.
    #[cfg(test)]
    pub(crate) fn new_for_tests(
        ground: Ground<'a>,
        plugin: &'a Loaded,
        place: Place<'a>,
    ) -> Cx<'a> {
        let run = Run {
            plugin,
            chain: std::slice::from_ref(plugin),
            hook: Hook::Connect,
            memo: ground.prefetched,
            place,
            closed: false,
            now: Moment::default(),
            deadline: Duration::MAX,
        };
        Cx::new(ground, &run)
    }

    /// The plugin does not implement the observer that was called.
    #[cfg(test)]
    pub(crate) fn was_not_hooked(&self) -> bool {
        self.staged.not_hooked
    }

    pub(super) fn into_parts(self) -> (Staged, Asked) {
        (self.staged, self.lookup.asked.into_inner())
    }

    /// The plugins of the list that it runs in.
    pub(super) fn chain(&self) -> &'a [Loaded] {
        self.chain
    }

    // ------------------------------------------------------------------ what it sees

    /// The client's end of the connection.
    pub fn peer(&self) -> &'a Peer {
        self.ground.peer
    }

    /// The configuration that this session keeps.
    pub fn config(&self) -> &'a Config {
        self.ground.config
    }

    /// How the client introduced itself, once that was accepted.
    pub fn hello(&self) -> Option<&'a Hello> {
        self.ground.hello
    }

    /// The envelope, between an accepted MAIL and the end of the transaction.
    pub fn envelope(&self) -> Option<&'a Transaction> {
        self.ground.envelope
    }

    /// The message, from the hook `headers` on.
    pub fn message(&self) -> Option<MessageView<'a>> {
        self.ground.message
    }

    /// What was known when the client was accepted; None outside the daemon.
    pub fn arrival(&self) -> Option<&'a Arrival> {
        self.ground.arrival
    }

    /// When the client connected.
    pub fn connected(&self) -> Moment {
        self.ground.connected
    }

    /// Findings about the connection, this run's own included.
    pub fn facts(&self) -> &Facts {
        self.staged.facts.as_deref().unwrap_or(self.ground.facts)
    }

    /// Findings about the message, this run's own included.
    pub fn mail_facts(&self) -> &MailFacts {
        self.staged.mail_facts.as_deref().unwrap_or(self.ground.mail_facts)
    }

    /// The client may relay.
    pub fn may_relay(&self) -> bool {
        self.facts().relay
    }

    /// The connection's ID, as in logs and replies.
    pub fn id(&self) -> Id {
        self.ground.id
    }

    /// The time at which this hook first ran. It stands still while the hook waits.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// A random number; the same sequence in each run of the hook.
    pub fn random(&mut self) -> u64 {
        self.random = mix(self.random);
        self.random
    }

    /// Exempt from reputation and content checks? Logs `skip, …` if so, as qpsmtpd's `is_immune`
    /// does. It says nothing about the right to relay.
    pub fn skip_immune(&mut self) -> bool {
        let immune = self.facts().immune.or(self.mail_facts().immune);
        let words = match immune {
            _ if self.may_relay() => "relay client",
            Some(immunity) => immunity.words(),
            None => return false,
        };
        self.log(Level::Info, format!("skip, {words}"));
        true
    }

    /// This plugin's note on the connection.
    pub fn note<T: Any>(&self) -> Option<&'a T> {
        self.ground.notes.find(self.plugin.key)
    }

    /// This plugin's note on the transaction.
    pub fn mail_note<T: Any>(&self) -> Option<&'a T> {
        self.ground.mail_notes.find(self.plugin.key)
    }

    // ------------------------------------------------------------------ what it asks

    /// Asks the resolver.
    ///
    /// # Errors
    /// [`Pending`] while the answer is missing.
    pub fn dns(&self, question: dns::Question) -> Result<dns::Answer, Pending> {
        Ok(of_resolver(&*self.lookup.find(Question::Dns(question))?))
    }

    /// Asks the resolver several things at once, so that the questions go out together.
    ///
    /// # Errors
    /// [`Pending`] while any answer is missing.
    pub fn dns_all(
        &self,
        questions: impl IntoIterator<Item = dns::Question>,
    ) -> Result<Vec<dns::Answer>, Pending> {
        let questions: Vec<_> = questions.into_iter().map(Question::Dns).collect();
        let answers = self.lookup.find_all(&questions)?;
        Ok(answers.iter().map(|answer| of_resolver(answer)).collect())
    }

    /// The resolver, as the checks of [`crate::authn`] want it.
    pub fn lookup(&self) -> impl authn::Lookup<Missing = Pending> + use<'_, 'a> {
        Resolver(self)
    }

    /// Reads the store. `Err(Pending)` while missing; `Ok(None)` where nothing is stored **or** the
    /// store cannot say: a check on the past then skips.
    ///
    /// # Errors
    /// [`Pending`] while the answer is missing.
    pub fn stored(&self, table: &'static str, key: &str) -> Result<Option<Box<[u8]>>, Pending> {
        Ok(self.recall(table, key)?.unwrap_or_default())
    }

    /// The same for checks that must tell a store without such a record from one that cannot say.
    ///
    /// # Errors
    /// [`Pending`] while the answer is missing.
    pub fn recall(&self, table: &'static str, key: &str) -> Result<Recalled, Pending> {
        match &*self.lookup.find(Question::Store(table, key.into()))? {
            Answer::Stored(value) => Ok(Ok(value.clone())),
            _ => Ok(Err(Unavailable)),
        }
    }

    /// Does the client keep quiet for this long? True also where nobody could say.
    ///
    /// # Errors
    /// [`Pending`] while the wait lasts.
    pub fn quiet(&self, duration: Duration) -> Result<bool, Pending> {
        Ok(*self.lookup.find(Question::Quiet(duration))? != Answer::Talked)
    }

    /// Asks for a place where blocking is allowed. The hook runs again there, once, so ask for one lane
    /// only, after all questions and whatever can be decided without it. [`Lane::Workers`] is for pure
    /// work that takes long: there nothing may block.
    ///
    /// # Errors
    /// [`Pending`] everywhere else.
    pub fn lane(&self, lane: Lane) -> Result<Token<'a>, Pending> {
        self.lookup.lane(lane)
    }

    /// Asks ahead of time, without waiting: a later hook will find the answer.
    pub fn want(&self, question: dns::Question) {
        self.lookup.want(Question::Dns(question));
    }

    // ------------------------------------------------------------------ what it does

    /// Logs one line in qpsmtpd's grammar: begin with `pass`, `fail`, `skip`, `error` or `info`.
    /// Foreign text must have gone through [`crate::plugin::log::foreign`].
    pub fn log(&mut self, level: Level, text: impl Into<String>) {
        self.staged.log.push((self.plugin.level(level), text.into()));
    }

    /// Adds to the connection's score and logs `karma n (total)`.
    pub fn karma(&mut self, points: i32) {
        self.staged.karma += points;
        let total = self.ground.facts.karma + self.staged.karma;
        self.log(Level::Info, format!("karma {points} ({total})"));
    }

    /// Applies the admin's policy to a failed check: tolerates it, remembers it, or refuses.
    /// `status` is subject and detail of the enhanced status code, `text` is for the client, `words`
    /// for the log.
    ///
    /// A check of address or HELO (hooks `connect`, `greet`, `helo`) with `reject 1` condemns, and the
    /// chain refuses at RCPT: until then a user may log in, which clears it. `reject connect` refuses
    /// at the greeting.
    pub fn reject(
        &mut self,
        policy: &Policy,
        status: (u16, u16),
        text: &str,
        words: &str,
    ) -> Verdict {
        let tail = if words.is_empty() { String::new() } else { format!(", {words}") };
        match policy.reject {
            Reject::Never => {
                self.log(Level::Info, format!("fail, tolerated{tail}"));
                Verdict::Declined
            }
            Reject::Naughty => {
                self.log(Level::Info, format!("fail, NAUGHTY{tail}"));
                self.condemn(policy.reject_type, text);
                Verdict::Declined
            }
            Reject::Now if matches!(self.hook, Hook::Connect | Hook::Greet | Hook::Helo) => {
                self.log(Level::Info, format!("fail, NAUGHTY{tail}"));
                self.condemn(policy.reject_type, text);
                if let Some(naughty) = &mut self.facts_mut().naughty {
                    naughty.due = true;
                }
                Verdict::Declined
            }
            Reject::Now | Reject::Connect => {
                self.log(Level::Info, format!("fail{tail}"));
                policy.reject_type.verdict(status, text)
            }
        }
    }

    /// The same for checks that are about this very moment, such as talking too early: `reject 1`
    /// refuses at once, also before RCPT.
    pub fn reject_at_once(
        &mut self,
        policy: &Policy,
        status: (u16, u16),
        text: &str,
        words: &str,
    ) -> Verdict {
        let reject = match policy.reject {
            Reject::Now => Reject::Connect,
            other => other,
        };
        self.reject(&Policy { reject, ..*policy }, status, text, words)
    }

    /// Remembers a refusal for the plugin `naughty`.
    pub fn condemn(&mut self, reject_type: RejectType, text: &str) {
        let text = format!("({}) {text}", self.plugin.log_name);
        let facts = self.facts_mut();
        match &mut facts.naughty {
            Some(naughty) if naughty.texts.len() < 16 => naughty.texts.push(text),
            Some(_) => {}
            None => {
                facts.naughty =
                    Some(Box::new(Naughty { texts: vec![text], reject_type, due: false }));
            }
        }
    }

    /// Changes what is known about the connection.
    pub fn facts_mut(&mut self) -> &mut Facts {
        self.staged.facts.get_or_insert_with(|| Box::new(self.ground.facts.clone()))
    }

    /// Changes what is known about the message.
    pub fn mail_facts_mut(&mut self) -> &mut MailFacts {
        self.staged.mail_facts.get_or_insert_with(|| Box::new(self.ground.mail_facts.clone()))
    }

    /// The client's address or user has the right to relay, or loses it.
    pub fn set_relay(&mut self, relay: bool) {
        self.facts_mut().relay = relay;
    }

    /// Exempts the host from content and reputation checks; relaying stays as it is.
    pub fn exempt_host(&mut self) {
        self.facts_mut().immune = Some(Immunity::WhitelistedHost);
    }

    /// Exempts this message from content and reputation checks; relaying stays as it is.
    pub fn exempt_sender(&mut self) {
        self.mail_facts_mut().immune = Some(Immunity::WhitelistedSender);
    }

    /// Adds a result to our Authentication-Results field (RFC 8601).
    pub fn auth_result(&mut self, result: impl Into<String>) {
        self.mail_facts_mut().auth_results.push(result.into());
    }

    /// Adds to a named score of the message.
    pub fn score(&mut self, name: &'static str, points: i32) {
        self.mail_facts_mut().scores.push((name, points));
    }

    /// Keeps this plugin's note on the connection.
    pub fn keep_note<T: Any + Send + Clone>(&mut self, note: T) {
        self.staged.note = Some(Box::new(note));
    }

    /// Keeps this plugin's note on the transaction.
    pub fn keep_mail_note<T: Any + Send + Clone>(&mut self, note: T) {
        self.staged.mail_note = Some(Box::new(note));
    }

    /// Changes a record of the store. Reads see it from now on.
    pub fn record(&mut self, op: Op) {
        self.stage(Effect::Record(op));
    }

    /// Adds the message to the reports that domains with a DMARC policy get.
    pub fn report(&mut self, message: Judged) {
        self.stage(Effect::Report(Box::new(message)));
    }

    /// Delays the next reply.
    pub fn tarpit(&mut self, delay: Duration) {
        self.stage(Effect::Tarpit(delay));
    }

    /// Inserts a header field at the top.
    pub fn insert_header(&mut self, name: &str, value: &str) {
        self.stage(Effect::Edit(Edit::Insert { name: name.into(), value: value.into() }));
    }

    /// Changes the message in a way that has no method of its own.
    pub fn edit(&mut self, edit: Edit) {
        self.stage(Effect::Edit(edit));
    }

    /// Deletes header fields of this name: the nth, or all.
    pub fn delete_header(&mut self, name: &str, nth: Option<usize>) {
        self.stage(Effect::Edit(Edit::Delete { name: name.into(), nth }));
    }

    /// Gives the nth header field of this name another value.
    pub fn change_header(&mut self, name: &str, nth: usize, value: &str) {
        self.stage(Effect::Edit(Edit::Change { name: name.into(), nth, value: value.into() }));
    }

    /// Replaces the body. A large one is kept in a spool file (see [`Cx::draft`]).
    pub fn replace_body(&mut self, body: NewBody) {
        self.stage(Effect::Edit(Edit::ReplaceBody(body)));
    }

    /// Adds a recipient.
    pub fn add_recipient(&mut self, recipient: Address) {
        self.stage(Effect::AddRecipient(recipient));
    }

    /// Removes a recipient.
    pub fn delete_recipient(&mut self, recipient: Address) {
        self.stage(Effect::DeleteRecipient(recipient));
    }

    /// Sends the message to another recipient instead of all.
    pub fn redirect(&mut self, recipient: Address) {
        self.stage(Effect::Redirect(recipient));
    }

    /// Replaces the reverse-path.
    pub fn set_sender(&mut self, sender: ReversePath) {
        self.stage(Effect::SetSender(sender));
    }

    /// Accepts the message and throws it away.
    pub fn discard(&mut self, why: &str) {
        self.mail_facts_mut().discard = Some(why.to_string());
    }

    /// Marks the message to be looked at before it is read: a field `X-Quarantine` says why.
    pub fn quarantine(&mut self, why: &str) {
        self.mail_facts_mut().quarantine = Some(why.to_string());
        self.insert_header("X-Quarantine", why);
    }

    /// From the next hook on, another list of plugins serves this client.
    pub fn use_chain(&mut self, list: &str) {
        self.stage(Effect::UseChain(list.to_string()));
    }

    /// The default of an observer that a plugin does not implement.
    pub(super) fn not_hooked(&mut self) {
        self.staged.not_hooked = true;
    }

    fn stage(&mut self, effect: Effect) {
        self.staged.effects.push(effect);
    }
}

/// One step of splitmix64: cheap, and good enough to spread choices.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
