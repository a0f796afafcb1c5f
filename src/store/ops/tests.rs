//! Records, and how ops change them.

use super::*;

fn folded<'a>(table: Table, ops: impl IntoIterator<Item = &'a Op>) -> Row {
    let mut row = Row::default();
    for op in ops {
        row.merge(table, &op.row);
    }
    row
}

#[test]
fn scores_come_to_outcomes() {
    for (score, strikes, outcome) in [
        (3, 3, Outcome::Nice),
        (2, 3, Outcome::Neutral),
        (0, 3, Outcome::Neutral),
        (-2, 3, Outcome::Neutral),
        (-3, 3, Outcome::Naughty),
        (-1, 1, Outcome::Naughty),
        (0, 0, Outcome::Neutral),
        (i32::MIN, 3, Outcome::Naughty),
        (i32::MAX, u32::MAX, Outcome::Neutral),
    ] {
        assert_eq!(Outcome::of(score, strikes), outcome, "{score} {strikes}");
    }
}

#[test]
fn connections_are_counted() {
    let rows: [(&[Outcome], Karma); 4] = [
        (&[], Karma::default()),
        (
            &[Outcome::Neutral],
            Karma { seen_at: 100, naughty_at: 0, naughty: 0, nice: 0, connects: 1 },
        ),
        (
            &[Outcome::Nice, Outcome::Naughty, Outcome::Neutral],
            Karma { seen_at: 102, naughty_at: 101, naughty: 1, nice: 1, connects: 3 },
        ),
        (
            &[Outcome::Naughty, Outcome::Nice, Outcome::Naughty],
            Karma { seen_at: 102, naughty_at: 102, naughty: 2, nice: 1, connects: 3 },
        ),
    ];
    for (outcomes, expected) in rows {
        let ops: Vec<Op> =
            (100..).zip(outcomes).map(|(at, it)| Op::close("192.0.2.1", *it, at)).collect();
        assert_eq!(Karma::from(&folded(Table::Karma, &ops)), expected, "{outcomes:?}");
        let backwards = folded(Table::Karma, ops.iter().rev());
        assert_eq!(Karma::from(&backwards), expected, "{outcomes:?} backwards");
    }
}

#[test]
fn greylisting_counts_and_keeps_both_ends() {
    let ops = [
        Op::insert_if_absent("k", 50),
        Op::seen_black("k", 40),
        Op::seen_white("k", 90),
        Op::seen_white("k", 80),
        Op::insert_if_absent("k", 70),
    ];
    let expected = Greylist { first: 40, last: 90, black: 1, white: 2 };
    // Each start of the circle, in both directions.
    for start in 0..ops.len() {
        let order: Vec<&Op> = ops.iter().cycle().skip(start).take(ops.len()).collect();
        assert_eq!(Greylist::from(&folded(Table::Greylist, order.iter().copied())), expected);
        assert_eq!(Greylist::from(&folded(Table::Greylist, order.into_iter().rev())), expected);
    }
    let one = folded(Table::Greylist, &ops[..1]);
    assert_eq!(Greylist::from(&one), Greylist { first: 50, last: 50, black: 0, white: 0 });
}

#[test]
fn mails_to_an_address_are_counted() {
    let ops = [50, 70, 0, 60].map(|at| Op::written_to("a@example.org", at));
    let expected = Correspondent { written_at: 70, mails: 4 };
    assert_eq!(Correspondent::from(&folded(Table::Whitelist, &ops)), expected);
    assert_eq!(Correspondent::from(&folded(Table::Whitelist, ops.iter().rev())), expected);
    assert_eq!(ops[2].row.values(Table::Whitelist).next().unwrap().1, 1, "a record has an age");
}

#[test]
fn penalties_follow_from_the_counts() {
    let at = 1_000_000;
    for (naughty, nice, naughty_at, negative, start) in [
        (0, 0, 0, 2, None),
        (1, 0, at, 2, None),
        (2, 0, at, 2, Some(at)),
        (10, 8, at, 2, Some(at)),
        (10, 9, at, 2, None),
        (1, 0, at, 1, Some(at)),
        (5, 0, at, 2, Some(at)),
        (6, 0, at, 2, Some(at + 6 * DAY)),
        (7, 1, at, 2, Some(at)),
        (2, 0, 0, 2, None),
        (3, 2, at, 0, Some(at)),
        (u32::MAX, 0, at, 2, Some(at + u64::from(u32::MAX) * DAY)),
    ] {
        let karma = Karma { seen_at: at, naughty_at, naughty, nice, connects: naughty + nice };
        assert_eq!(karma.penalty_start(negative), start, "{karma:?} {negative}");
    }
}

#[test]
fn records_are_read_back_and_nothing_else_is() {
    let karma = Karma { seen_at: 5, naughty_at: 4, naughty: 3, nice: 2, connects: 1 };
    let greylist = Greylist { first: 1, last: 2, black: 3, white: 4 };
    assert_eq!(Karma::decode(&karma.encode()), Some(karma));
    assert_eq!(Greylist::decode(&greylist.encode()), Some(greylist));
    let known = Correspondent { written_at: 5, mails: 2 };
    assert_eq!(Correspondent::decode(&known.encode()), Some(known));
    let mut cases: Vec<Vec<u8>> = vec![vec![], vec![1], vec![2; 42], greylist.encode().to_vec()];
    let whole = karma.encode().to_vec();
    cases.push(whole[..whole.len() - 1].to_vec());
    cases.push([&whole[..], &[0]].concat());
    cases.push([&[2], &whole[1..]].concat());
    for case in cases {
        assert_eq!(Karma::decode(&case), None, "{case:?}");
    }
    let absurd = [&[1, b'k'][..], &[0xff; 40]].concat();
    let kept = Karma::decode(&absurd).expect("cut to the bounds");
    assert_eq!((kept.seen_at, kept.nice), (STAMP_MAX, u32::MAX));
}

#[test]
fn counts_stop_at_their_bound() {
    let full = Karma { naughty: u32::MAX, connects: u32::MAX, ..Karma::default() };
    let mut row = full.row();
    row.merge(Table::Karma, &Op::close("k", Outcome::Naughty, u64::MAX).row);
    let seen = (STAMP_MAX, STAMP_MAX);
    let karma = Karma::from(&row);
    assert_eq!((karma.seen_at, karma.naughty_at), seen);
    assert_eq!((karma.naughty, karma.nice, karma.connects), (u32::MAX, 0, u32::MAX));
}

#[test]
fn clients_are_addresses_or_networks() {
    for (ip, key) in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ] {
        assert_eq!(site_key(ip.parse().unwrap()), key);
    }
}

#[test]
fn tables_have_names_and_keys_a_bound() {
    for table in Table::ALL {
        assert_eq!(Table::named(table.name()), Some(table));
        assert_eq!(table.fields()[0].fold, Fold::Latest, "records age by their first field");
        assert!(table.fields().len() <= FIELDS_MAX);
        let counts = table.fields().iter().map(|field| field.fold == Fold::Sum);
        assert!(counts.is_sorted(), "times come before counts");
    }
    assert_eq!(Table::named("dmarc"), None);
    assert!(Key::new(Table::Karma, &"k".repeat(KEY_MAX)).is_some());
    assert!(Key::new(Table::Karma, &"k".repeat(KEY_MAX + 1)).is_none());
    assert_eq!(Op::close("k", Outcome::Nice, 0).row.values(Table::Karma).next().unwrap().1, 1);
}

#[test]
fn any_octets_will_do() {
    let karma = Karma { seen_at: 5, naughty_at: 4, naughty: 9, nice: 0, connects: 1 }.encode();
    let greylist = Greylist { first: 1, last: 2, black: 3, white: 4 }.encode();
    let known = Correspondent { written_at: 5, mails: 2 }.encode();
    for seed in [&karma, &greylist, &known] {
        for (place, bit) in (0..seed.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
            let mut octets = seed.to_vec();
            octets[place] ^= 1 << bit;
            fuzz(&octets);
            fuzz(&octets[..place]);
        }
    }
}
