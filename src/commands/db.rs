//! `mailreeve db` and `mailreeve config`, which are also `db` and `config`: SME Server's databases on the
//! command line.
//!
//! Scripts of twenty years read their output and exit codes, so both are the original's to the letter.
//! Two things differ. What would corrupt a record is refused, and a change that could not be stored is
//! never told as done.

mod journal;

use crate::commands::databases::{CONFIGURATION, place};
use crate::commands::{DONE, Fault, NO, complain, wants_help};
use crate::esmith::database::Database;
use crate::esmith::file;
use crate::esmith::record::{Record, Refusal};
use crate::server::clock;
use crate::sys::time::{LocalTime, local};
use lexopt::Arg;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Usage: mailreeve db [--db-dir DIR] DATABASE COMMAND [ARGS]

Reads and changes a database of SME Server: records of a key, a type, and
properties with values.

  keys                          the keys
  print [KEY]                   KEY=TYPE|PROP|VALUE..., as it is stored
  show [KEY]                    KEY=TYPE, and a line per property
  get KEY                       TYPE|PROP|VALUE...
  gettype KEY                   TYPE
  printtype [KEY]               KEY=TYPE
  getprop KEY PROP              a property's value
  printprop KEY [PROP]...       PROP=VALUE, a line per property
  set KEY TYPE [PROP VALUE]...         stores a record in place of what was there
  setdefault KEY TYPE [PROP VALUE]...  the same, where there is no such key
  setprop KEY PROP VALUE [PROP VALUE]...  changes properties; does nothing where
                                there is no such key
  settype KEY TYPE              changes the type
  delprop KEY PROP...           removes properties
  delete KEY                    removes a record

  --db-dir DIR   the folder of the databases; else ESMITH_DB, DBPATH,
                 /home/e-smith/db. DATABASE may also be an absolute path

Exit codes: 0: done, or found; for setprop, delprop and setdefault also where
nothing was to be done. 1: not there, or not stored. 255: used wrongly, or the
database cannot be read. A `|` in a type, property or value is not stored.
";

pub(super) const CONFIG_HELP: &str = "\
Usage: mailreeve config [--db-dir DIR] COMMAND [ARGS]

The same as `mailreeve db configuration COMMAND [ARGS]`: the database in which
SME Server keeps its services. `mailreeve db --help` has the commands.
";

/// How the original ends when it is used wrongly.
const DIED: u8 = 255;

/// Where the system's log listens.
const LOG: &str = "/dev/log";

/// A property and its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// What is asked of a database.
#[derive(Debug, PartialEq, Eq)]
enum Question<'a> {
    Keys,
    Print(Option<&'a [u8]>),
    Show(Option<&'a [u8]>),
    Get(&'a [u8]),
    Type(&'a [u8]),
    PrintType(Option<&'a [u8]>),
    Property(&'a [u8], &'a [u8]),
    Properties(&'a [u8], &'a [&'a [u8]]),
}

/// What is to be changed.
#[derive(Debug, PartialEq, Eq)]
enum Change<'a> {
    Set(&'a [u8], &'a [u8], Vec<Pair<'a>>),
    SetDefault(&'a [u8], &'a [u8], Vec<Pair<'a>>),
    SetProperties(&'a [u8], Vec<Pair<'a>>),
    SetType(&'a [u8], &'a [u8]),
    DeleteProperties(&'a [u8], &'a [&'a [u8]]),
    Delete(&'a [u8]),
}

impl Change<'_> {
    /// The key of the record, as it is stored.
    fn key(&self) -> &[u8] {
        match self {
            Change::Set(key, ..) | Change::SetDefault(key, ..) => key.trim_ascii(),
            Change::SetProperties(key, _)
            | Change::SetType(key, _)
            | Change::DeleteProperties(key, _)
            | Change::Delete(key) => key,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Task<'a> {
    Ask(Question<'a>),
    Change(Change<'a>),
}

pub(super) fn run(parser: lexopt::Parser) -> Result<u8, Fault> {
    let (folder, mut words) = options(parser)?;
    if words.is_empty() {
        return Ok(misused(HELP));
    }
    let database = words.remove(0);
    carry_out(folder, &database, &words, HELP)
}

pub(super) fn run_config(parser: lexopt::Parser) -> Result<u8, Fault> {
    let (folder, words) = options(parser)?;
    carry_out(folder, OsStr::new(CONFIGURATION), &words, CONFIG_HELP)
}

/// The folder that was named, and all words from the first on that is no option: a value may look like
/// one.
fn options(mut parser: lexopt::Parser) -> Result<(Option<PathBuf>, Vec<OsString>), Fault> {
    let (mut folder, mut words) = (None, Vec::new());
    while words.is_empty() {
        match parser.next()? {
            Some(Arg::Long("help") | Arg::Short('h')) => return Err(wants_help()),
            Some(Arg::Long("db-dir")) => folder = Some(PathBuf::from(parser.value()?)),
            Some(Arg::Value(word)) => words.push(word),
            Some(other) => return Err(other.unexpected().into()),
            None => return Ok((folder, words)),
        }
    }
    words.extend(parser.raw_args()?);
    Ok((folder, words))
}

fn misused(help: &str) -> u8 {
    complain(help);
    DIED
}

fn carry_out(
    folder: Option<PathBuf>,
    database: &OsStr,
    words: &[OsString],
    help: &str,
) -> Result<u8, Fault> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let Some(task) = task(&words) else { return Ok(misused(help)) };
    let path = place(folder, database);
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    match task {
        Task::Ask(question) => match file::read(&path) {
            Ok(database) => {
                let (text, found) = answer(&database, &question);
                // A reader that went away (`| head`) has seen what it wanted.
                let _gone = io::stdout().lock().write_all(&text);
                Ok(if found { DONE } else { NO })
            }
            Err(error) => {
                complain(&format!("mailreeve db: {}\n", failed(error)));
                Ok(DIED)
            }
        },
        Task::Change(change) => {
            let mut lines = Vec::new();
            let done = file::change(&path, &now(), |database| {
                let key = change.key();
                let before = database.get(key).cloned();
                let done = apply(database, &change);
                lines = journal::lines(&path, key, before.as_ref(), database.get(key));
                done
            })
            .map_err(|error| Fault::No(failed(error)))?
            .map_err(|refusal| Fault::No(refusal.to_string()))?;
            // Where nobody keeps a log the change is as good.
            let _unlogged = journal::send(Path::new(LOG), &log_time(), &lines);
            Ok(if done { DONE } else { NO })
        }
    }
}

/// The local time as C's `ctime` writes it.
pub(super) fn now() -> String {
    stamp(&local(i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX)))
}

/// The same as syslog has it (RFC 3164 section 4.1.2).
fn log_time() -> String {
    let time = local(i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX));
    let (month, day, hour) = (time.month_name(), time.day, time.hour);
    format!("{month} {day:2} {hour:02}:{:02}:{:02}", time.minute, time.second)
}

fn stamp(time: &LocalTime) -> String {
    let (weekday, month) = (time.weekday_name(), time.month_name());
    let (day, hour, minute, second) = (time.day, time.hour, time.minute, time.second);
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {}", time.year)
}

/// What the words ask for; `None` where they are no command or too many or too few.
fn task<'a>(words: &'a [&'a [u8]]) -> Option<Task<'a>> {
    let (command, words) = words.split_first()?;
    let change = match (*command, words) {
        (b"set", [key, kind, rest @ ..]) => Change::Set(key, kind, pairs(rest)?),
        (b"setdefault", [key, kind, rest @ ..]) => Change::SetDefault(key, kind, pairs(rest)?),
        (b"setprop", [key, rest @ ..]) if !rest.is_empty() => {
            Change::SetProperties(key, pairs(rest)?)
        }
        (b"settype", [key, kind]) => Change::SetType(key, kind),
        (b"delprop", [key, names @ ..]) if !names.is_empty() => {
            Change::DeleteProperties(key, names)
        }
        (b"delete", [key]) => Change::Delete(key),
        _ => return question(command, words).map(Task::Ask),
    };
    Some(Task::Change(change))
}

fn question<'a>(command: &[u8], words: &'a [&'a [u8]]) -> Option<Question<'a>> {
    Some(match (command, words) {
        (b"keys", []) => Question::Keys,
        (b"print", []) => Question::Print(None),
        (b"print", [key]) => Question::Print(Some(key)),
        (b"show", []) => Question::Show(None),
        (b"show", [key]) => Question::Show(Some(key)),
        (b"get", [key]) => Question::Get(key),
        (b"gettype", [key]) => Question::Type(key),
        (b"printtype", []) => Question::PrintType(None),
        (b"printtype", [key]) => Question::PrintType(Some(key)),
        (b"getprop", [key, name]) => Question::Property(key, name),
        (b"printprop", [key, names @ ..]) => Question::Properties(key, names),
        _ => return None,
    })
}

fn pairs<'a>(words: &'a [&'a [u8]]) -> Option<Vec<Pair<'a>>> {
    words
        .chunks(2)
        .map(|pair| match pair {
            [name, value] => Some((*name, *value)),
            _ => None,
        })
        .collect()
}

/// What is printed, and whether there was something.
fn answer(database: &Database, question: &Question<'_>) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    let chosen = |key: Option<&[u8]>| -> Vec<(Vec<u8>, &Record)> {
        let is_chosen = |found: &[u8]| key.is_none_or(|key| key == found);
        let records = database.records().filter(|(found, _)| is_chosen(found));
        records.map(|(found, record)| (found.to_vec(), record)).collect()
    };
    let alone = |value: Option<&[u8]>| match value {
        Some(value) => ([value, b"\n"].concat(), true),
        None => (Vec::new(), false),
    };
    match *question {
        Question::Keys => {
            for (key, _) in database.records() {
                text.extend([key, b"\n"].concat());
            }
        }
        Question::Print(key) => {
            for (key, record) in chosen(key) {
                pair(&mut text, &key, record.raw());
            }
        }
        Question::PrintType(key) => {
            for (key, record) in chosen(key) {
                pair(&mut text, &key, record.kind());
            }
        }
        Question::Show(key) => {
            for (key, record) in chosen(key) {
                pair(&mut text, &key, record.kind());
                for (name, value) in record.properties() {
                    text.extend(b"    ");
                    pair(&mut text, name, value);
                }
            }
        }
        Question::Get(key) => return alone(database.get(key).and_then(Record::raw)),
        Question::Type(key) => return alone(database.get(key).and_then(Record::kind)),
        Question::Property(key, name) => {
            let record = database.get(key);
            return alone(record.and_then(|it| it.properties().get(name).copied().flatten()));
        }
        Question::Properties(key, names) => {
            let properties = database.get(key).map(Record::properties).unwrap_or_default();
            if names.is_empty() {
                for (name, value) in &properties {
                    pair(&mut text, name, *value);
                }
            } else {
                for name in names {
                    if let Some(value) = properties.get(name) {
                        pair(&mut text, name, *value);
                    }
                }
                return (text, true);
            }
        }
    }
    let found = !text.is_empty();
    (text, found)
}

fn pair(text: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    text.extend([name, b"=", value.unwrap_or_default(), b"\n"].concat());
}

/// Makes a change; says whether the original calls it done.
fn apply(database: &mut Database, change: &Change<'_>) -> Result<bool, Refusal> {
    match change {
        Change::Set(key, kind, properties) => {
            database.set(key, Record::new(kind, properties)?)?;
        }
        Change::SetDefault(key, kind, properties) => {
            if database.get(key).is_none() {
                database.set(key, Record::new(kind, properties)?)?;
            }
        }
        Change::SetProperties(key, properties) => {
            if let Some(record) = database.get(key) {
                let changed = record.with_properties(properties)?;
                database.set(key, changed)?;
            }
        }
        Change::SetType(key, kind) => {
            let Some(record) = database.get(key) else { return Ok(false) };
            let changed = record.with_kind(kind)?;
            database.set(key, changed)?;
        }
        Change::DeleteProperties(key, names) => {
            if let Some(record) = database.get(key) {
                let changed = record.without(names)?;
                database.set(key, changed)?;
            }
        }
        Change::Delete(key) => return Ok(database.remove(key)),
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
