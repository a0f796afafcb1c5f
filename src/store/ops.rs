//! What the store keeps, and how it changes: pure data.
//!
//! A plugin never writes back a value that it read: between its reading and its writing another
//! session, or another front end, may have done the same. It stages an [`Op`] instead. Each op is
//! itself a small record, and two records make one by fixed rules: counts add up, of two times the
//! later (or the earlier) stands. So ops may be folded together, repeated on top of each other, and
//! come in any order, and still give the same record in every back end.
//!
//! A penalty is therefore not stored. It follows from the counts and from the time of the latest
//! naughty connection, which also means that a changed setting holds for old records.

use crate::config::nets;
use std::net::IpAddr;
use std::sync::Arc;

/// Name of the table of reputations, as plugins ask for it.
pub const KARMA: &str = "karma";

/// Name of the table of greylisted senders, as plugins ask for it.
pub const GREYLIST: &str = "greylist";

/// Name of the table of addresses that our users have written to, as plugins ask for it.
pub const WHITELIST: &str = "whitelist";

/// Longest key in octets: an address, a sender and a recipient. Longer ones are never stored.
pub(super) const KEY_MAX: usize = 1_024;

/// Fields of the widest record.
const FIELDS_MAX: usize = 5;

/// First octet of an encoded record; another layout gets another number.
const VERSION: u8 = 1;

/// 9999-12-31T23:59:59Z. Later times are cut to it: no clock means them.
const STAMP_MAX: u64 = 253_402_300_799;

/// Counts stop here.
pub(super) const COUNT_MAX: u64 = 0xffff_ffff;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Clients without any nice connection whose history is below this get longer penalties.
const LENIENT_HISTORY: i64 = -5;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One [`Karma`] for each client.
    Karma,
    /// One [`Greylist`] for each combination that greylisting tells apart.
    Greylist,
    /// One [`Correspondent`] for each address that our users have written to.
    Whitelist,
}

/// How two values of a field make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// They are counts and add up.
    Sum,
    /// They are times; the later one stands.
    Latest,
    /// They are times; the earlier one stands. 0 is no time.
    Earliest,
}

/// A field of a table. Times come before counts; the first one is that by which records age, and is
/// never 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) fold: Fold,
}

const KARMA_FIELDS: [Field; 5] = [
    Field { name: "seen_at", fold: Fold::Latest },
    Field { name: "naughty_at", fold: Fold::Latest },
    Field { name: "naughty", fold: Fold::Sum },
    Field { name: "nice", fold: Fold::Sum },
    Field { name: "connects", fold: Fold::Sum },
];

const GREYLIST_FIELDS: [Field; 4] = [
    Field { name: "last_at", fold: Fold::Latest },
    Field { name: "first_at", fold: Fold::Earliest },
    Field { name: "black", fold: Fold::Sum },
    Field { name: "white", fold: Fold::Sum },
];

const WHITELIST_FIELDS: [Field; 2] =
    [Field { name: "written_at", fold: Fold::Latest }, Field { name: "mails", fold: Fold::Sum }];

impl Table {
    /// Every table.
    pub const ALL: [Table; 3] = [Table::Karma, Table::Greylist, Table::Whitelist];

    /// The name by which plugins and back ends know it.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Karma => KARMA,
            Table::Greylist => GREYLIST,
            Table::Whitelist => WHITELIST,
        }
    }

    /// The table of this name.
    pub fn named(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            Table::Karma => &KARMA_FIELDS,
            Table::Greylist => &GREYLIST_FIELDS,
            Table::Whitelist => &WHITELIST_FIELDS,
        }
    }

    /// Name of the field by which records age.
    pub(super) fn age_field(self) -> &'static str {
        self.fields().first().map_or("", |field| field.name)
    }

    fn tag(self) -> u8 {
        match self {
            Table::Karma => b'k',
            Table::Greylist => b'g',
            Table::Whitelist => b'w',
        }
    }
}

/// Where a record is: a table, and a key in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The table.
    pub table: Table,
    /// The key in it.
    pub text: Arc<str>,
}

impl Key {
    /// A key; `None` where it is longer than anything that is stored.
    pub fn new(table: Table, text: &str) -> Option<Key> {
        (text.len() <= KEY_MAX).then(|| Key { table, text: text.into() })
    }
}

/// The values of a record, in the order of its table's fields; what the table has not is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row([u64; FIELDS_MAX]);

impl Row {
    /// A row from what a back end holds. Values that no op can lead to are cut to the bounds, so that
    /// whoever wrote them does no harm.
    pub(super) fn from_values(table: Table, values: impl IntoIterator<Item = u64>) -> Row {
        let mut row = Row::default();
        for ((place, field), value) in row.0.iter_mut().zip(table.fields()).zip(values) {
            *place = value.min(field.fold.bound());
        }
        row
    }

    /// The fields with their values.
    pub(super) fn values(&self, table: Table) -> impl Iterator<Item = (&'static Field, u64)> {
        table.fields().iter().zip(self.0)
    }

    /// Adds what another row of the same table says.
    pub fn merge(&mut self, table: Table, other: &Row) {
        for ((place, field), value) in self.0.iter_mut().zip(table.fields()).zip(other.0) {
            *place = field.fold.join(*place, value).min(field.fold.bound());
        }
    }

    /// The row as octets, for [`Karma::decode`] and its like.
    pub fn encode(&self, table: Table) -> Box<[u8]> {
        let values = self.values(table).flat_map(|(_, value)| value.to_le_bytes());
        [VERSION, table.tag()].into_iter().chain(values).collect()
    }

    /// A row from octets; `None` if they are not one of this table and version.
    pub fn decode(table: Table, octets: &[u8]) -> Option<Row> {
        let rest = octets.strip_prefix(&[VERSION, table.tag()])?;
        let (values, rest) = rest.as_chunks::<8>();
        let whole = rest.is_empty() && values.len() == table.fields().len();
        whole.then(|| Row::from_values(table, values.iter().map(|it| u64::from_le_bytes(*it))))
    }
}

impl Fold {
    fn join(self, a: u64, b: u64) -> u64 {
        match self {
            Fold::Sum => a.saturating_add(b),
            Fold::Latest => a.max(b),
            Fold::Earliest if a == 0 || b == 0 => a.max(b),
            Fold::Earliest => a.min(b),
        }
    }

    fn bound(self) -> u64 {
        match self {
            Fold::Sum => COUNT_MAX,
            Fold::Latest | Fold::Earliest => STAMP_MAX,
        }
    }
}

/// How a connection ended, as far as reputation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Good enough to be remembered for it.
    Nice,
    /// Bad enough to be remembered for it.
    Naughty,
    /// Neither: it is only counted.
    Neutral,
}

impl Outcome {
    /// What a connection's score comes to: `strikes` or more is nice, minus `strikes` or less naughty.
    pub fn of(score: i32, strikes: u32) -> Outcome {
        match (score.unsigned_abs() >= strikes, score.signum()) {
            (true, 1) => Outcome::Nice,
            (true, -1) => Outcome::Naughty,
            (true | false, _) => Outcome::Neutral,
        }
    }
}

/// What is known of a client. All times are seconds since 1970, 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Karma {
    /// End of the latest counted connection.
    pub seen_at: u64,
    /// End of the latest naughty one.
    pub naughty_at: u64,
    /// Naughty connections.
    pub naughty: u32,
    /// Nice connections.
    pub nice: u32,
    /// All counted connections.
    pub connects: u32,
}

impl Karma {
    /// A record from the store's answer; `None` if it is none.
    pub fn decode(octets: &[u8]) -> Option<Karma> {
        Row::decode(Table::Karma, octets).map(|row| Karma::from(&row))
    }

    /// The record as the store answers it; plugins' tests use it.
    pub fn encode(&self) -> Box<[u8]> {
        self.row().encode(Table::Karma)
    }

    /// Nice connections less naughty ones.
    pub fn history(&self) -> i64 {
        i64::from(self.nice) - i64::from(self.naughty)
    }

    /// When this client's penalty began, if its history is at or below minus `negative`: with its
    /// latest naughty connection. Who was never nice and has a history below -5 gets one that begins
    /// a day later for each point, and so ends later: qpsmtpd 0.96 writes the same time down.
    pub fn penalty_start(&self, negative: u32) -> Option<u64> {
        let history = self.history();
        if self.naughty_at == 0 || history > -i64::from(negative) {
            return None;
        }
        let repeats = self.nice == 0 && history < LENIENT_HISTORY;
        let days = if repeats { history.unsigned_abs() } else { 0 };
        Some(self.naughty_at.saturating_add(days.saturating_mul(DAY)))
    }

    fn row(&self) -> Row {
        let counts = [self.naughty, self.nice, self.connects].map(u64::from);
        Row::from_values(Table::Karma, [self.seen_at, self.naughty_at].into_iter().chain(counts))
    }
}

impl From<&Row> for Karma {
    fn from(row: &Row) -> Karma {
        let [seen_at, naughty_at, naughty, nice, connects] = row.0;
        let [naughty, nice, connects] = [naughty, nice, connects].map(count);
        Karma { seen_at, naughty_at, naughty, nice, connects }
    }
}

/// What is known of a greylisted combination. All times are seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greylist {
    /// The first attempt.
    pub first: u64,
    /// The latest attempt.
    pub last: u64,
    /// Attempts that were deferred, the first one aside.
    pub black: u32,
    /// Attempts that were let in.
    pub white: u32,
}

impl Greylist {
    /// A record from the store's answer; `None` if it is none.
    pub fn decode(octets: &[u8]) -> Option<Greylist> {
        Row::decode(Table::Greylist, octets).map(|row| Greylist::from(&row))
    }

    /// The record as the store answers it; plugins' tests use it.
    pub fn encode(&self) -> Box<[u8]> {
        self.row().encode(Table::Greylist)
    }

    fn row(&self) -> Row {
        let (black, white) = (u64::from(self.black), u64::from(self.white));
        Row::from_values(Table::Greylist, [self.last, self.first, black, white])
    }
}

impl From<&Row> for Greylist {
    fn from(row: &Row) -> Greylist {
        let [last, first, black, white, _] = row.0;
        Greylist { first, last, black: count(black), white: count(white) }
    }
}

/// What is known of an address that our users have written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Correspondent {
    /// The latest mail to it, in seconds since 1970.
    pub written_at: u64,
    /// Mails to it.
    pub mails: u32,
}

impl Correspondent {
    /// A record from the store's answer; `None` if it is none.
    pub fn decode(octets: &[u8]) -> Option<Correspondent> {
        Row::decode(Table::Whitelist, octets).map(|row| Correspondent::from(&row))
    }

    /// The record as the store answers it; plugins' tests use it.
    pub fn encode(&self) -> Box<[u8]> {
        self.row().encode(Table::Whitelist)
    }

    fn row(&self) -> Row {
        Row::from_values(Table::Whitelist, [self.written_at, u64::from(self.mails)])
    }
}

impl From<&Row> for Correspondent {
    fn from(row: &Row) -> Correspondent {
        let [written_at, mails, ..] = row.0;
        Correspondent { written_at, mails: count(mails) }
    }
}

fn count(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The key of a client: its IPv4 address, or its /64 of IPv6, written as one.
pub fn site_key(ip: IpAddr) -> String {
    match nets::site(ip) {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{v6}/64"),
    }
}

/// A change that a plugin stages. Changes to one record may be applied in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    pub(super) table: Table,
    pub(super) key: Box<str>,
    pub(super) row: Row,
}

impl Op {
    /// A connection of the client `key` ([`site_key`]) ended like this `at` so many seconds since 1970.
    pub fn close(key: &str, outcome: Outcome, at: u64) -> Op {
        let at = at.max(1);
        let is = |wanted: Outcome| u32::from(outcome == wanted);
        let (naughty, nice) = (is(Outcome::Naughty), is(Outcome::Nice));
        let naughty_at = if outcome == Outcome::Naughty { at } else { 0 };
        let karma = Karma { seen_at: at, naughty_at, naughty, nice, connects: 1 };
        Op { table: Table::Karma, key: key.into(), row: karma.row() }
    }

    /// A first attempt, deferred. A record that is there already keeps its counts, and its beginning
    /// unless this attempt was earlier.
    pub fn insert_if_absent(key: &str, at: u64) -> Op {
        Op::attempt(key, at, 0, 0)
    }

    /// A further attempt, deferred.
    pub fn seen_black(key: &str, at: u64) -> Op {
        Op::attempt(key, at, 1, 0)
    }

    /// An attempt that was let in.
    pub fn seen_white(key: &str, at: u64) -> Op {
        Op::attempt(key, at, 0, 1)
    }

    /// One of our users has written to the address `key`.
    pub fn written_to(key: &str, at: u64) -> Op {
        let mail = Correspondent { written_at: at.max(1), mails: 1 };
        Op { table: Table::Whitelist, key: key.into(), row: mail.row() }
    }

    fn attempt(key: &str, at: u64, black: u32, white: u32) -> Op {
        let at = at.max(1);
        let attempt = Greylist { first: at, last: at, black, white };
        Op { table: Table::Greylist, key: key.into(), row: attempt.row() }
    }

    /// What it adds to that record.
    pub fn row(&self) -> &Row {
        &self.row
    }

    /// The table it changes.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The key of the record that it changes.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Any octets give a record that encodes to themselves or to itself, or none.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    for table in Table::ALL {
        let Some(row) = Row::decode(table, data) else { continue };
        let encoded = row.encode(table);
        assert_eq!(encoded.len(), data.len());
        assert_eq!(Row::decode(table, &encoded), Some(row));
        let mut twice = row;
        twice.merge(table, &row);
        assert!(twice.values(table).all(|(field, value)| value <= field.fold.bound()));
        let mut others = Table::ALL.into_iter().filter(|other| *other != table);
        assert!(others.all(|other| Row::decode(other, data).is_none()));
    }
    let karma = Karma::decode(data);
    assert!(karma.is_none_or(|it| Karma::decode(&it.encode()) == Some(it)));
    assert!(karma.and_then(|it| it.penalty_start(2)).is_none_or(|start| start > 0));
    assert!(Greylist::decode(data).is_none_or(|it| Greylist::decode(&it.encode()) == Some(it)));
    let known = Correspondent::decode(data);
    assert!(known.is_none_or(|it| Correspondent::decode(&it.encode()) == Some(it)));
}

#[cfg(test)]
mod tests;
