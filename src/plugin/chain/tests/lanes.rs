//! Blocking: only on a lane, once, with questions that wait.

use super::*;
use crate::limits;

/// Asks a question, then blocks.
fn scanner(runs: &Arc<AtomicU32>) -> Loaded {
    counted("scanner", runs, false, |cx| {
        cx.karma(1);
        cx.dns(a("first.example"))?;
        let token = cx.lane(Lane::Scanners)?;
        assert_eq!(token.lane(), Lane::Scanners);
        cx.log(Level::Info, "scanned");
        Ok(Verdict::Declined)
    })
}

#[test]
fn a_hook_runs_on_its_lane_exactly_once() {
    let runs = Arc::default();
    let mut play = Play::new(vec![scanner(&runs), list("behind", "b.example")]);
    assert_eq!(play.run(), Step::Waiting);
    assert_eq!(play.asked(), ["first.example", "b.example"], "nothing is known of a lane yet");
    play.answer("first.example", unlisted());
    assert_eq!(play.run(), Step::Move(Lane::Scanners));
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    // Asked again before the move, it stays with that and runs nothing.
    assert_eq!(play.run(), Step::Move(Lane::Scanners));
    assert_eq!(play.run_at(Place::Worker), Step::Move(Lane::Scanners));
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert!(play.host.committed.is_empty());
    let oracle = Oracle::new(unlisted());
    let step = play.run_at(Place::Lane(Lane::Scanners, &oracle));
    assert_eq!(step, Step::Done(Verdict::Declined, None));
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    assert_eq!(play.host.committed, ["scanner", "behind"]);
    assert_eq!(play.host.log, ["karma 1 (1)", "scanned", "karma 1 (2)"]);
    assert_eq!(*oracle.asked.borrow(), [["b.example"]], "what was not in is waited for there");
}

#[test]
fn the_next_plugin_goes_on_where_the_chain_stands() {
    let on = |name, lane| {
        plugin(name, move |cx| {
            cx.lane(lane)?;
            Ok(Verdict::Declined)
        })
    };
    let chain = vec![on("a", Lane::Scanners), on("b", Lane::Scanners), on("c", Lane::Writers)];
    let mut play = Play::new(chain);
    let oracle = Oracle::new(unlisted());
    assert_eq!(play.run(), Step::Move(Lane::Scanners));
    assert_eq!(play.run_at(Place::Lane(Lane::Scanners, &oracle)), Step::Move(Lane::Writers));
    assert_eq!(play.host.committed, ["a", "b"]);
    let step = play.run_at(Place::Lane(Lane::Writers, &oracle));
    assert_eq!(step, Step::Done(Verdict::Declined, None));
}

#[test]
fn a_second_lane_is_a_fault() {
    let torn = plugin("torn", |cx| {
        cx.lane(Lane::Scanners)?;
        cx.lane(Lane::Writers)?;
        Ok(Verdict::OK)
    });
    let mut play = Play::new(vec![torn]);
    let oracle = Oracle::new(unlisted());
    assert_eq!(play.run(), Step::Move(Lane::Scanners));
    let step = play.run_at(Place::Lane(Lane::Scanners, &oracle));
    let Step::Done(Verdict::DenySoft(_), Some(0)) = step else { panic!("deferred: {step:?}") };
    assert_eq!(
        play.host.log,
        ["(connect) torn: error, it wants a second lane: a fault of the plugin"]
    );
}

#[test]
fn workers_are_enough_for_pure_work() {
    let acts = |cx: &mut Cx<'_>| {
        cx.lane(Lane::Workers)?;
        Ok(Verdict::Declined)
    };
    let oracle = Oracle::new(unlisted());
    for loaded in [
        plugin("asks", acts),
        Loaded { inline: false, ..plugin("never inline", |_| Ok(Verdict::Declined)) },
    ] {
        let mut play = Play::new(vec![loaded.clone()]);
        assert_eq!(play.run(), Step::Move(Lane::Workers));
        assert_eq!(play.run_at(Place::Worker), Step::Done(Verdict::Declined, None));
        let mut play = Play::new(vec![loaded]);
        let step = play.run_at(Place::Lane(Lane::Writers, &oracle));
        assert_eq!(step, Step::Done(Verdict::Declined, None), "it is out of the loop already");
    }
    // On a worker a question is missed, not waited for.
    let mut play = Play::new(vec![list("list", "a.example")]);
    assert_eq!(play.run_at(Place::Worker), Step::Waiting);
    assert_eq!(play.asked(), ["a.example"]);
}

#[test]
fn questions_on_a_lane_wait_together() {
    let zones = ["a.example", "b.example", "a.example"];
    let waits = plugin("waits", move |cx| {
        cx.lane(Lane::Scanners)?;
        let found = cx.dns_all(zones.iter().map(|zone| a(zone)))?;
        let again = cx.dns_all([a("b.example"), a("c.example")])?;
        let quiet = cx.quiet(Duration::from_secs(1))?;
        cx.log(Level::Info, format!("{} {} {quiet}", found.len(), again.len()));
        Ok(Verdict::Declined)
    });
    let mut play = Play::new(vec![waits]);
    play.run();
    let oracle = Oracle::new(unlisted());
    let step = play.run_at(Place::Lane(Lane::Scanners, &oracle));
    assert_eq!(step, Step::Done(Verdict::Declined, None));
    assert_eq!(play.host.log, ["3 2 true"]);
    let asked = [vec!["a.example", "b.example"], vec!["c.example"], vec!["quiet 1"]];
    assert_eq!(*oracle.asked.borrow(), asked);
    assert!(play.asked().is_empty(), "what a lane has asked is not sent again");
}

#[test]
fn the_budget_holds_on_a_lane_too() {
    for (answer, asked) in [
        (listed(), limits::HOOK_QUESTIONS_MAX),
        (heavy(limits::HOOK_ANSWERS_MAX / 4), 4),
        (Answer::TempFail, 1),
    ] {
        let endless = plugin("endless", |cx| {
            cx.lane(Lane::Scanners)?;
            let mut number = 0;
            while !cx.dns(a(&format!("{number}.example")))?.records().is_empty() {
                number += 1;
            }
            Ok(Verdict::Declined)
        });
        let mut play = Play::new(vec![endless]);
        play.run();
        let oracle = Oracle::new(answer);
        let step = play.run_at(Place::Lane(Lane::Scanners, &oracle));
        assert_eq!(step, Step::Done(Verdict::Declined, None));
        assert_eq!(oracle.asked.borrow().len(), asked);
    }
    // And all at once.
    let greedy = plugin("greedy", |cx| {
        cx.lane(Lane::Scanners)?;
        let answers = cx.dns_all((0..1_000).map(|number| a(&format!("{number}.example"))))?;
        let known = answers.iter().filter(|answer| **answer != dns::Answer::TempFail).count();
        assert_eq!((answers.len(), known), (1_000, limits::HOOK_QUESTIONS_MAX));
        Ok(Verdict::Declined)
    });
    let mut play = Play::new(vec![greedy]);
    play.run();
    let oracle = Oracle::new(unlisted());
    let step = play.run_at(Place::Lane(Lane::Scanners, &oracle));
    assert_eq!(step, Step::Done(Verdict::Declined, None));
}

#[test]
fn a_lane_that_knows_nothing_is_no_way_out_of_an_answer() {
    struct Mute;
    impl Ask for Mute {
        fn ask(&self, _questions: &[Question], deadline: Duration) -> Vec<Arc<Answer>> {
            assert_eq!(deadline, limits::HOOK_TIME_MAX, "the hook's own deadline");
            Vec::new()
        }
    }
    let judges = plugin("judges", |cx| {
        cx.lane(Lane::Scanners)?;
        let answers = cx.dns_all([a("a.example"), a("b.example")])?;
        assert_eq!(answers, vec![dns::Answer::TempFail; 2]);
        Ok(Verdict::OK)
    });
    let mut play = Play::new(vec![judges]);
    play.run();
    assert_eq!(play.run_at(Place::Lane(Lane::Scanners, &Mute)), Step::Done(Verdict::OK, Some(0)));
}

#[test]
fn time_that_runs_out_before_the_lane_leaves_the_move() {
    let runs = Arc::default();
    let mut play = Play::new(vec![scanner(&runs)]);
    play.run();
    play.now = limits::HOOK_TIME_MAX;
    assert_eq!(play.run(), Step::Move(Lane::Scanners), "the answer is TempFail, the work remains");
    let oracle = Oracle::new(unlisted());
    let step = play.run_at(Place::Lane(Lane::Scanners, &oracle));
    assert_eq!(step, Step::Done(Verdict::Declined, None));
    assert!(oracle.asked.borrow().is_empty(), "a spent hook asks nothing");
}
