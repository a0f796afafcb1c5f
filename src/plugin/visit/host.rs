//! The visit as the plugins' host: what they see of it, and how what they did takes effect.

use crate::mail::edit::Edit;
use crate::plugin::Hook;
use crate::plugin::chain::{Host, Loaded};
use crate::plugin::cx::{Effect, Ground, MessageView, Occasion, Staged};
use crate::plugin::log::{Event, Level, Line};
use crate::plugin::visit::Visit;
use std::sync::Arc;
use std::time::Duration;

impl Host for Visit {
    fn ground(&self) -> Ground<'_> {
        Ground {
            id: self.id,
            peer: &self.peer,
            config: &self.site.config,
            hello: self.session.hello(),
            envelope: self.session.transaction(),
            facts: &self.facts,
            mail_facts: &self.mail_facts,
            notes: &self.notes,
            mail_notes: &self.mail_notes,
            message: self.mail.as_deref().map(|mail| MessageView {
                received: mail.contents.octets(),
                current: &mail.current,
                contents: &mail.contents,
            }),
            arrival: self.arrival.as_ref(),
            occasion: self.session.call().map_or(Occasion::Plain, Occasion::Call),
            connected: self.connected,
            prefetched: &self.prefetched,
        }
    }

    fn commit(&mut self, plugin: &Loaded, hook: &'static str, staged: Staged) {
        if let Some(facts) = staged.facts {
            self.facts = *facts;
        }
        if let Some(facts) = staged.mail_facts {
            self.mail_facts = *facts;
        }
        self.facts.karma += staged.karma;
        if let Some(note) = staged.note {
            self.notes.keep(plugin.key, note);
        }
        if let Some(note) = staged.mail_note {
            self.mail_notes.keep(plugin.key, note);
        }
        for (level, text) in staged.log {
            self.plugin_line(level, hook, plugin, text);
        }
        let mut edits = Vec::new();
        for effect in staged.effects {
            match effect {
                Effect::Edit(edit) => edits.push(edit),
                other => self.take_effect(plugin, hook, other),
            }
        }
        self.edit(plugin, hook, edits);
    }

    fn note(&mut self, level: Level, hook: &'static str, plugin: &Loaded, text: String) {
        self.plugin_line(level, hook, plugin, text);
    }

    fn stopwatch(&self) -> Duration {
        (self.stopwatch)()
    }
}

impl Visit {
    fn plugin_line(&mut self, level: Level, hook: &'static str, plugin: &Loaded, text: String) {
        if level <= self.verbosity {
            let line = Line::plugin(level, self.id, hook, &plugin.log_name, text);
            self.log.push(Event::Line(line));
        }
    }

    fn is_sealed(&mut self, plugin: &Loaded, hook: &'static str) {
        let text = "error, only header fields may be added to a sealed message".to_string();
        self.plugin_line(Level::Error, hook, plugin, text);
    }

    /// Does all edits of a run, or none: a body that is made anew and the type that stands in the header
    /// belong together.
    fn edit(&mut self, plugin: &Loaded, hook: &'static str, mut edits: Vec<Edit>) {
        if hook == Hook::Seal.name() {
            let all = edits.len();
            edits.retain(|edit| matches!(edit, Edit::Insert { .. }));
            if edits.len() < all {
                self.is_sealed(plugin, hook);
            }
        }
        if edits.is_empty() {
            return;
        }
        let Some(mail) = self.mail.as_deref_mut() else {
            self.early_edits.append(&mut edits);
            return;
        };
        if let Err(error) = mail.current.apply(mail.contents.octets(), &edits) {
            let text = format!("error, the message could not be changed: {error:?}");
            self.plugin_line(Level::Error, hook, plugin, text);
        }
    }

    fn take_effect(&mut self, plugin: &Loaded, hook: &'static str, effect: Effect) {
        if hook == Hook::Seal.name() {
            return self.is_sealed(plugin, hook);
        }
        match effect {
            Effect::Record(op) => self.ops.push(op),
            Effect::Report(message) => self.reports.push(*message),
            Effect::Tarpit(delay) => self.tarpit = self.tarpit.saturating_add(delay),
            Effect::Edit(edit) => self.edit(plugin, hook, vec![edit]),
            Effect::AddRecipient(address) => {
                if let Some(transaction) = self.session.transaction_mut() {
                    transaction.recipients.push(address);
                }
            }
            Effect::DeleteRecipient(address) => {
                if let Some(transaction) = self.session.transaction_mut() {
                    transaction.recipients.retain(|recipient| *recipient != address);
                }
            }
            Effect::Redirect(address) => {
                if let Some(transaction) = self.session.transaction_mut() {
                    transaction.recipients = vec![address];
                }
            }
            Effect::SetSender(sender) => {
                if let Some(transaction) = self.session.transaction_mut() {
                    transaction.mail.reverse_path = sender;
                }
            }
            Effect::UseChain(name) => match self.site.list(&name) {
                Some(chain) => self.chain = Arc::clone(chain),
                None => {
                    let text = format!("error, there is no list of plugins named {name}");
                    self.plugin_line(Level::Error, hook, plugin, text);
                }
            },
        }
    }
}
