//! Nothing waits for ever: time, rounds, questions, octets.

use super::*;
use crate::limits;

/// Asks one thing more for as long as something is found.
fn endless() -> Loaded {
    plugin("endless", |cx| {
        let mut number = 0;
        while !cx.dns(a(&format!("{number}.example")))?.records().is_empty() {
            number += 1;
        }
        cx.log(Level::Info, format!("gave up after {number}"));
        Ok(Verdict::Declined)
    })
}

#[test]
fn rounds_end_for_the_plugin_that_spends_them() {
    let mut play = Play::new(vec![endless(), list("list", "slow.list")]);
    let mut rounds = 0;
    while play.run() == Step::Waiting {
        for name in play.asked() {
            rounds += u32::from(name != "slow.list");
            // The list takes its time.
            if name != "slow.list" {
                play.answer(&name, listed());
            }
        }
        if play.host.committed == ["endless"] {
            break;
        }
    }
    assert_eq!(rounds, limits::HOOK_ROUNDS_MAX);
    assert_eq!(play.host.log, ["gave up after 32"]);
    assert!(!play.invocation.is_spent(), "the list still gets its answer");
    assert!(play.answer("slow.list", listed()));
    assert_eq!(play.run(), Step::Done(refusal("slow.list"), Some(1)));
}

#[test]
fn runs_without_news_cost_nothing() {
    let runs = Arc::default();
    let acts = |cx: &mut Cx<'_>| {
        let found = !cx.dns(a("a.example"))?.records().is_empty();
        Ok(if found { refusal("listed") } else { Verdict::Declined })
    };
    let mut play = Play::new(vec![counted("list", &runs, false, acts)]);
    // A client that sends something every millisecond must not talk its way past a block list.
    for millisecond in 0..1_000 {
        play.now = Duration::from_millis(millisecond);
        assert_eq!(play.run(), Step::Waiting);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    play.answer("a.example", listed());
    assert_eq!(play.run(), Step::Done(refusal("listed"), Some(0)));
}

#[test]
fn time_ends_by_hook() {
    for (hook, limit) in
        [(Hook::Connect, limits::HOOK_TIME_MAX), (Hook::Message, limits::MESSAGE_HOOK_TIME_MAX)]
    {
        let start = Duration::from_secs(100);
        let judged = plugin("judged", |cx| {
            let answer = cx.dns(a("dead.example"))?;
            assert_eq!(cx.dns(a("new.example"))?, dns::Answer::TempFail, "no new question");
            Ok(Verdict::deny_soft((7, 1), format!("{answer:?}")))
        });
        let mut play = Play::of(hook, vec![judged]);
        play.now = start;
        assert_eq!(play.run(), Step::Waiting);
        assert_eq!(play.invocation.deadline(), start + limit);
        play.now = start + limit - Duration::from_millis(1);
        assert_eq!(play.run(), Step::Waiting);
        play.now = start + limit;
        let step = play.run();
        assert_eq!(step, Step::Done(Verdict::deny_soft((7, 1), "TempFail"), Some(0)), "{hook:?}");
        assert_eq!(play.asked(), ["dead.example"]);
    }
}

#[test]
fn questions_end_and_nobody_is_left_waiting() {
    let greedy = |name: &'static str, count: usize| {
        plugin(name, move |cx| {
            let answers =
                cx.dns_all((0..count).map(|number| a(&format!("{name}{number}.test"))))?;
            let unknown = answers.iter().filter(|answer| **answer == dns::Answer::TempFail).count();
            cx.log(Level::Info, format!("{unknown} unknown"));
            Ok(Verdict::Declined)
        })
    };
    // All at once.
    let mut play = Play::new(vec![greedy("a", 10_000)]);
    assert_eq!(
        play.run(),
        Step::Done(Verdict::Declined, None),
        "the next run is at once, the last"
    );
    assert_eq!(play.host.log, ["10000 unknown"]);
    assert!(play.invocation.is_spent());

    // Just enough.
    let mut play = Play::new(vec![greedy("a", limits::HOOK_QUESTIONS_MAX)]);
    assert_eq!(play.play_out(|_| unlisted()).1, [limits::HOOK_QUESTIONS_MAX]);
    assert_eq!(play.host.log, ["0 unknown"]);

    // One more, when answers are in.
    let late = plugin("late", |cx| {
        cx.dns(a("0.test"))?;
        cx.dns(a("too.much.test"))?;
        Ok(Verdict::Declined)
    });
    let all = limits::HOOK_QUESTIONS_MAX - 1;
    let mut play = Play::new(vec![greedy("a", all), late]);
    assert_eq!(play.play_out(|_| unlisted()).1, [limits::HOOK_QUESTIONS_MAX]);
    assert_eq!(play.host.log, ["0 unknown"]);
}

#[test]
fn what_does_not_fit_is_unknown_alone() {
    let names = ["1.example", "2.example", "3.example", "4.example", "5.example", "6.example"];
    let reads = plugin("reads", move |cx| {
        let answers = cx.dns_all(names.iter().map(|name| a(name)))?;
        let unknown = answers.iter().filter(|answer| **answer == dns::Answer::TempFail).count();
        cx.log(Level::Info, format!("{unknown} unknown"));
        Ok(Verdict::Declined)
    });
    let mut play = Play::new(vec![reads]);
    assert_eq!(play.run(), Step::Waiting);
    let quarter = limits::HOOK_ANSWERS_MAX / 4;
    assert!(!play.answer("1.example", heavy(quarter)));
    assert!(!play.answer("2.example", heavy(quarter + 1)), "too large for one: just unknown");
    for name in ["3.example", "4.example"] {
        assert!(!play.answer(name, heavy(quarter)));
    }
    assert_eq!(play.invocation.weight(), 3 * quarter);
    assert!(!play.answer("5.example", heavy(quarter)), "the last quarter is for small ones");
    assert_eq!(play.invocation.weight(), 3 * quarter);
    assert!(play.answer("6.example", heavy(limits::SMALL_ANSWER_MAX)));
    assert!(!play.invocation.is_spent());
    assert_eq!(play.run(), Step::Done(Verdict::Declined, None));
    assert_eq!(play.host.log, ["2 unknown"]);
}

#[test]
fn only_answers_to_own_questions_are_kept() {
    let mut play = Play::new(vec![list("list", "a.example")]);
    play.run();
    assert!(!play.answer("stranger.example", heavy(10_000)));
    assert_eq!(play.invocation.weight(), 0);
    assert!(play.answer("a.example", unlisted()));
    assert!(!play.answer("a.example", listed()), "the first answer stays");
    assert_eq!(play.run(), Step::Done(Verdict::Declined, None));
}

#[test]
fn at_accept_nobody_waits() {
    let asks = plugin("asks", |cx| {
        assert_eq!(cx.dns(a("a.example"))?, dns::Answer::TempFail);
        Ok(Verdict::Declined)
    });
    let blocks = plugin("blocks", |cx| {
        cx.lane(Lane::Writers)?;
        Ok(Verdict::Declined)
    });
    let mut play = Play::of(Hook::Accept, vec![asks, blocks]);
    let Step::Done(Verdict::DenySoft(_), Some(1)) = play.run() else { panic!("a fault") };
    assert!(play.asked().is_empty());
    assert_eq!(play.host.committed, ["asks"]);
}

#[test]
fn long_runs_in_the_loop_are_logged() {
    let idles = plugin("idles", |_| Ok(Verdict::Declined));
    let mut play = Play::new(vec![idles]);
    play.run();
    assert!(play.host.log.is_empty());
    struct Slow(Desk);
    impl Host for Slow {
        fn ground(&self) -> Ground<'_> {
            self.0.ground()
        }
        fn commit(&mut self, plugin: &Loaded, hook: &'static str, staged: Staged) {
            self.0.commit(plugin, hook, staged);
        }
        fn note(&mut self, level: Level, hook: &'static str, plugin: &Loaded, text: String) {
            self.0.note(level, hook, plugin, text);
        }
        fn stopwatch(&self) -> Duration {
            self.0.stopwatch() * 2_500
        }
    }
    let mut play = Play::new(vec![plugin("slow", |_| Ok(Verdict::Declined))]);
    let mut host = Slow(play.host);
    play.invocation.run(&mut host, Place::Loop, Moment::default());
    assert_eq!(host.0.log, ["(connect) slow: took 2500 µs in the event loop"]);
}
