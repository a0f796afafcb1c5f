//! What plugins share that speak with the next server: where it is, how a message and its envelope are
//! written to it, how it is kept from others, and how its answers become ours.

use crate::client::smtp::forward::{Mail, Outcome, Policy, Secure};
use crate::client::smtp::reply::Reply;
use crate::client::smtp::tls::Tls;
use crate::config::routes::Server;
use crate::config::smtpauth::Logins;
use crate::dns::{Answer, Kind, Question};
use crate::plugin::cx::MessageView;
use crate::plugin::log::{Level, foreign};
use crate::plugin::program::refusal;
use crate::plugin::site::Setup;
use crate::plugin::{Args, Cx, Pending, Verdict};
use crate::smtp::address::Address;
use crate::smtp::session::Transaction;
use std::net::{IpAddr, SocketAddr};

/// Where a server is; the inner error says in words why nobody knows.
///
/// # Errors
/// [`Pending`] while the answers are missing.
pub fn addresses(
    cx: &Cx<'_>,
    server: &Server,
) -> Result<Result<Vec<SocketAddr>, &'static str>, Pending> {
    let port = server.port;
    if let Some(ip) = server.address() {
        return Ok(Ok(vec![SocketAddr::new(ip, port)]));
    }
    let questions = [Kind::A, Kind::Aaaa].map(|kind| Question::new(&server.host, kind));
    let answers = cx.dns_all(questions)?;
    let found: Vec<IpAddr> = answers.iter().flat_map(Answer::addresses).collect();
    if !found.is_empty() {
        return Ok(Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()));
    }
    let unknown = answers.iter().any(|answer| match answer {
        Answer::TempFail => true,
        Answer::Found(_) | Answer::NoData | Answer::NxDomain => false,
    });
    Ok(Err(if unknown { "its address cannot be looked up now" } else { "it has no address" }))
}

/// The address in angle brackets, its domain in A-labels, which every server understands.
pub fn path(address: &Address) -> String {
    let shown = address.to_string();
    match address.domain() {
        "" => format!("<{shown}>"),
        domain => {
            let local = shown.rsplit_once('@').map_or(&*shown, |(local, _)| local);
            format!("<{local}@{domain}>")
        }
    }
}

/// Where systems keep the certificates of the CAs that they trust: Debian, Red Hat, Alpine.
const CA_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// How next servers are spoken with: the arguments `tls` and `ca`, and the file `smtpauth`.
pub struct Protection {
    policy: Option<Policy>,
    logins: Logins,
    anybody: Option<Tls>,
    trusted: Option<Tls>,
}

impl Protection {
    /// Reads arguments and file. The CAs are read only where some server has to be verified.
    pub fn load(args: &mut Args, setup: &Setup<'_>) -> Protection {
        let policy = args.named("tls").and_then(|word| match word.as_str() {
            "off" => Some(Policy::Off),
            "may" => Some(Policy::May),
            "required" => Some(Policy::Required),
            "verify" => Some(Policy::Verify),
            _ => {
                args.complain(format!("tls {word}: give off, may, required or verify"));
                None
            }
        });
        let lines = setup.lines("smtpauth");
        let logins = setup.with_problems(|problems| Logins::load(&lines, problems));
        let ca = args.named("ca");
        let anybody =
            Tls::with_anybody().map_err(|what| args.complain(format!("tls: {what}"))).ok();
        let verifies = match policy {
            None => logins.hosts().any(|host| !is_near(host)),
            Some(policy) => policy == Policy::Verify,
        };
        let trusted = verifies.then(|| match trusted(ca.as_deref(), setup) {
            Ok(tls) => Some(tls),
            Err(what) => {
                args.complain(what);
                None
            }
        });
        Protection { policy, logins, anybody, trusted: trusted.flatten() }
    }

    /// How this server is spoken with. Who logs in at another machine has to know it.
    pub fn of<'a>(&'a self, host: &'a str, servers: &[SocketAddr]) -> Secure<'a> {
        let login = self.logins.find(host);
        let is_far = !servers.iter().all(|server| server.ip().is_loopback());
        let usual = if login.is_some() && is_far { Policy::Verify } else { Policy::May };
        let policy = self.policy.unwrap_or(usual);
        let believed = if policy == Policy::Verify { &self.trusted } else { &self.anybody };
        Secure { host, policy, tls: believed.as_ref(), login }
    }
}

/// The server is this machine.
fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Trust in the CAs of this file, or of the first of the system's that is there.
fn trusted(ca: Option<&str>, setup: &Setup<'_>) -> Result<Tls, String> {
    let (path, text) = match ca {
        Some(path) => (path, setup.system(path)),
        None => {
            let mut found = CA_FILES.map(|path| (path, setup.system(path))).into_iter();
            found.find(|(_, text)| !text.is_empty()).unwrap_or_default()
        }
    };
    match text.as_str() {
        "" if ca.is_none() => {
            Err("tls: this system has no file of CA certificates; name one with \
                                   `ca FILE`, or write `tls required`"
                .into())
        }
        "" => Err(format!("ca {path}: it cannot be read, or is empty")),
        text => Tls::trusting(text).map_err(|what| format!("ca {path}: {what}")),
    }
}

/// A message and its envelope as a server is given them.
pub struct Letter<'a> {
    sender: String,
    recipients: Vec<String>,
    utf8: bool,
    eight_bit: bool,
    parts: [&'a [u8]; 3],
    id: String,
}

impl<'a> Letter<'a> {
    /// Writes it.
    pub fn new(envelope: &Transaction, message: &MessageView<'a>) -> Letter<'a> {
        let sender = envelope.mail.reverse_path.address();
        let foreign = |address: &Address| !address.local().is_ascii();
        let header = message.current.header(message.received);
        Letter {
            sender: sender.map_or_else(|| "<>".to_string(), path),
            recipients: envelope.recipients.iter().map(path).collect(),
            // A client that declares UTF-8 and has none in addresses and header needs nothing.
            utf8: envelope.recipients.iter().chain(sender).any(foreign)
                || (envelope.mail.utf8 && !header.is_ascii()),
            eight_bit: envelope.mail.eight_bit,
            parts: message.current.parts(message.received),
            id: message.message_id(),
        }
    }

    /// As the client that hands it over wants it.
    pub fn mail(&self) -> Mail<'_> {
        Mail {
            sender: &self.sender,
            recipients: &self.recipients,
            utf8: self.utf8,
            eight_bit: self.eight_bit,
            parts: &self.parts,
        }
    }

    /// The Message-ID in angle brackets.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What log and client are told of an outcome at `server`; `queued` is the text for a message that it
/// has.
pub fn told(
    cx: &mut Cx<'_>,
    server: &str,
    letter: &Letter<'_>,
    outcome: Outcome,
    queued: impl FnOnce(&Reply) -> String,
) -> Verdict {
    let shown = foreign(server.as_bytes());
    let id = foreign(letter.id.as_bytes());
    let said = |reply: &Reply| format!("{} {}", reply.code, foreign(reply.text().as_bytes()));
    match outcome {
        Outcome::Taken(reply) => {
            cx.log(Level::Info, format!("pass, {shown} has it: {}, {id}", said(&reply)));
            Verdict::Ok(Some(queued(&reply).into()))
        }
        Outcome::Refused(reply) => {
            cx.log(Level::Info, format!("fail, {shown} says {}", said(&reply)));
            refused(&reply, (3, 0), &reply.text())
        }
        Outcome::RecipientRefused(place, reply) => {
            let who = letter.recipients.get(place).map_or("", String::as_str);
            let words =
                format!("fail, {shown} says {} of {}", said(&reply), foreign(who.as_bytes()));
            cx.log(Level::Info, words);
            refused(&reply, (1, 1), &format!("{who}: {}", reply.text()))
        }
        Outcome::TooLarge(limit) => {
            cx.log(Level::Info, format!("fail, {shown} takes no more than {limit} octets"));
            let text = refusal(&format!("larger than {limit} octets"));
            Verdict::deny((3, 4), text).for_storage()
        }
        Outcome::NoUtf8 => {
            cx.log(Level::Info, format!("fail, {shown} does not offer SMTPUTF8"));
            Verdict::deny((6, 7), refusal(&format!("{server} does not offer SMTPUTF8")))
        }
        Outcome::NoXclient => {
            cx.log(Level::Error, format!("error, {shown} does not offer XCLIENT"));
            Verdict::deny_soft((3, 5), refusal("Server does not advertise XCLIENT support"))
        }
        Outcome::Unreachable(words) => unreachable(cx, server, &words),
        Outcome::InPart(replies) => {
            let all = replies.iter().map(said).collect::<Vec<_>>().join(", ");
            let words =
                format!("error, {shown} has it for some only ({all}): a possible duplicate");
            cx.log(Level::Warning, format!("{words}, {id}"));
            Verdict::deny_soft((3, 0), refusal("not for all recipients"))
        }
        Outcome::Unknown(words) => {
            let words = foreign(words.as_bytes());
            let line = format!(
                "error, {shown} did not answer to the end of the message ({words}): it may have it \
                 all the same, a possible duplicate, {id}"
            );
            cx.log(Level::Warning, line);
            Verdict::deny_soft((4, 2), refusal(&format!("no answer from {server}")))
        }
    }
}

/// There is nobody to take the message now.
pub fn unreachable(cx: &mut Cx<'_>, server: &str, words: &str) -> Verdict {
    let text = format!("Unable to connect to {server}: {words}");
    cx.log(Level::Warning, format!("fail, {}", foreign(text.as_bytes())));
    Verdict::deny_soft((4, 1), text)
}

/// What the client is told for the server's refusal: its class, its enhanced status (or `default` where
/// it gives none), its words, and whether it is for want of space. 530 says that we should have begun TLS or
/// logged in (RFC 3207, RFC 4954): that is for the admin to set right, and no mail may be lost for it.
pub fn refused(reply: &Reply, default: (u16, u16), words: &str) -> Verdict {
    let (status, text) = (reply.status().unwrap_or(default), refusal(words));
    let verdict = match reply.class() {
        5 if reply.code != 530 => Verdict::deny(status, text),
        _ => Verdict::deny_soft(status, text),
    };
    if matches!(reply.code, 452 | 552) { verdict.for_storage() } else { verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::smtp::reply::Reader;
    use crate::smtp::address::parse_forward;

    #[test]
    fn paths_are_what_every_server_understands() {
        for (path_as_sent, utf8, expected) in [
            ("<b@Example.com>", false, "<b@example.com>"),
            ("<\"b c@d\"@example.com>", false, "<\"b c@d\"@example.com>"),
            ("<b@b\u{fc}cher.example>", true, "<b@xn--bcher-kva.example>"),
            ("<b\u{fc}@b\u{fc}cher.example>", true, "<b\u{fc}@xn--bcher-kva.example>"),
            ("<Postmaster>", false, "<postmaster>"),
        ] {
            let address = parse_forward(path_as_sent.as_bytes(), utf8).unwrap();
            assert_eq!(path(&address), expected);
        }
    }

    /// What is done where nothing is said of TLS, and what the admin's word changes.
    #[test]
    fn who_logs_in_knows_the_server() {
        let far: SocketAddr = "192.0.2.1:25".parse().unwrap();
        let near: SocketAddr = "127.0.0.1:25".parse().unwrap();
        let ca = rcgen::generate_simple_self_signed(["ca.example".to_string()]).unwrap();
        let smtpauth = "mail.example.net ann secret\nlocalhost ann secret".to_string();
        let files = [("smtpauth".to_string(), smtpauth), (CA_FILES[1].into(), ca.cert.pem())];
        let files = crate::config::files::Files::in_memory(files);
        for (words, host, server, policy, logs_in) in [
            ("", "mail.example.net", far, Policy::Verify, true),
            ("", "MAIL.example.net", near, Policy::May, true),
            ("", "localhost", near, Policy::May, true),
            ("", "other.example.net", far, Policy::May, false),
            ("tls required", "mail.example.net", far, Policy::Required, true),
            ("tls off", "mail.example.net", far, Policy::Off, true),
            ("tls verify", "other.example.net", far, Policy::Verify, false),
        ] {
            let mut problems = Vec::new();
            let mut args = Args::of(&format!("queue/smtp-forward {words}"));
            let protection = Protection::load(&mut args, &Setup::new(&files, &mut problems));
            assert_eq!((args.finish(), problems), (Vec::new(), Vec::new()), "{words}");
            let secure = protection.of(host, &[server]);
            assert_eq!(
                (secure.policy, secure.login.is_some()),
                (policy, logs_in),
                "{words} {host}"
            );
            assert!(secure.tls.is_some());
        }
        // A login elsewhere, and nobody to believe: told when the configuration is read.
        let files = [("smtpauth".to_string(), "mail.example.net ann secret".to_string())];
        let files = crate::config::files::Files::in_memory(files);
        let (mut problems, mut args) = (Vec::new(), Args::of("queue/smtp-forward"));
        let protection = Protection::load(&mut args, &Setup::new(&files, &mut problems));
        assert!(args.finish().concat().contains("no file of CA certificates"));
        assert!(protection.of("mail.example.net", &[far]).tls.is_none());
    }

    #[test]
    fn refusals_keep_their_meaning() {
        for (said, class, status, storage) in [
            ("550 5.7.1 no\r\n", 5, (7, 1), false),
            ("550 no\r\n", 5, (1, 1), false),
            ("450 4.2.2 full\r\n", 4, (2, 2), false),
            ("452 4.3.1 full\r\n", 4, (3, 1), true),
            ("552 5.3.4 large\r\n", 5, (3, 4), true),
            ("421 bye\r\n", 4, (1, 1), false),
            ("530 5.7.0 Must issue a STARTTLS command first\r\n", 4, (7, 0), false),
        ] {
            let mut reader = Reader::default();
            let reply = said.bytes().find_map(|octet| reader.push(octet).unwrap()).unwrap();
            let verdict = refused(&reply, (1, 1), "why");
            let refusal = verdict.refusal().unwrap();
            assert_eq!(matches!(verdict, Verdict::Deny(_)), class == 5, "{said}");
            assert_eq!(
                (refusal.status, refusal.storage, refusal.disconnect),
                (status, storage, false)
            );
            assert_eq!(&*refusal.text, "Unable to queue message (why)");
        }
    }
}
