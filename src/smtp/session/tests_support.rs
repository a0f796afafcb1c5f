//! A driver for the machine in tests and fuzzing: it answers hooks by rule and records everything.

use super::{Auth, Call, Env, Need, Rules, Session, Sink, Tls};
use crate::smtp::auth::Mechanism;
use crate::smtp::reply::Reply;
use crate::smtp::verdict::Verdict;

/// Everything the machine said and did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// What the client reads.
    pub(crate) sent: Vec<u8>,
    /// Message text that was kept, message by message.
    pub(crate) bodies: Vec<Vec<u8>>,
    /// Text of the message on its way in.
    body: Vec<u8>,
    /// Ended transactions.
    pub(crate) ended: usize,
    /// Command lines obeyed.
    pub(crate) dispatched: usize,
}

impl Sink for Record {
    fn send(&mut self, reply: &Reply) {
        reply.write(&mut self.sent);
    }
    fn dispatching(&mut self, _line: &[u8]) {
        self.dispatched += 1;
    }
    fn room(&self) -> usize {
        // Small, so that the hold is exercised.
        64 * 1_024 - self.body.len() % 4_096
    }
    fn body(&mut self, text: &[u8]) {
        self.body.extend_from_slice(text);
    }
    fn spoil(&mut self) {
        self.body.clear();
    }
    fn transaction_ended(&mut self) {
        self.body.clear();
        self.ended += 1;
    }
}

/// Rules as small as the limits allow.
pub(crate) fn rules() -> Rules {
    Rules {
        me: "mx.example.net".into(),
        greeting: "mx.example.net ESMTP".into(),
        databytes: 10_000,
        smtputf8: true,
        recipients_max: 3,
    }
}

/// Feeds `input` in pieces of `cut` octets, answering each hook with `judge`.
pub(crate) fn play(
    input: &[u8],
    cut: usize,
    normalize: bool,
    judge: &mut dyn FnMut(&Call) -> Verdict,
) -> Record {
    let rules = rules();
    let env = Env {
        rules: &rules,
        who: "Unknown [192.0.2.1]",
        id: "7",
        trusted: false,
        normalize,
        proxy: true,
        tls: Tls::Offered,
        auth: Auth { mechanisms: &Mechanism::ALL, needs_tls: false, attempts: 3, ..Auth::NONE },
        recipients_max: usize::MAX,
    };
    let mut session = Session::new();
    let mut record = Record::default();
    for piece in input.chunks(cut.max(1)) {
        let mut rest = piece;
        loop {
            match session.need() {
                Need::Close | Need::Introduced => {
                    record.body.clear();
                    return record;
                }
                Need::Hook => {
                    let Some(call) = session.call() else { return record };
                    let verdict = judge(call);
                    if matches!(call, Call::Message) {
                        record.bodies.push(record.body.clone());
                    }
                    session.resume(&env, &verdict, &mut record);
                }
                Need::Hold => session.held(),
                Need::Pause(_) => session.unpause(),
                Need::StartTls => session.tls_started(),
                Need::Input if rest.is_empty() => break,
                Need::Input => {
                    let used = session.feed(&env, rest, &mut record);
                    rest = rest.get(used..).unwrap_or_default();
                }
            }
        }
    }
    while matches!(session.need(), Need::Hook | Need::StartTls) {
        session.tls_started();
        let Some(call) = session.call() else { break };
        let verdict = judge(call);
        if matches!(call, Call::Message) {
            record.bodies.push(record.body.clone());
        }
        session.resume(&env, &verdict, &mut record);
    }
    if session.need() == Need::Close {
        record.body.clear();
    }
    record
}

/// What the machine says does not depend on how its input was cut, and no kept message holds a bare
/// line end, a NUL, or more than the limits allow. The first octet chooses cut and verdicts.
pub fn fuzz(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let run = |cut: usize| {
        let mut turn = u32::from(choice);
        play(input, cut, choice & 1 == 0, &mut |call| {
            turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (call, turn >> 28) {
                (Call::Connect, _) => Verdict::Declined,
                (_, 0) => Verdict::deny((7, 1), "no"),
                (_, 1) => Verdict::deny_soft((7, 1), "later"),
                (_, 2) if choice & 2 == 0 => Verdict::deny((7, 1), "out").and_disconnect(),
                _ => Verdict::OK,
            }
        })
    };
    let whole = run(usize::MAX);
    assert_eq!(whole, run(1));
    assert_eq!(whole, run(usize::from(choice) + 2));
    for line in whole.sent.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() <= 512, "a reply line is whole and short");
    }
    for body in &whole.bodies {
        assert!(body.len() <= 20_000 + 2);
        let text = String::from_utf8_lossy(body).replace("\r\n", "");
        assert!(!text.contains(['\r', '\n', '\0']), "kept text has whole line ends only");
    }
}
