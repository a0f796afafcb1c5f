//! What plugins share that speak with the next server: where it is, how an address is written to it,
//! and how its refusals become ours.

use crate::client::smtp::reply::Reply;
use crate::config::routes::Server;
use crate::dns::{Answer, Kind, Question};
use crate::plugin::{Cx, Pending, Verdict};
use crate::smtp::address::Address;
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

/// What the client is told for the server's refusal: its class, its enhanced status (or `default` where
/// it gives none), its words, and whether it is for want of space.
pub fn refused(reply: &Reply, default: (u16, u16), words: &str) -> Verdict {
    let (status, text) = (reply.status().unwrap_or(default), refusal(words));
    let verdict = match reply.class() {
        5 => Verdict::deny(status, text),
        _ => Verdict::deny_soft(status, text),
    };
    if matches!(reply.code, 452 | 552) { verdict.for_storage() } else { verdict }
}

/// The text of a refusal, as qpsmtpd words it.
pub fn refusal(words: &str) -> String {
    format!("Unable to queue message ({words})")
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

    #[test]
    fn refusals_keep_their_meaning() {
        for (said, class, status, storage) in [
            ("550 5.7.1 no\r\n", 5, (7, 1), false),
            ("550 no\r\n", 5, (1, 1), false),
            ("450 4.2.2 full\r\n", 4, (2, 2), false),
            ("452 4.3.1 full\r\n", 4, (3, 1), true),
            ("552 5.3.4 large\r\n", 5, (3, 4), true),
            ("421 bye\r\n", 4, (1, 1), false),
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
