//! Behind the end of data: the message is opened, judged, given our fields, and handed over.
//!
//! The order of the header fields at the top is qpsmtpd's: what plugins of `message` insert, then
//! Authentication-Results, Received, and what plugins of earlier hooks inserted. Foreign
//! Authentication-Results that claim our name are removed before anybody looks, all of them.

use crate::config::VERSION;
use crate::limits::RECEIVED_MAX;
use crate::mail::edit::{Current, Edit};
use crate::mail::headers::HeaderError;
use crate::mail::{authres, date, received};
use crate::plugin::Queued;
use crate::plugin::chain::{Chain, Observed, observe};
use crate::plugin::content::Contents;
use crate::plugin::cx::Moment;
use crate::plugin::log::Level;
use crate::plugin::visit::Visit;
use crate::plugin::{Hook, log};
use crate::smtp::reply::{self, Reply};
use crate::smtp::verdict::Verdict;
use std::sync::Arc;

/// A complete message.
pub(super) struct Mail {
    pub(super) contents: Contents,
    pub(super) current: Current,
}

impl Visit {
    /// What the core does before each of the message's hooks; a verdict ends it there.
    pub(super) fn before_message_hook(&mut self, hook: Hook, now: Moment) -> Option<Verdict> {
        match hook {
            Hook::Headers => self.open_message(now).err(),
            Hook::Message => self.add_trace(now).err(),
            Hook::Queue => self.discarded(now),
            _ => None,
        }
    }

    /// Indexes the header, checks the bounds, removes forged results.
    fn open_message(&mut self, now: Moment) -> Result<(), Verdict> {
        let Some(intake) = self.intake.take() else {
            return Err(verdict_of(&reply::LOCAL_ERROR));
        };
        let contents = intake.finish().map_err(|error| {
            self.line(Level::Error, format!("cannot read the spooled message: {error}"));
            verdict_of(&reply::NO_SPACE).for_storage()
        })?;
        let octets = contents.octets();
        let mut current = Current::new(octets).map_err(|error| match error {
            HeaderError::TooLarge | HeaderError::TooManyFields => {
                verdict_of(&reply::HEADERS_TOO_LARGE)
            }
        })?;
        let header = current.header(octets);
        if current.headers().count(header, "Received") >= RECEIVED_MAX {
            return Err(verdict_of(&reply::TOO_MANY_HOPS));
        }
        let mut edits = authres::strip(current.headers(), header, &self.site.config.rules.me);
        if !edits.is_empty() {
            let words = format!("removed {} forged Authentication-Results", edits.len());
            self.line(Level::Notice, words);
        }
        edits.append(&mut self.complete(&current, octets, now));
        edits.append(&mut self.early_edits);
        if !edits.is_empty() && current.apply(octets, &edits).is_err() {
            return Err(verdict_of(&reply::HEADERS_TOO_LARGE));
        }
        self.mail = Some(Box::new(Mail { contents, current }));
        Ok(())
    }

    /// Received and Authentication-Results.
    fn add_trace(&mut self, now: Moment) -> Result<(), Verdict> {
        let me = &self.site.config.rules.me;
        let hello = self.session.hello();
        let mut results = vec![self.auth_result()];
        results.extend(self.mail_facts.auth_results.iter().cloned());
        let version = format!("mailreeve-{VERSION}");
        let tls = self.facts.tls.as_deref().map(|tls| format!("{} {}", tls.version, tls.cipher));
        let trace = received::Trace {
            remote_info: self.peer.shown_name(),
            helo: hello.map(|hello| &*hello.name),
            ip: self.peer.ip,
            me,
            version: &version,
            esmtp: hello.is_some_and(|hello| hello.esmtp),
            tls: tls.as_deref(),
            client: self.client_certificate(),
            auth_user: self.facts.user.as_deref(),
            utf8: self.session.transaction().is_some_and(|transaction| transaction.mail.utf8),
            unix: now.unix_seconds(),
            offset: now.utc_offset,
        };
        let edits = [
            Edit::Insert { name: "Received".into(), value: received::received(&trace) },
            Edit::Insert { name: authres::NAME.into(), value: authres::build(me, &results) },
        ];
        let Some(mail) = self.mail.as_deref_mut() else {
            return Err(verdict_of(&reply::LOCAL_ERROR));
        };
        let applied = mail.current.apply(mail.contents.octets(), &edits);
        applied.map_err(|_| verdict_of(&reply::HEADERS_TOO_LARGE))
    }

    /// How the client logged in, for Authentication-Results (RFC 8601 section 2.7.4).
    fn auth_result(&self) -> String {
        let tls = |before: &str| match self.facts.tls.as_deref() {
            Some(tls) => format!("{before}{} {}", tls.version, tls.cipher),
            None => String::new(),
        };
        match (&self.facts.user, self.facts.mechanism) {
            (Some(user), Some(mechanism)) => {
                let mechanism = mechanism.to_ascii_lowercase();
                let user = authres::quote(user);
                format!("auth=pass ({mechanism}{}) smtp.auth={user}", tls(", "))
            }
            _ if self.login_failures > 0 => "auth=fail () smtp.auth=".to_string(),
            _ if self.facts.tls.is_some() => format!("auth=none ({})", tls("")),
            _ => "auth=none".to_string(),
        }
    }

    /// The name in a client's certificate that our CA has signed.
    fn client_certificate(&self) -> Option<&str> {
        let client = self.facts.tls.as_deref()?.client.as_ref()?;
        client.trusted.then_some(&*client.name)
    }

    /// What RFC 6409 (section 8) lets a submission server add for a mail program that has left it out.
    fn complete(&self, current: &Current, octets: &[u8], now: Moment) -> Vec<Edit> {
        if !self.facts.role.submission || self.facts.user.is_none() {
            return Vec::new();
        }
        let header = current.header(octets);
        let lacks = |name: &str| current.headers().count(header, name) == 0;
        let mut edits = Vec::new();
        if lacks("Date") {
            let value = date::format(now.unix_seconds(), now.utc_offset);
            edits.push(Edit::Append { name: "Date".into(), value });
        }
        if lacks("Message-ID") {
            let me = &self.site.config.rules.me;
            let value = format!("<{}.{}@{me}>", self.id, self.messages.saturating_add(1));
            edits.push(Edit::Append { name: "Message-ID".into(), value });
        }
        edits
    }

    /// A message that a plugin threw away, or that nobody is left to get, is accepted here.
    fn discarded(&mut self, now: Moment) -> Option<Verdict> {
        let nobody =
            self.session.transaction().is_none_or(|transaction| transaction.recipients.is_empty());
        let why = match &self.mail_facts.discard {
            Some(why) => log::foreign(why.as_bytes()),
            None if nobody => "no recipient is left".to_string(),
            None => return None,
        };
        self.line(Level::Notice, format!("message discarded: {why}"));
        let chain = Arc::clone(&self.chain);
        let queued = Queued { plugin: "discarded", text: "Queued!" };
        observe(&chain, self, Observed::Queued(queued), now);
        Some(Verdict::Ok(Some("Queued!".into())))
    }

    pub(super) fn tell_queued(&mut self, chain: &Arc<Chain>, who: usize, text: &str, now: Moment) {
        let Some(loaded) = chain.plugins().get(who) else { return };
        let plugin = Arc::clone(&loaded.log_name);
        observe(chain, self, Observed::Queued(Queued { plugin: &plugin, text }), now);
    }
}

/// A reply of the core as a verdict, for the machine to say.
fn verdict_of(reply: &Reply) -> Verdict {
    let status = reply.status.unwrap_or((3, 0));
    let text = reply.text.to_string();
    if reply.is_permanent() {
        Verdict::deny(status, text)
    } else {
        Verdict::deny_soft(status, text)
    }
}
