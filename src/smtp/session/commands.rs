//! The commands: check, ask, proceed.
//!
//! `obey` checks whether a command is legal where it stands and either replies at once or asks;
//! `resume` proceeds with the verdict. Order, limits and the reply codes of each moment are here.

use super::{Call, Env, Hello, MailFrom, PathOf, Session, Sink, State, Tls, Transaction, security};
use crate::limits;
use crate::smtp::address::{self, Address, AddressError};
use crate::smtp::command::{self, Command};
use crate::smtp::proxy;
use crate::smtp::reply::{self, Reply};
use crate::smtp::verdict::Verdict;

impl Session {
    /// One command line, without its CR LF.
    pub(super) fn obey(&mut self, env: &Env<'_>, line: &[u8], sink: &mut dyn Sink) {
        let command = command::parse(line);
        if self.refused.is_some() && command != Command::Quit {
            return self.refuse_service(sink);
        }
        self.count_junk(&command);
        if self.junk > limits::JUNK_COMMANDS_MAX && !env.trusted {
            return self.bye(&reply::TOO_MUCH_JUNK, sink);
        }
        match command {
            Command::Ehlo(name) => self.check_helo(true, name, env, sink),
            Command::Helo(name) => self.check_helo(false, name, env, sink),
            Command::Mail(rest) => self.check_mail(rest, env, sink),
            Command::Rcpt(rest) => self.check_rcpt(rest, env, sink),
            Command::Data => self.check_data(env, sink),
            Command::Bdat { size, last } => self.check_bdat(size, last, env, sink),
            Command::Rset => {
                if self.transaction.is_none() {
                    sink.reset_without_transaction();
                }
                self.end_transaction(sink);
                sink.send(&reply::RESET_OK);
            }
            Command::Noop => self.ask(Call::Noop),
            Command::Vrfy(what) => self.ask(Call::Vrfy(readable(what))),
            Command::Help(what) => self.ask(Call::Help(readable(what))),
            Command::Quit => self.ask(Call::Quit),
            Command::StartTls => self.check_starttls(env, sink),
            Command::Auth(argument) => self.check_auth(argument, env, sink),
            Command::Xclient(argument) => self.check_xclient(argument, env, sink),
            Command::Expn => self.fail(&reply::EXPN_REFUSED, env, sink),
            Command::Http => self.bye(&reply::NOT_HTTP, sink),
            Command::BadBdat => self.bye(&reply::BDAT_SYNTAX, sink),
            Command::Unknown => self.ask(Call::Unrecognized(readable(line))),
            Command::Wrong(reply) => self.fail(reply, env, sink),
        }
    }

    /// The verdict on [`Session::call`]. Without a pending call nothing happens.
    pub fn resume(&mut self, env: &Env<'_>, verdict: &Verdict, sink: &mut dyn Sink) {
        if !matches!(self.state, State::Asking(_)) {
            return;
        }
        let State::Asking(call) = std::mem::replace(&mut self.state, State::Ready) else { return };
        match call {
            Call::Connect => self.greet(verdict, env, sink),
            Call::Helo(hello) => self.helo_judged(hello, verdict, env, sink),
            Call::Auth(credentials) => self.auth_judged(&credentials, verdict, env, sink),
            Call::Address(PathOf::Mail, raw) => self.mail_path(&raw, verdict, env, sink),
            Call::Address(PathOf::Rcpt, raw) => self.rcpt_path(&raw, verdict, env, sink),
            Call::Mail(mail) => self.mail_judged(mail, verdict, env, sink),
            Call::Rcpt(address) => self.rcpt_judged(address, verdict, env, sink),
            Call::Data(chunk) => self.data_judged(chunk, verdict, env, sink),
            Call::Message => self.message_judged(verdict, env, sink),
            Call::Noop => self.simple(&reply::NOOP_OK, verdict, (500, 450), env, sink),
            Call::Vrfy(_) => self.simple(&reply::VRFY_OK, verdict, (554, 450), env, sink),
            Call::Help(_) => self.simple(&reply::HELP, verdict, (500, 450), env, sink),
            Call::Quit => self.quit(verdict, env, sink),
            Call::Unrecognized(_) => self.unrecognized(verdict, env, sink),
        }
    }

    pub(super) fn ask(&mut self, call: Call) {
        self.state = State::Asking(call);
    }

    fn count_junk(&mut self, command: &Command<'_>) {
        let junk = matches!(
            command,
            Command::Ehlo(_)
                | Command::Helo(_)
                | Command::Rset
                | Command::Noop
                | Command::Vrfy(_)
                | Command::Expn
                | Command::Help(_)
        );
        self.junk += u32::from(junk);
    }

    fn refuse_service(&mut self, sink: &mut dyn Sink) {
        let refused = self.refused.unwrap_or_default() + 1;
        self.refused = Some(refused);
        sink.send(&reply::NO_SERVICE);
        if refused >= limits::REFUSED_COMMANDS_MAX {
            self.close(sink);
        }
    }

    fn greet(&mut self, verdict: &Verdict, env: &Env<'_>, sink: &mut dyn Sink) {
        match verdict {
            Verdict::Deny(refusal) => {
                sink.send(&Reply::refusal(554, refusal, env.id));
                self.refused = Some(0);
                if refusal.disconnect {
                    self.close(sink);
                }
            }
            Verdict::DenySoft(refusal) => {
                sink.send(&Reply::refusal(421, refusal, env.id));
                self.close(sink);
            }
            Verdict::Ok(_) | Verdict::Declined | Verdict::Unhooked => {
                sink.send(&Reply::new(220, None, env.rules.greeting.to_string()));
            }
        }
    }

    fn check_helo(&mut self, esmtp: bool, name: &[u8], env: &Env<'_>, sink: &mut dyn Sink) {
        if name.is_empty() {
            let reply = if esmtp { &reply::EHLO_ARGUMENT } else { &reply::HELO_ARGUMENT };
            return self.fail(reply, env, sink);
        }
        if name.len() > limits::DOMAIN_MAX {
            return self.fail(&reply::HELO_SYNTAX, env, sink);
        }
        self.ask(Call::Helo(Hello { esmtp, name: readable(name) }));
    }

    /// A second EHLO starts over (RFC 5321 4.1.4); a refused one leaves things as they were.
    fn helo_judged(&mut self, hello: Hello, verdict: &Verdict, env: &Env<'_>, sink: &mut dyn Sink) {
        if verdict.refusal().is_some() {
            return self.refuse(verdict, (550, 450), env, sink);
        }
        self.end_transaction(sink);
        let mut text = format!("{} Hi {}", env.rules.me, env.who);
        if hello.esmtp {
            for keyword in keywords(env, self.user.is_some()) {
                text.push('\n');
                text.push_str(&keyword);
            }
        } else {
            text.push_str("; I am so happy to meet you.");
        }
        self.hello = Some(Box::new(hello));
        sink.send(&Reply::new(250, None, text));
    }

    fn check_mail(&mut self, rest: &[u8], env: &Env<'_>, sink: &mut dyn Sink) {
        if self.hello.is_none() {
            return self.fail(&reply::HELLO_FIRST, env, sink);
        }
        if env.auth.required && self.user.is_none() {
            return self.fail(&reply::AUTH_REQUIRED, env, sink);
        }
        if self.transaction.is_some() {
            return self.fail(&reply::NESTED_MAIL, env, sink);
        }
        self.ask(Call::Address(PathOf::Mail, rest.into()));
    }

    fn mail_path(&mut self, raw: &[u8], verdict: &Verdict, env: &Env<'_>, sink: &mut dyn Sink) {
        if verdict.refusal().is_some() {
            return self.refuse(verdict, (550, 450), env, sink);
        }
        match parse_mail(replaced(verdict).unwrap_or(raw), env) {
            Ok(mail) => self.ask(Call::Mail(mail)),
            Err(reply) => self.fail(reply, env, sink),
        }
    }

    fn mail_judged(
        &mut self,
        mail: MailFrom,
        verdict: &Verdict,
        env: &Env<'_>,
        sink: &mut dyn Sink,
    ) {
        if verdict.refusal().is_some() {
            return self.refuse(verdict, (550, 450), env, sink);
        }
        let text = format!("{}, sender OK - how exciting to get mail from you!", mail.reverse_path);
        self.transaction = Some(Box::new(Transaction::new(mail)));
        sink.send(&Reply::new(250, Some((1, 0)), text));
    }

    fn check_rcpt(&mut self, rest: &[u8], env: &Env<'_>, sink: &mut dyn Sink) {
        let receiving = self.receiving.is_some();
        let Some(transaction) = &mut self.transaction else {
            return self.fail(&reply::MAIL_BEFORE_RCPT, env, sink);
        };
        if receiving {
            return self.fail(&reply::RCPT_AFTER_BDAT, env, sink);
        }
        if transaction.recipients.len() >= env.most_recipients() {
            transaction.overshoot += 1;
            let overshoot = transaction.overshoot > limits::RECIPIENTS_OVERSHOOT;
            sink.send(&reply::TOO_MANY_RECIPIENTS);
            if overshoot {
                self.count_error(env, sink);
            }
            return;
        }
        self.ask(Call::Address(PathOf::Rcpt, rest.into()));
    }

    fn rcpt_path(&mut self, raw: &[u8], verdict: &Verdict, env: &Env<'_>, sink: &mut dyn Sink) {
        if verdict.refusal().is_some() {
            return self.refuse(verdict, (550, 450), env, sink);
        }
        let utf8 = self.transaction.as_ref().is_some_and(|transaction| transaction.mail.utf8);
        match parse_rcpt(replaced(verdict).unwrap_or(raw), utf8) {
            Ok(address) => self.ask(Call::Rcpt(address)),
            Err(reply) => self.fail(reply, env, sink),
        }
    }

    fn rcpt_judged(
        &mut self,
        address: Address,
        verdict: &Verdict,
        env: &Env<'_>,
        sink: &mut dyn Sink,
    ) {
        match verdict {
            Verdict::Ok(_) => {
                let text = format!("<{address}>, recipient ok");
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients.push(address);
                }
                sink.send(&Reply::new(250, Some((1, 5)), text));
            }
            Verdict::Declined | Verdict::Unhooked => sink.send(&reply::NOBODY_DECIDED),
            Verdict::Deny(_) | Verdict::DenySoft(_) => self.refuse(verdict, (550, 450), env, sink),
        }
    }

    fn simple(
        &mut self,
        reply: &Reply,
        verdict: &Verdict,
        codes: (u16, u16),
        env: &Env<'_>,
        sink: &mut dyn Sink,
    ) {
        match verdict {
            Verdict::Ok(Some(text)) => {
                sink.send(&Reply::new(reply.code, reply.status, text.to_string()));
            }
            Verdict::Ok(None) | Verdict::Declined | Verdict::Unhooked => sink.send(reply),
            Verdict::Deny(_) | Verdict::DenySoft(_) => self.refuse(verdict, codes, env, sink),
        }
    }

    fn quit(&mut self, verdict: &Verdict, env: &Env<'_>, sink: &mut dyn Sink) {
        let text = match verdict {
            Verdict::Ok(Some(text)) => text.to_string(),
            _ => format!("{} closing connection. Have a wonderful day.", env.rules.me),
        };
        sink.send(&Reply::new(221, Some((0, 0)), text));
        self.close(sink);
    }

    fn unrecognized(&mut self, verdict: &Verdict, env: &Env<'_>, sink: &mut dyn Sink) {
        match verdict.refusal() {
            Some(refusal) if refusal.disconnect => self.refuse(verdict, (521, 421), env, sink),
            Some(_) => self.refuse(verdict, (500, 450), env, sink),
            None => self.fail(&reply::UNRECOGNIZED, env, sink),
        }
    }
}

/// What EHLO announces, in a fixed order.
fn keywords(env: &Env<'_>, logged_in: bool) -> Vec<String> {
    let mut keywords = vec!["PIPELINING".to_string(), "8BITMIME".to_string()];
    keywords.push(match env.rules.databytes {
        0 => "SIZE".to_string(),
        databytes => format!("SIZE {databytes}"),
    });
    keywords.push("ENHANCEDSTATUSCODES".to_string());
    keywords.push("CHUNKING".to_string());
    if env.rules.smtputf8 {
        keywords.push("SMTPUTF8".to_string());
    }
    keywords.push(format!("LIMITS RCPTMAX={}", env.most_recipients()));
    if env.tls == Tls::Offered {
        keywords.push("STARTTLS".to_string());
    }
    if env.proxy {
        keywords.push(format!("XCLIENT {}", proxy::ATTRIBUTES));
    }
    let mechanisms = security::offered(env);
    if !mechanisms.is_empty() && !logged_in {
        let names: Vec<&str> = mechanisms.iter().map(|mechanism| mechanism.name()).collect();
        keywords.push(format!("AUTH {}", names.join(" ")));
    }
    keywords
}

fn replaced(verdict: &Verdict) -> Option<&[u8]> {
    match verdict {
        Verdict::Ok(Some(text)) => Some(text.as_bytes()),
        _ => None,
    }
}

/// RFC 5321 4.1.1.2 with the parameters of RFC 1870, 6152 and 6531; unknown ones are 555.
fn parse_mail(raw: &[u8], env: &Env<'_>) -> Result<MailFrom, &'static Reply> {
    let fault = |error| path_fault(error, &reply::MAIL_SYNTAX);
    let (path, rest) = address::split_path(raw).map_err(fault)?;
    let parameters = address::parameters(rest).map_err(|_| &reply::PARAMETER_SYNTAX)?;
    let mut mail = MailFrom {
        reverse_path: address::ReversePath::Null,
        size: None,
        eight_bit: false,
        utf8: false,
    };
    let mut seen = 0_u8;
    for parameter in &parameters {
        let keyword = parameter.keyword.to_ascii_uppercase();
        let bit = match (keyword.as_slice(), parameter.value) {
            (b"SIZE", Some(value)) => {
                let size = command::decimal(value).ok_or(&reply::PARAMETER_SYNTAX)?;
                mail.size = Some(size);
                1
            }
            (b"BODY", Some(value)) if value.eq_ignore_ascii_case(b"8BITMIME") => {
                mail.eight_bit = true;
                2
            }
            (b"BODY", Some(value)) if value.eq_ignore_ascii_case(b"7BIT") => 2,
            (b"SMTPUTF8", None) if env.rules.smtputf8 => {
                mail.utf8 = true;
                4
            }
            (b"AUTH", Some(value)) if !env.auth.mechanisms.is_empty() => {
                // Whoever is named there, we believe only who has logged in (RFC 4954 section 5).
                security::is_xtext(value).then_some(8).ok_or(&reply::PARAMETER_SYNTAX)?
            }
            (b"SIZE", None) | (b"BODY", _) => return Err(&reply::PARAMETER_SYNTAX),
            (b"SMTPUTF8", Some(_)) if env.rules.smtputf8 => return Err(&reply::PARAMETER_SYNTAX),
            _ => return Err(&reply::PARAMETER_UNKNOWN),
        };
        if seen & bit != 0 {
            return Err(&reply::PARAMETER_SYNTAX);
        }
        seen |= bit;
    }
    mail.reverse_path = address::parse_reverse(path, mail.utf8).map_err(fault)?;
    match mail.size {
        Some(size) if env.rules.databytes != 0 && size > env.rules.databytes => {
            Err(&reply::TOO_BIG)
        }
        _ => Ok(mail),
    }
}

/// RFC 5321 4.1.1.3. No RCPT parameter is offered, so each is 555.
fn parse_rcpt(raw: &[u8], utf8: bool) -> Result<Address, &'static Reply> {
    let fault = |error| path_fault(error, &reply::RCPT_SYNTAX);
    let (path, rest) = address::split_path(raw).map_err(fault)?;
    let parameters = address::parameters(rest).map_err(|_| &reply::PARAMETER_SYNTAX)?;
    let address = address::parse_forward(path, utf8).map_err(fault)?;
    if parameters.is_empty() { Ok(address) } else { Err(&reply::PARAMETER_UNKNOWN) }
}

fn path_fault(error: AddressError, syntax: &'static Reply) -> &'static Reply {
    match error {
        AddressError::NoBrackets | AddressError::Syntax(_) => syntax,
        AddressError::TooLong(_) => &reply::PATH_TOO_LONG,
        AddressError::NeedsUtf8 => &reply::NEEDS_SMTPUTF8,
    }
}

/// Foreign octets as text: what is not printable ASCII becomes `?`.
pub(super) fn readable(octets: &[u8]) -> Box<str> {
    let printable =
        |octet: &u8| if matches!(octet, b' '..=b'~') { char::from(*octet) } else { '?' };
    octets.iter().map(printable).collect::<String>().into()
}
