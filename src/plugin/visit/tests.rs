//! Whole visits with plugins that wait: nothing is asked twice, nobody is woken for nothing, and no
//! word of a plugin is taken for another's.

use super::*;
use crate::config::files::Files;
use crate::config::{Config, Defaults};
use crate::dns::{self, Kind, Record};
use crate::limits;
use crate::plugin::chain::Loaded;
use crate::plugin::cx::Cx;
use crate::plugin::question::Ask;
use crate::plugin::question::{Answer, Question};
use crate::plugin::{HookSet, Hooked, Plugin, Queued};
use crate::smtp::address::Address;
use crate::smtp::session::MailFrom;
use crate::store;
use std::collections::BTreeMap;
use std::path::PathBuf;

type Acts = Box<dyn Fn(&mut Cx<'_>) -> Hooked + Send + Sync>;

/// A plugin made of closures, one a hook.
#[derive(Default)]
struct Acting(Vec<(Hook, Option<Acts>)>);

impl Acting {
    fn at(
        mut self,
        hook: Hook,
        acts: impl Fn(&mut Cx<'_>) -> Hooked + Send + Sync + 'static,
    ) -> Acting {
        self.0.push((hook, Some(Box::new(acts))));
        self
    }

    fn watching(mut self, hook: Hook) -> Acting {
        self.0.push((hook, None));
        self
    }

    fn act(&self, hook: Hook, cx: &mut Cx<'_>) -> Hooked {
        let acts = self.0.iter().find(|(it, _)| *it == hook).and_then(|(_, acts)| acts.as_ref());
        acts.map_or(Ok(Verdict::Unhooked), |acts| acts(cx))
    }

    fn named(self, name: &'static str) -> Loaded {
        Loaded::plain(name, Arc::new(self))
    }
}

impl Plugin for Acting {
    fn hooks(&self) -> HookSet {
        self.0.iter().fold(HookSet::default(), |hooks, (hook, _)| hooks.with(*hook))
    }
    fn connect(&self, cx: &mut Cx<'_>) -> Hooked {
        self.act(Hook::Connect, cx)
    }
    fn mail(&self, cx: &mut Cx<'_>, _mail: &MailFrom) -> Hooked {
        self.act(Hook::Mail, cx)
    }
    fn rcpt(&self, cx: &mut Cx<'_>, _recipient: &Address) -> Hooked {
        self.act(Hook::Rcpt, cx)
    }
    fn headers(&self, cx: &mut Cx<'_>) -> Hooked {
        self.act(Hook::Headers, cx)
    }
    fn message(&self, cx: &mut Cx<'_>) -> Hooked {
        self.act(Hook::Message, cx)
    }
    fn queue(&self, cx: &mut Cx<'_>) -> Hooked {
        self.act(Hook::Queue, cx)
    }
    fn queued(&self, cx: &mut Cx<'_>, queued: &Queued<'_>) {
        cx.log(Level::Info, format!("queued by {}: {}", queued.plugin, queued.text));
    }
}

fn acting() -> Acting {
    Acting::default()
}

/// Accepts every recipient and keeps every message.
fn keeper() -> Loaded {
    let keeper = acting()
        .at(Hook::Rcpt, |_| Ok(Verdict::OK))
        .at(Hook::Queue, |cx| {
            cx.lane(Lane::Writers)?;
            Ok(Verdict::Ok(Some("Kept!".into())))
        })
        .watching(Hook::Queued);
    keeper.named("keeper")
}

fn a(name: &str) -> dns::Question {
    dns::Question::new(name, Kind::A)
}

fn listed() -> Answer {
    let address = "127.0.0.2".parse().expect("an address");
    Answer::Dns(dns::Answer::Found(Arc::new([Record::Address(address)])))
}

/// Refuses when a name of this kind is found.
fn judge(cx: &mut Cx<'_>, name: &str) -> Hooked {
    match cx.dns(a(name))?.records() {
        [] => Ok(Verdict::Declined),
        _ => Ok(Verdict::deny((7, 1), "listed")),
    }
}

struct Nobody;

impl Ask for Nobody {
    fn ask(&self, questions: &[Question], _deadline: Duration) -> Vec<Arc<Answer>> {
        questions.iter().map(|_| Arc::new(Answer::TempFail)).collect()
    }
}

fn site(lists: BTreeMap<String, Arc<Chain>>) -> Arc<Site> {
    let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 1 };
    Arc::new(Site {
        store: store::Settings::new(store::Place::Sqlite(PathBuf::new())),
        config: Arc::new(Config::load(&Files::in_memory([]), &defaults, &mut Vec::new())),
        base: Arc::new(Chain::new("plugins", Vec::new())),
        lists,
        peers: None,
        outputs: Vec::new(),
        loglevel: Level::Info,
        stamps: Vec::new(),
        parts: BTreeMap::new(),
    })
}

/// A visit with its loop: time and answers are the test's.
struct Play {
    visit: Visit,
    site: Arc<Site>,
    now: Duration,
    input: Vec<u8>,
    log: Vec<String>,
}

impl Play {
    fn new(plugins: Vec<Loaded>) -> Play {
        Play::with_lists(plugins, BTreeMap::new())
    }

    fn with_lists(plugins: Vec<Loaded>, lists: BTreeMap<String, Arc<Chain>>) -> Play {
        let site = site(lists);
        let chain = Arc::new(Chain::new("plugins", plugins));
        let peer = Peer {
            ip: "192.0.2.1".parse().expect("an address"),
            port: 1,
            local: "127.0.0.1:25".parse().expect("an address"),
            name: None,
        };
        let visit = Visit::new(Id(7), peer, chain, &around(&site, Duration::ZERO));
        Play { visit, site, now: Duration::ZERO, input: Vec::new(), log: Vec::new() }
    }

    /// Sends some text and goes on as far as can be; gives the replies' first lines and what is wanted.
    fn say(&mut self, text: &str) -> (String, Want) {
        self.input.extend_from_slice(text.as_bytes());
        let mut out = Vec::new();
        let want = loop {
            let around = around(&self.site, self.now);
            let (used, want) = self.visit.pump(&self.input, &mut out, &around);
            self.input.drain(..used);
            match want {
                Want::Move(lane) => self.work(lane),
                Want::Turn => {}
                want => break want,
            }
        };
        self.log.extend(self.visit.take_log().into_iter().filter_map(|event| match event {
            Event::Line(line) if !line.plugin.is_empty() => Some(line.text),
            _ => None,
        }));
        let replies = String::from_utf8(out).expect("replies are ASCII");
        let codes: Vec<&str> = replies.lines().filter_map(|line| line.get(..4)).collect();
        (codes.iter().filter(|code| code.ends_with(' ')).map(|code| &code[..3]).collect(), want)
    }

    fn work(&mut self, lane: Lane) {
        let mut place =
            if lane == Lane::Workers { Place::Worker } else { Place::Lane(lane, &Nobody) };
        let now = moment(self.now);
        while let Want::Move(lane) = self.visit.work(place, now) {
            place = Place::Lane(lane, &Nobody);
        }
    }

    fn asked(&mut self) -> Vec<String> {
        let name_of = |question: &Question| match question {
            Question::Dns(question) => question.name.to_string(),
            other => format!("{other:?}"),
        };
        self.visit.take_questions().iter().map(name_of).collect()
    }

    fn answer(&mut self, name: &str, answer: Answer) -> bool {
        self.visit.answer(&Question::Dns(a(name)), &Arc::new(answer))
    }
}

fn moment(now: Duration) -> Moment {
    Moment { mono: now, unix: now, utc_offset: 0 }
}

fn around(site: &Arc<Site>, now: Duration) -> Surroundings<'_> {
    Surroundings { now: moment(now), site, verbosity: Level::Info, stopwatch: || Duration::ZERO }
}

const HELLO: &str = "EHLO client.example\r\n";
const MAIL: &str = "MAIL FROM:<a@example.org>\r\n";
const ENVELOPE: &str = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n";
const TEXT: &str = "Subject: x\r\n\r\nx\r\n.\r\n";

/// Wants at connect, judges at MAIL.
fn prefetching() -> Loaded {
    acting()
        .at(Hook::Connect, |cx| {
            cx.want(a("list.example"));
            Ok(Verdict::Declined)
        })
        .at(Hook::Mail, |cx| judge(cx, "list.example"))
        .named("dnsbl")
}

#[test]
fn what_was_asked_at_connect_is_judged_at_mail() {
    // In time: the greeting waits for nobody, and MAIL neither.
    let mut play = Play::new(vec![prefetching()]);
    assert_eq!(play.say(""), ("220".to_string(), Want::Input));
    assert_eq!(play.asked(), ["list.example"]);
    assert!(!play.answer("list.example", listed()), "nobody waits yet");
    assert!(play.visit.answers_in_memory() > 0);
    assert_eq!(play.say(HELLO), ("250".to_string(), Want::Input));
    assert_eq!(play.say(MAIL), ("550".to_string(), Want::Input));
    assert!(play.asked().is_empty());

    // Late: MAIL waits for the answer that is on its way, and asks nothing again.
    let mut play = Play::new(vec![prefetching()]);
    play.say("");
    assert_eq!(play.asked(), ["list.example"]);
    play.say(HELLO);
    assert_eq!(play.say(MAIL), (String::new(), Want::Answers));
    assert!(play.asked().is_empty());
    assert!(play.answer("list.example", listed()));
    assert_eq!(play.say(""), ("550".to_string(), Want::Input));

    // Both want and need it in the same hook: one question.
    let twice = acting().at(Hook::Connect, |cx| {
        cx.want(a("list.example"));
        judge(cx, "list.example")
    });
    let mut play = Play::new(vec![twice.named("twice"), prefetching()]);
    assert_eq!(play.say(""), (String::new(), Want::Answers));
    assert_eq!(play.asked(), ["list.example"]);
    assert!(play.answer("list.example", Answer::Dns(dns::Answer::NxDomain)));
    assert_eq!(play.say(HELLO), ("220250".to_string(), Want::Input));
    assert_eq!(play.say(MAIL), ("250".to_string(), Want::Input));
    assert!(play.asked().is_empty());
}

#[test]
fn prefetched_answers_can_be_dropped() {
    let mut play = Play::new(vec![prefetching()]);
    play.say("");
    play.asked();
    play.answer("list.example", listed());
    play.visit.drop_prefetched();
    assert_eq!(play.visit.answers_in_memory(), 0);
    play.say(HELLO);
    assert_eq!(play.say(MAIL), (String::new(), Want::Answers), "not found any more");
    assert_eq!(play.asked(), ["list.example"]);

    // An answer that comes after that is not kept either.
    let mut play = Play::new(vec![prefetching()]);
    play.say("");
    play.asked();
    play.visit.drop_prefetched();
    assert!(!play.answer("list.example", listed()));
    assert_eq!(play.visit.answers_in_memory(), 0);
}

#[test]
fn wishes_are_bounded() {
    let greedy = acting().at(Hook::Connect, |cx| {
        (0..10_000).for_each(|number| cx.want(a(&format!("{number}.example"))));
        Ok(Verdict::Declined)
    });
    let mut play = Play::new(vec![greedy.named("greedy")]);
    play.say("");
    let asked = play.asked();
    assert_eq!(asked.len(), limits::HOOK_QUESTIONS_MAX);
    let text = Record::Text(vec![b'x'; 10_000].into());
    let answer = Answer::Dns(dns::Answer::Found(Arc::new([text])));
    asked.iter().for_each(|name| assert!(!play.answer(name, answer.clone())));
    assert!(play.visit.answers_in_memory() <= limits::HOOK_ANSWERS_MAX);
}

#[test]
fn large_answers_leave_room_for_small_ones() {
    let many = acting().at(Hook::Mail, |cx| {
        cx.dns_all((0..10).map(|number| a(&format!("{number}.example"))))?;
        Ok(Verdict::Declined)
    });
    let policy = acting().at(Hook::Mail, |cx| judge(cx, "policy.example"));
    let mut play = Play::new(vec![many.named("many"), policy.named("policy"), keeper()]);
    play.say(HELLO);
    play.say("MAIL FROM:<>\r\n");
    let text = Record::Text(vec![b'x'; 7_000].into());
    let large = Answer::Dns(dns::Answer::Found(Arc::new([text])));
    for name in play.asked().iter().filter(|name| *name != "policy.example") {
        play.answer(name, large.clone());
        assert!(play.visit.answers_in_memory() <= limits::HOOK_ANSWERS_MAX);
    }
    assert!(play.answer("policy.example", listed()));
    assert!(play.say("").0.contains("550"));
}

#[test]
fn a_waiting_message_is_not_carried_round_in_circles() {
    for (answer, reply) in [(listed(), "554"), (Answer::Dns(dns::Answer::NoData), "250")] {
        let asks = acting().at(Hook::Message, |cx| judge(cx, "uri.example")).named("uribl");
        let mut play = Play::new(vec![asks, keeper()]);
        play.say(HELLO);
        assert_eq!(play.say(ENVELOPE).0, "250250354");
        assert_eq!(play.say(TEXT), (String::new(), Want::Answers));
        assert_eq!(play.asked(), ["uri.example"]);
        for _ in 0..100 {
            let (_, want) = play.visit.pump(b"", &mut Vec::new(), &around(&play.site, play.now));
            assert_eq!(want, Want::Answers, "no thread is troubled while nothing is new");
        }
        assert!(play.answer("uri.example", answer));
        assert_eq!(play.say(""), (reply.to_string(), Want::Input));
    }
}

#[test]
fn a_dead_name_server_holds_a_message_for_its_time_only() {
    let asks = acting().at(Hook::Message, |cx| judge(cx, "dead.example")).named("uribl");
    let mut play = Play::new(vec![asks, keeper()]);
    play.say(HELLO);
    play.say(ENVELOPE);
    assert_eq!(play.say(TEXT), (String::new(), Want::Answers));
    play.now = limits::MESSAGE_HOOK_TIME_MAX;
    assert_eq!(play.visit.deadline(), Some(play.now));
    assert_eq!(play.say(""), ("250".to_string(), Want::Input));
    assert_eq!(play.log, ["queued by keeper: Kept!"]);
}

#[test]
fn a_word_in_favour_of_a_message_does_not_deliver_it() {
    for (hook, word) in [
        (Hook::Headers, Verdict::OK),
        (Hook::Headers, Verdict::Ok(Some("looks good".into()))),
        (Hook::Message, Verdict::OK),
        (Hook::Message, Verdict::Ok(Some("looks good".into()))),
    ] {
        let content = acting().at(hook, move |_| Ok(word.clone())).named("content");
        let mut play = Play::new(vec![content, keeper()]);
        play.say(HELLO);
        play.say(ENVELOPE);
        assert_eq!(play.say(TEXT).0, "250");
        assert_eq!(play.log, ["queued by keeper: Kept!"], "{hook:?}: handed over, and told once");
    }
}

#[test]
fn another_list_serves_from_the_next_hook_on() {
    let other = acting().at(Hook::Mail, |_| Ok(Verdict::deny((7, 1), "the other list")));
    let lists = BTreeMap::from([(
        "other".to_string(),
        Arc::new(Chain::new("other", vec![other.named("other")])),
    )]);
    let chooses = acting().at(Hook::Connect, |cx| {
        cx.use_chain("other");
        Ok(Verdict::Declined)
    });
    let waits = acting().at(Hook::Connect, |cx| judge(cx, "x.example"));
    let last = acting().at(Hook::Connect, |cx| {
        cx.log(Level::Info, "last");
        Ok(Verdict::Declined)
    });
    let plugins = vec![chooses.named("chooses"), waits.named("waits"), last.named("last")];
    let mut play = Play::with_lists(plugins, lists);
    assert_eq!(play.say(""), (String::new(), Want::Answers));
    play.asked();
    play.answer("x.example", Answer::TempFail);
    assert_eq!(play.say(HELLO).0, "220250");
    assert_eq!(play.log, ["last"], "the hook that was begun is ended by the same list");
    assert_eq!(play.say(MAIL).0, "550");
}

#[test]
fn early_talk_ends_the_pause_but_not_the_lists() {
    let early = || {
        let acts = |cx: &mut Cx<'_>| {
            if cx.quiet(Duration::from_secs(1))? {
                return Ok(Verdict::Declined);
            }
            cx.karma(-1);
            Ok(Verdict::Declined)
        };
        acting().at(Hook::Connect, acts).named("earlytalker")
    };
    let list = || acting().at(Hook::Connect, |cx| judge(cx, "list.example")).named("list");
    let mut play = Play::new(vec![early(), list()]);
    assert_eq!(play.say(""), (String::new(), Want::Answers));
    assert_eq!(play.asked(), ["Quiet(1s)", "list.example"]);
    assert!(play.visit.listens_for_early_talk());
    // A client that keeps on talking gets no further for it.
    for _ in 0..1_000 {
        assert_eq!(play.say("x"), (String::new(), Want::Answers));
    }
    assert!(!play.visit.listens_for_early_talk());
    assert_eq!(play.log, ["karma -1 (-1)"]);
    assert!(play.answer("list.example", listed()));
    assert_eq!(play.say("").0, "554");
}

#[test]
fn a_panicking_plugin_costs_one_command() {
    let bad = |hook| acting().at(hook, |_| panic!("as tests do")).named("bad");
    for (hook, replies) in [
        (Hook::Connect, vec!["421"]),
        (Hook::Mail, vec!["220", "250", "450", "503"]),
        (Hook::Rcpt, vec!["220", "250", "250", "450"]),
        (Hook::Message, vec!["220", "250", "250", "250", "354", "451", "221"]),
    ] {
        let mut play = Play::new(vec![bad(hook), keeper()]);
        let (said, _) = play.say(&format!("{HELLO}{ENVELOPE}{TEXT}QUIT\r\n"));
        assert!(said.starts_with(&replies.concat()), "{hook:?} {said}");
        assert!(play.log.iter().any(|text| text.starts_with("FATAL PLUGIN ERROR [bad]")));
    }
}
