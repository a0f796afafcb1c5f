//! The `store:` lines of a script: what the store of the pure form holds, and what plugins add to it.

use mailreeve::plugin::question::Answer;
use mailreeve::store::ops::{Row, Table};
use mailreeve::store::{Correspondent, Greylist, Karma, Op};
use std::collections::BTreeMap;

/// All records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    rows: BTreeMap<(&'static str, String), Row>,
    lines: Vec<(Table, String, Fields)>,
    /// It cannot say anything.
    is_away: bool,
}

/// `naughty=3 naughty_ago=3600`.
type Fields = BTreeMap<String, u64>;

/// The fields that a line may name; those that end in `_ago` are seconds before the client came.
const KARMA: [&str; 5] = ["naughty", "nice", "connects", "naughty_ago", "seen_ago"];
const GREYLIST: [&str; 4] = ["black", "white", "first_ago", "last_ago"];
const WHITELIST: [&str; 2] = ["mails", "written_ago"];

impl Memory {
    /// Takes `TABLE KEY field=number …`, or `away`. A key may hold blanks.
    pub(crate) fn add(&mut self, line: &str) -> Result<(), String> {
        if line == "away" {
            self.is_away = true;
            return Ok(());
        }
        let mut words: Vec<&str> = line.split(' ').collect();
        let table = words.first().and_then(|name| Table::named(name));
        let table = table.ok_or("store: karma, greylist or whitelist, a key, and field=number")?;
        let known: &[&str] = match table {
            Table::Karma => &KARMA,
            Table::Greylist => &GREYLIST,
            Table::Whitelist => &WHITELIST,
        };
        let mut fields = Fields::new();
        while let Some((name, number)) = words.last().and_then(|word| word.split_once('='))
            && known.contains(&name)
        {
            let number = number.parse().map_err(|_| format!("store: {name} is a number"))?;
            fields.insert(name.to_string(), number);
            words.pop();
        }
        if words.len() < 2 || fields.is_empty() {
            return Err("store: TABLE KEY field=number".into());
        }
        self.lines.push((table, words.split_off(1).join(" "), fields));
        Ok(())
    }

    /// Some line says something of it.
    pub(crate) fn is_set(&self) -> bool {
        self.is_away || !self.lines.is_empty()
    }

    /// The store when a client comes, at `now`.
    pub(crate) fn since(&self, now: u64) -> Memory {
        let mut memory = self.clone();
        for (table, key, fields) in memory.lines.drain(..) {
            let row = row(table, &fields, now);
            memory.rows.insert((table.name(), key), row);
        }
        memory
    }

    /// The answer to who asks.
    pub(crate) fn answer(&self, table: &'static str, key: &str) -> Answer {
        if self.is_away {
            return Answer::TempFail;
        }
        let row = self.rows.get(&(table, key.to_string()));
        let encode = |row: &Row| Table::named(table).map(|table| row.encode(table));
        Answer::Stored(row.and_then(encode))
    }

    /// Takes what a plugin recorded; gives the record as a line.
    pub(crate) fn record(&mut self, op: &Op) -> String {
        let table = op.table();
        let row = self.rows.entry((table.name(), op.key().to_string())).or_default();
        row.merge(table, op.row());
        let counts = match table {
            Table::Karma => {
                let Karma { naughty, nice, connects, .. } = Karma::from(&*row);
                format!("naughty={naughty} nice={nice} connects={connects}")
            }
            Table::Greylist => {
                let Greylist { black, white, .. } = Greylist::from(&*row);
                format!("black={black} white={white}")
            }
            Table::Whitelist => format!("mails={}", Correspondent::from(&*row).mails),
        };
        format!("store: {} {} {counts}", table.name(), op.key())
    }
}

fn row(table: Table, fields: &Fields, now: u64) -> Row {
    let count =
        |name: &str| fields.get(name).map_or(0, |count| u32::try_from(*count).unwrap_or(u32::MAX));
    let time = |name: &str| fields.get(name).map(|ago| now.saturating_sub(*ago));
    let encoded = match table {
        Table::Karma => {
            let naughty_at = time("naughty_ago").unwrap_or_default();
            let seen_at = time("seen_ago").unwrap_or(naughty_at.max(1));
            let (naughty, nice, connects) = (count("naughty"), count("nice"), count("connects"));
            Karma { seen_at, naughty_at, naughty, nice, connects }.encode()
        }
        Table::Greylist => {
            let first = time("first_ago").unwrap_or(now);
            let last = time("last_ago").unwrap_or(first);
            Greylist { first, last, black: count("black"), white: count("white") }.encode()
        }
        Table::Whitelist => {
            let written_at = time("written_ago").unwrap_or(now);
            Correspondent { written_at, mails: count("mails") }.encode()
        }
    };
    Row::decode(table, &encoded).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, right) in [
            ("karma 192.0.2.1 naughty=3 nice=1 connects=4 naughty_ago=3600", true),
            ("greylist 192.0.2.0/24 a@example.org first_ago=10 white=1", true),
            ("greylist a=b@example.org black=1", true),
            ("whitelist a@example.org mails=2 written_ago=60", true),
            ("whitelist a@example.org black=1", false),
            ("away", true),
            ("karma 192.0.2.1", false),
            ("karma naughty=1", false),
            ("karma 192.0.2.1 naughty=x", false),
            ("other 192.0.2.1 naughty=1", false),
        ] {
            assert_eq!(Memory::default().add(line).is_ok(), right, "{line}");
        }
    }

    #[test]
    fn records_add_up() {
        let mut memory = Memory::default();
        memory.add("greylist k first_ago=10 black=1").expect("it is right");
        let mut memory = memory.since(1_000);
        let line = memory.record(&Op::seen_white("k", 1_001));
        assert_eq!(line, "store: greylist k black=1 white=1");
        let Answer::Stored(Some(octets)) = memory.answer("greylist", "k") else { panic!() };
        let found = Greylist::decode(&octets);
        assert_eq!(found, Some(Greylist { first: 990, last: 1_001, black: 1, white: 1 }));
    }
}
