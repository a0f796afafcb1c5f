//! Who is pending, who runs on speculation, what counts, and in which order.

use super::*;
use crate::plugin::question::Pending;
use std::sync::Mutex;

#[test]
fn a_forgotten_question_mark_neither_passes_nor_refuses() {
    let careless = || {
        plugin("careless", |cx| match cx.dns(a("list.example")) {
            Ok(answer) if !answer.records().is_empty() => Ok(refusal("listed")),
            _ => {
                cx.karma(1);
                Ok(Verdict::Declined)
            }
        })
    };
    for (answer, verdict, karma) in
        [(listed(), refusal("listed"), 0), (unlisted(), Verdict::Declined, 1)]
    {
        let mut play = Play::new(vec![careless()]);
        assert_eq!(play.run(), Step::Waiting);
        assert_eq!((play.host.facts.karma, play.host.committed.len()), (0, 0));
        assert_eq!(play.asked(), ["list.example"]);
        assert!(play.answer("list.example", answer));
        let Step::Done(said, _) = play.run() else { panic!("decided") };
        assert_eq!((said, play.host.facts.karma), (verdict, karma));
    }
}

#[test]
fn pending_with_nothing_missed_is_a_fault() {
    let kept: Mutex<Option<Pending>> = Mutex::default();
    let mut play = Play::new(vec![
        plugin("sly", move |cx| {
            let mut kept = kept.lock().expect("one thread");
            if let Some(pending) = kept.take() {
                return Err(pending);
            }
            *kept = cx.dns(a("x.example")).err();
            Ok(Verdict::OK)
        }),
        plugin("next", |_| panic!("a fault is no pass")),
    ]);
    assert_eq!(play.run(), Step::Waiting);
    play.answer("x.example", unlisted());
    let Step::Done(Verdict::DenySoft(_), Some(0)) = play.run() else { panic!("deferred") };
    let fault = "(connect) sly: error, pending with nothing missed: a fault of the plugin";
    assert_eq!(play.host.log, [fault]);
    assert!(play.host.committed.is_empty());
}

#[test]
fn a_verdict_does_not_wait_for_a_question_behind_it() {
    let mut play = Play::new(vec![list("first", "a.example"), list("dead", "dead.example")]);
    assert_eq!(play.run(), Step::Waiting);
    assert_eq!(play.asked(), ["a.example", "dead.example"], "both are out");
    assert!(play.answer("a.example", listed()));
    assert_eq!(play.run(), Step::Done(refusal("a.example"), Some(0)));
}

#[test]
fn a_verdict_behind_waits_for_its_turn() {
    let mut play = Play::new(vec![list("slow", "slow.example"), list("fast", "fast.example")]);
    play.run();
    assert!(play.answer("fast.example", listed()));
    assert_eq!(play.run(), Step::Waiting, "the order of the file holds");
    assert!(play.host.committed.is_empty());
    assert!(play.answer("slow.example", unlisted()));
    assert_eq!(play.run(), Step::Done(refusal("fast.example"), Some(1)));
    assert_eq!(play.host.committed, ["slow", "fast"]);
}

#[test]
fn each_plugin_waits_for_its_own_answers_only() {
    let chased = plugin("chased", |cx| {
        for step in ["1.example", "2.example", "3.example"] {
            cx.dns(a(step))?;
        }
        cx.log(Level::Info, "pass");
        Ok(Verdict::Declined)
    });
    let mut play = Play::new(vec![list("slow", "slow.example"), chased]);
    play.run();
    assert_eq!(play.asked(), ["slow.example", "1.example"]);
    assert!(play.answer("1.example", unlisted()));
    assert_eq!(play.run(), Step::Waiting);
    assert_eq!(play.asked(), ["2.example"], "its next question goes out while the first waits");
    assert!(play.answer("2.example", unlisted()));
    play.run();
    assert_eq!(play.asked(), ["3.example"]);
    assert!(play.answer("3.example", unlisted()));
    play.run();
    assert!(play.asked().is_empty() && play.host.log.is_empty());
    play.answer("slow.example", unlisted());
    assert_eq!(play.run(), Step::Done(Verdict::Declined, None));
    assert_eq!(play.host.log, ["karma 1 (1)", "pass"]);
}

#[test]
fn effects_count_once_however_often_a_plugin_runs() {
    let runs = Arc::default();
    let acts = |cx: &mut Cx<'_>| {
        cx.karma(-1);
        cx.tarpit(Duration::from_secs(1));
        cx.facts_mut().listed = true;
        for step in ["1.example", "2.example", "3.example", "4.example"] {
            cx.dns(a(step))?;
        }
        cx.karma(-1);
        Ok(Verdict::Declined)
    };
    let plugins = vec![list("list", "a.example"), counted("counted", &runs, false, acts)];
    let mut play = Play::new(plugins);
    let (verdict, rounds) = play.play_out(|_| unlisted());
    assert_eq!((verdict, rounds), (Verdict::Declined, vec![2, 1, 1, 1]));
    assert_eq!(runs.load(Ordering::Relaxed), 5);
    assert_eq!(play.host.facts.karma, 1 - 2);
    assert_eq!(play.host.effects, [Effect::Tarpit(Duration::from_secs(1))]);
    assert_eq!(play.host.committed, ["list", "counted"]);
}

#[test]
fn questions_that_go_out_together_are_one_round() {
    let zones = ["a.example", "b.example", "c.example"];
    let together = plugin("together", move |cx| {
        cx.dns_all(zones.iter().map(|zone| a(zone)))?;
        Ok(Verdict::Declined)
    });
    let in_turn = plugin("in_turn", move |cx| {
        zones.iter().try_for_each(|zone| cx.dns(a(zone)).map(|_| ()))?;
        Ok(Verdict::Declined)
    });
    assert_eq!(Play::new(vec![together.clone()]).play_out(|_| unlisted()).1, [3]);
    assert_eq!(Play::new(vec![in_turn.clone()]).play_out(|_| unlisted()).1, [1, 1, 1]);
    assert_eq!(
        Play::new(vec![together, in_turn]).play_out(|_| unlisted()).1,
        [3],
        "a question of two plugins is sent once"
    );
}

/// Rows of: chain, what goes out at first. The last plugin of each asks for `last.example`.
#[test]
fn speculation_stops_at_gates() {
    let unspeculated = |loaded: Loaded| Loaded { speculate: false, ..loaded };
    let waits = || list("waits", "w.example");
    let relay = |granted: bool| {
        gate("relay", move |cx| {
            cx.set_relay(granted);
            Ok(Verdict::Declined)
        })
    };
    let asks_gating = || {
        gate("white", |cx| {
            cx.dns(a("white.example"))?;
            Ok(Verdict::Declined)
        })
    };
    let blocks = || {
        plugin("blocks", |cx| {
            cx.lane(Lane::Scanners)?;
            Ok(Verdict::Declined)
        })
    };
    let says = |verdict: Verdict| plugin("says", move |_| Ok(verdict.clone()));
    let offline = || plugin("offline", |_| Ok(Verdict::Declined));
    for (what, chain, out) in [
        ("nothing in the way", vec![waits(), offline()], "w.example last.example"),
        ("a gate that waits", vec![asks_gating()], "white.example"),
        ("a gate that waits behind", vec![waits(), asks_gating()], "w.example white.example"),
        ("a gate that would open", vec![waits(), relay(true)], "w.example"),
        ("a gate that stays shut", vec![waits(), relay(false)], "w.example last.example"),
        ("a lane", vec![waits(), blocks()], "w.example"),
        ("a paid list", vec![waits(), unspeculated(list("paid", "p.example"))], "w.example"),
        ("a paid list at its turn", vec![unspeculated(waits())], "w.example last.example"),
        ("a refusal", vec![waits(), says(refusal("no"))], "w.example"),
        ("a word in favour", vec![waits(), says(Verdict::OK)], "w.example"),
        ("off the loop", vec![waits(), Loaded { inline: false, ..offline() }], "w.example"),
    ] {
        let last = plugin("last", |cx| {
            if !cx.may_relay() {
                cx.dns(a("last.example"))?;
            }
            Ok(Verdict::Declined)
        });
        let mut play = Play::new(chain.into_iter().chain([last]).collect());
        assert_eq!(play.run(), Step::Waiting, "{what}");
        assert_eq!(play.asked().join(" "), out, "{what}");
        // Another look, with nothing new, asks nothing more.
        assert_eq!((play.run(), play.asked().len()), (Step::Waiting, 0), "{what}");
    }
}

#[test]
fn nothing_is_asked_about_a_relay_client() {
    let early = plugin("earlytalker", |cx| {
        cx.quiet(Duration::from_secs(1))?;
        Ok(Verdict::Declined)
    });
    let relay = gate("relay", |cx| {
        cx.set_relay(true);
        Ok(Verdict::Declined)
    });
    let dnsbl = plugin("dnsbl", |cx| {
        if cx.skip_immune() {
            return Ok(Verdict::Declined);
        }
        cx.dns_all([a("a.example"), a("b.example")])?;
        Ok(Verdict::Declined)
    });
    let mut play = Play::new(vec![early, relay, dnsbl]);
    assert_eq!(play.run(), Step::Waiting);
    assert_eq!(play.asked(), ["quiet 1"]);
    play.answer("quiet 1", Answer::Quiet);
    assert_eq!(play.run(), Step::Done(Verdict::Declined, None));
    assert!(play.asked().is_empty());
    assert_eq!(play.host.log, ["skip, relay client"]);
}

#[test]
fn silence_is_waited_for_beside_the_lists() {
    let early = || {
        plugin("earlytalker", |cx| {
            Ok(if cx.quiet(Duration::from_secs(1))? { Verdict::Declined } else { refusal("early") })
        })
    };
    for (silence, verdict) in
        [(Answer::Quiet, Verdict::Declined), (Answer::Talked, refusal("early"))]
    {
        let mut play = Play::new(vec![early(), list("list", "a.example")]);
        play.run();
        assert_eq!(play.asked(), ["quiet 1", "a.example"], "at once, not one after the other");
        assert_eq!(play.invocation.quiet_questions().count(), 1);
        play.answer("a.example", unlisted());
        play.run();
        play.answer("quiet 1", silence);
        let Step::Done(said, _) = play.run() else { panic!("decided") };
        assert_eq!(said, verdict);
        assert_eq!(play.invocation.quiet_questions().count(), 0);
    }
}

#[test]
fn a_panic_is_caught_logged_and_deferred() {
    let bad = || plugin("bad", |_| panic!("as tests do"));
    let mut play = Play::new(vec![bad(), list("list", "a.example")]);
    let Step::Done(Verdict::DenySoft(_), Some(0)) = play.run() else { panic!("deferred") };
    assert_eq!(play.host.log, ["(connect) bad: FATAL PLUGIN ERROR [bad]: the plugin panicked"]);

    // On speculation it is no news: a verdict before it may stand.
    let mut play = Play::new(vec![list("list", "a.example"), bad()]);
    assert_eq!(play.run(), Step::Waiting);
    assert!(play.host.log.is_empty());
    play.answer("a.example", listed());
    assert_eq!(play.run(), Step::Done(refusal("a.example"), Some(0)));

    // Observers are told all the same.
    struct Watches(bool);
    impl Plugin for Watches {
        fn hooks(&self) -> HookSet {
            HookSet::of(&[Hook::Disconnect])
        }
        fn disconnect(&self, cx: &mut Cx<'_>) {
            assert!(self.0, "as tests do");
            cx.log(Level::Info, "seen");
        }
    }
    let watching = |name, good| Loaded::plain(name, Arc::new(Watches(good)));
    let chain = Chain::new("test", vec![watching("bad", false), watching("good", true)]);
    observe(&chain, &mut play.host, Observed::Disconnect, Moment::default());
    let panicked = "(disconnect) bad: FATAL PLUGIN ERROR [bad]: the plugin panicked";
    assert_eq!(play.host.log, [panicked, "seen"]);
}

#[test]
fn clock_and_dice_stand_still_while_a_hook_waits() {
    let seen: Arc<Mutex<Vec<(Moment, u64, u64)>>> = Arc::default();
    let acting = |name| {
        let seen = Arc::clone(&seen);
        plugin(name, move |cx| {
            let drawn = (cx.now(), cx.random(), cx.random());
            seen.lock().expect("one thread").push(drawn);
            cx.dns(a("x.example"))?;
            Ok(Verdict::Declined)
        })
    };
    for (name, hook) in [("a", Hook::Connect), ("b", Hook::Connect), ("a", Hook::Message)] {
        let mut play = Play::of(hook, vec![acting(name)]);
        play.now = Duration::from_secs(5);
        play.run();
        play.now = Duration::from_secs(8);
        play.answer("x.example", unlisted());
        assert_eq!(play.run(), Step::Done(Verdict::Declined, None));
    }
    let seen = seen.lock().expect("one thread");
    let [a, a2, b, _, other_hook, _] = seen.as_slice() else { panic!("six runs") };
    assert_eq!(a, a2, "a run again sees the same");
    assert_eq!(a.0.mono, Duration::from_secs(5));
    assert!(a.1 != a.2 && a.1 != b.1 && a.1 != other_hook.1);
}

#[test]
fn what_is_asked_ahead_of_time_is_not_waited_for() {
    let wants = plugin("wants", |cx| {
        cx.want(a("later.example"));
        cx.want(a("later.example"));
        cx.want(a("known.example"));
        cx.dns(a("now.example"))?;
        cx.want(a("now.example"));
        Ok(Verdict::Declined)
    });
    let mut play = Play::new(vec![wants]);
    play.host.prefetched.insert(Question::Dns(a("known.example")), &Arc::new(listed()));
    play.run();
    assert_eq!(play.asked(), ["now.example"]);
    play.answer("now.example", unlisted());
    assert_eq!(play.run(), Step::Done(Verdict::Declined, None));
    let wanted: Vec<_> =
        play.invocation.take_wanted().into_iter().map(|(q, a)| (name_of(&q), a)).collect();
    let answer = Some(Arc::new(unlisted()));
    let expected = [("later.example".to_string(), None), ("now.example".to_string(), answer)];
    assert_eq!(wanted, expected, "once each, with the answer where there is one");
}
