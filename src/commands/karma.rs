//! `mailreeve karma`: what is remembered of clients, for a person who wants to look or to forgive.
//!
//! It works beside a daemon that runs, on the store that the config folder names. What a penalty is
//! depends on the arguments of the plugin `karma`, so they are read as well.

use crate::commands::{DONE, Fault, NO, folder, print, wants_help};
use crate::plugins::karma::{Rules, Standing, days};
use crate::plugins::load::{Strictness, load};
use crate::store::ops::Table;
use crate::store::{Failure, Karma, Keeper, site_key};
use lexopt::Arg;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const HELP: &str = "\
Usage: mailreeve karma list [naughty|nice|both] [--config DIR]
       mailreeve karma show IP [--config DIR]
       mailreeve karma release IP [--config DIR]
       mailreeve karma prune [DAYS] [--config DIR]

What the plugin karma remembers of clients.

  list             every client, the latest seen first, or only those with naughty
                   or nice connections, or with both
  show IP          one client; exit code 1 if nothing is known of it
  release IP       forgives it its naughty connections; a running daemon knows within
                   a few seconds. Exit code 1 if nothing is known of it
  prune [DAYS]     forgets clients that were not seen for so many days (7)

  --config DIR     the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                   /etc/mailreeve, /var/service/qpsmtpd/config, the first that is
                   set or there

IPv6 clients are known by their /64. Penalty and Seen are in days: how long a
penalty lasts yet, and how long ago the client was last seen. Exit code 75: the
store is busy or cannot be reached; try again later.
";

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Days after which `prune` forgets.
const PRUNE_DAYS: u64 = 7;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    List(Filter),
    Show(IpAddr),
    Release(IpAddr),
    Prune(u64),
}

/// Which clients to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    All,
    Naughty,
    Nice,
    Both,
}

impl Filter {
    fn takes(self, karma: &Karma) -> bool {
        match self {
            Filter::All => true,
            Filter::Naughty => karma.naughty > 0,
            Filter::Nice => karma.nice > 0,
            Filter::Both => karma.naughty > 0 && karma.nice > 0,
        }
    }
}

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let (mut named, mut words) = (None, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("config") => named = Some(PathBuf::from(parser.value()?)),
            Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let task = task(&words).map_err(Fault::Usage)?;
    let files = folder::open(folder::find(named)?);
    let (site, _) = load(&files, &folder::defaults(), None, Strictness::Start);
    let rules = Rules::of_config(&files);
    let mut keeper = Keeper::open(&site.store).map_err(|failure| fault(&failure))?;
    #[expect(clippy::disallowed_methods, reason = "this is where the time comes in")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    carry_out(task, &mut keeper, rules, now)
}

fn task(words: &[&str]) -> Result<Task, String> {
    match words {
        ["list"] => Ok(Task::List(Filter::All)),
        ["list", "naughty"] => Ok(Task::List(Filter::Naughty)),
        ["list", "nice"] => Ok(Task::List(Filter::Nice)),
        ["list", "both"] => Ok(Task::List(Filter::Both)),
        ["show", ip] => address(ip).map(Task::Show),
        ["release", ip] => address(ip).map(Task::Release),
        ["prune"] => Ok(Task::Prune(PRUNE_DAYS)),
        ["prune", days] => {
            let days = days.parse().map_err(|_| format!("prune {days}: give a number of days"))?;
            Ok(Task::Prune(days))
        }
        [] => Err("say what to do".to_string()),
        [word, ..] => Err(format!("'{word}' is not asked for like this")),
    }
}

/// An address as typed, or as `list` shows it.
fn address(text: &str) -> Result<IpAddr, String> {
    let plain = text.strip_suffix("/64").unwrap_or(text);
    plain.parse().map_err(|_| format!("{text} is no IP address"))
}

/// A store that is busy or away may do it later; anything else is a plain no.
fn fault(failure: &Failure) -> Fault {
    let what = failure.to_string();
    let is_passing = what.contains("locked") || what.starts_with("redis://");
    if is_passing { Fault::Later(what) } else { Fault::No(what) }
}

fn carry_out(task: Task, keeper: &mut Keeper, rules: Rules, now: u64) -> Result<u8, Fault> {
    match task {
        Task::List(filter) => list(keeper, filter, rules, now),
        Task::Show(ip) => {
            let key = site_key(ip);
            let Some(karma) = keeper.karma(&key).map_err(|it| fault(&it))? else {
                print(&format!("nothing is known of {key}\n"));
                return Ok(NO);
            };
            print(&format!("{}{}", heading(), row(&key, &karma, rules, now)));
            Ok(DONE)
        }
        Task::Release(ip) => {
            let key = site_key(ip);
            if !keeper.release(&key).map_err(|it| fault(&it))? {
                print(&format!("nothing is known of {key}\n"));
                return Ok(NO);
            }
            print(&format!("{key} is released\n"));
            Ok(DONE)
        }
        Task::Prune(days) => {
            let before = now.saturating_sub(days.saturating_mul(DAY));
            let pruned = keeper.prune(Table::Karma, before).map_err(|it| fault(&it))?;
            print(&format!("{pruned} clients are forgotten\n"));
            Ok(DONE)
        }
    }
}

fn list(keeper: &mut Keeper, filter: Filter, rules: Rules, now: u64) -> Result<u8, Fault> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut clients, mut kept_out) = (0_u64, 0_u64);
    let (mut naughty, mut nice, mut connects) = (0_u64, 0_u64, 0_u64);
    // A reader that went away (`| head`) has seen what it wanted.
    let mut is_read = out.write_all(heading().as_bytes()).is_ok();
    let mut visit = |key: &str, karma: &Karma| {
        if filter.takes(karma) {
            clients += 1;
            kept_out += u64::from(left(karma, rules, now).is_some());
            naughty += u64::from(karma.naughty);
            nice += u64::from(karma.nice);
            connects += u64::from(karma.connects);
            is_read = is_read && out.write_all(row(key, karma, rules, now).as_bytes()).is_ok();
        }
        is_read
    };
    keeper.list_karma(&mut visit).map_err(|failure| fault(&failure))?;
    if is_read {
        let total = format!(
            "{clients} clients, {kept_out} kept out; {naughty} naughty, {nice} nice, \
             {connects} connects\n"
        );
        let _gone = out.write_all(total.as_bytes()).and_then(|()| out.flush());
    }
    Ok(DONE)
}

fn heading() -> String {
    line(["IP Address", "Penalty", "Naughty", "Nice", "Connects", "Seen"])
}

fn row(key: &str, karma: &Karma, rules: Rules, now: u64) -> String {
    let penalty = left(karma, rules, now).map_or_else(|| "-".to_string(), days);
    let seen = days(seconds(now.saturating_sub(karma.seen_at)));
    let counts = [karma.naughty, karma.nice, karma.connects].map(|count| count.to_string());
    let [naughty, nice, connects] = &counts;
    line([key, &penalty, naughty, nice, connects, &seen])
}

fn line([key, penalty, naughty, nice, connects, seen]: [&str; 6]) -> String {
    format!("{key:<26} {penalty:>8} {naughty:>8} {nice:>8} {connects:>9} {seen:>8}\n")
}

/// Seconds for which a client is kept out yet.
fn left(karma: &Karma, rules: Rules, now: u64) -> Option<i64> {
    match rules.standing(karma, seconds(now)) {
        Standing::KeptOut(left) => Some(left),
        Standing::Clear | Standing::Served => None,
    }
}

fn seconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn tasks() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (words, expected) in [
            ("list", Ok(Task::List(Filter::All))),
            ("list naughty", Ok(Task::List(Filter::Naughty))),
            ("list nice", Ok(Task::List(Filter::Nice))),
            ("list both", Ok(Task::List(Filter::Both))),
            ("show 192.0.2.1", Ok(Task::Show(ip("192.0.2.1")))),
            ("release 2001:db8:1:2::/64", Ok(Task::Release(ip("2001:db8:1:2::")))),
            ("prune", Ok(Task::Prune(7))),
            ("prune 30", Ok(Task::Prune(30))),
            ("", Err(())),
            ("list all", Err(())),
            ("show", Err(())),
            ("show host.example", Err(())),
            ("prune -1", Err(())),
            ("capture 192.0.2.1", Err(())),
        ] {
            let found: Vec<&str> = words.split_whitespace().collect();
            assert_eq!(task(&found).map_err(drop), expected, "{words}");
        }
    }

    #[test]
    fn rows() {
        let rules = Rules::of_config(&Files::in_memory([]));
        let now = 1_795_325_243;
        let karma = |naughty, nice| Karma {
            seen_at: now - 3_600,
            naughty_at: now - 43_200,
            naughty,
            nice,
            connects: 40,
        };
        for (key, naughty, nice, expected) in [
            ("192.0.2.1", 10, 8, "192.0.2.1 0.50 10 8 40 0.04"),
            ("192.0.2.1", 10, 9, "192.0.2.1 - 10 9 40 0.04"),
            ("2001:db8:1:2::/64", 6, 0, "2001:db8:1:2::/64 6.50 6 0 40 0.04"),
        ] {
            let shown = row(key, &karma(naughty, nice), rules, now);
            assert_eq!(shown.split_whitespace().collect::<Vec<_>>().join(" "), expected);
            assert_eq!(shown.len(), heading().len());
        }
    }

    #[test]
    fn filters() {
        let karma = |naughty, nice| Karma { naughty, nice, ..Karma::default() };
        for (filter, naughty, nice, expected) in [
            (Filter::All, 0, 0, true),
            (Filter::Naughty, 1, 0, true),
            (Filter::Naughty, 0, 1, false),
            (Filter::Nice, 0, 1, true),
            (Filter::Both, 1, 0, false),
            (Filter::Both, 1, 1, true),
        ] {
            assert_eq!(filter.takes(&karma(naughty, nice)), expected, "{filter:?}");
        }
    }
}
