//! The store on a Valkey or Redis server, for several front ends that share what they know.
//!
//! Every change is a command of the server's own that commutes: counts are `HINCRBY` on a hash for
//! each record, times are scores of sorted sets, which `ZADD GT` only raises and `ZADD LT` only
//! lowers. So no script runs on the server, and front ends need not know of each other. The sorted
//! set of the field by which records age is also the list of all records. A batch is one
//! `MULTI … EXEC`.
//!
//! The names all begin with `mailreeve:`: `mailreeve:karma/192.0.2.1` is a hash,
//! `mailreeve:karma.seen_at` a sorted set. Servers before Redis 6.2 do not know `GT`.

use super::ops::{Field, Fold, Key, Row, Table};
use super::queue::Entry;
use super::{Backend, Failure, Keep, Open, Visit};
use crate::dns::resolver::address_in_hosts;
use redis::{Connection, ConnectionAddr, ErrorKind, Pipeline, RedisConnectionInfo, RedisError};
use redis::{FromRedisValue, IntoConnectionInfo, ParsingError, ServerErrorKind, Value};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Where the server listens if the address does not say.
const PORT: u16 = 6_379;

/// Time to connect and be let in.
const CONNECT_TIME_MAX: Duration = Duration::from_millis(400);

/// Time for an answer to come, or a question to go.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// Records listed with one question.
const PAGE: isize = 200;

/// Where a server is and how to be let in.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address. DNS is not asked for it, which the store might have to wait for.
    pub address: SocketAddr,
    /// Number of the database.
    pub database: i64,
    user: Option<String>,
    password: Option<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

impl fmt::Display for Server {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis://{}/{}", self.address, self.database)
    }
}

impl Server {
    /// Reads `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`; `valkey:` is the same. HOST is an address,
    /// `localhost`, or a name in `hosts`, the text of a hosts file. The error says in words what is
    /// wrong, without repeating the text.
    pub fn parse(url: &str, hosts: &str) -> Result<Server, &'static str> {
        let rest = ["redis://", "valkey://"].iter().find_map(|start| url.strip_prefix(start));
        let rest = rest.ok_or("does not begin with redis:// (TLS is not offered)")?;
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (host, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let number = if database.is_empty() { Ok(0) } else { database.parse::<u16>() };
        let number = number.map_err(|_| "has no number of a database behind the slash")?;
        if password.is_empty() && !login.is_empty() {
            return Err("names a user without a password");
        }
        let text = |part: &str| (!part.is_empty()).then(|| part.to_string());
        Ok(Server {
            address: parse_host(host, hosts)?,
            database: i64::from(number),
            user: text(user),
            password: text(password),
        })
    }

    fn connect(&self) -> Result<Connection, RedisError> {
        let mut login = RedisConnectionInfo::default().set_db(self.database);
        login = login.set_lib_name("mailreeve", crate::config::VERSION);
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        let address = ConnectionAddr::Tcp(self.address.ip().to_string(), self.address.port());
        let info = address.into_connection_info()?;
        let client = redis::Client::open(info.set_redis_settings(login))?;
        let connection = client.get_connection_with_timeout(CONNECT_TIME_MAX)?;
        connection.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        connection.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(connection)
    }
}

fn parse_host(host: &str, hosts: &str) -> Result<SocketAddr, &'static str> {
    const WRONG: &str = "has no IP address and port: DNS is not asked, so write an IP address, \
         localhost, or a name that stands in /etc/hosts; an IPv6 address stands in brackets";
    let plain = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = plain.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| WRONG)?),
        None => (host, PORT),
    };
    let ip = address_in_hosts(hosts, name).filter(|_| !name.is_empty()).ok_or(WRONG)?;
    Ok(SocketAddr::new(ip, port))
}

impl Open for Server {
    fn open(&self) -> Result<Box<dyn Backend>, Failure> {
        match self.connect() {
            Ok(connection) => Ok(Box::new(Valkey { connection, server: self.to_string() })),
            Err(error) => Err(failure(&self.to_string(), &error)),
        }
    }
}

fn failure(server: &str, error: &RedisError) -> Failure {
    // The server's own words may be long, and hold what was sent to it.
    let words: String = error.to_string().chars().filter(|it| !it.is_control()).take(200).collect();
    Failure::new(format!("{server}: {words}"))
}

/// A connection to a server.
struct Valkey {
    connection: Connection,
    server: String,
}

impl Valkey {
    fn ask<T: FromRedisValue>(&mut self, pipe: &Pipeline) -> Result<T, Failure> {
        pipe.query(&mut self.connection).map_err(|error| failure(&self.server, &error))
    }

    /// Records by their keys. Counts are asked for before times: what another front end does in
    /// between then shows as a time that is a little late, never as a count without its time. (A
    /// transaction would be refused by a server whose memory is full.)
    fn rows(&mut self, table: Table, keys: &[&str]) -> Result<Vec<Option<Row>>, Failure> {
        let (counts, times): (Vec<&Field>, Vec<&Field>) =
            table.fields().iter().partition(|field| field.fold == Fold::Sum);
        let mut pipe = redis::pipe();
        for key in keys {
            pipe.cmd("HMGET").arg(hash(table, key));
            for field in &counts {
                pipe.arg(field.name);
            }
            for field in &times {
                pipe.cmd("ZSCORE").arg(set(table, field)).arg(*key);
            }
        }
        let answers: Vec<Value> = self.ask(&pipe)?;
        let rows = answers.chunks(1 + times.len()).map(|answers| row(table, answers));
        rows.collect::<Result<_, _>>().map_err(|error| {
            let server = &self.server;
            Failure::new(format!("{server}: a value is no number: {error}"))
        })
    }
}

/// One record from the counts and the times of a key.
fn row(table: Table, answers: &[Value]) -> Result<Option<Row>, ParsingError> {
    let Some((counts, times)) = answers.split_first() else { return Ok(None) };
    let times: Vec<Option<f64>> =
        times.iter().map(redis::from_redis_value_ref).collect::<Result<_, _>>()?;
    // A record is there when it has an age.
    if times.first().copied().flatten().is_none() {
        return Ok(None);
    }
    let counts: Vec<Option<f64>> = redis::from_redis_value_ref(counts)?;
    let values = times.into_iter().chain(counts).map(|value| whole(value.unwrap_or_default()));
    Ok(Some(Row::from_values(table, values)))
}

impl Backend for Valkey {
    fn read(&mut self, key: &Key) -> Result<Option<Row>, Failure> {
        Ok(self.rows(key.table, &[&key.text])?.into_iter().next().flatten())
    }

    fn write(&mut self, batch: &[Entry]) -> Result<(), Failure> {
        // A connection that was idle may be dead without knowing it. It is better to learn that now
        // than from the batch, of which one would not know whether it was done.
        self.ask::<Value>(redis::pipe().cmd("PING"))?;
        let mut pipe = redis::pipe();
        pipe.atomic();
        for (key, row, _) in batch {
            for (field, value) in row.values(key.table).filter(|(_, value)| *value > 0) {
                add(&mut pipe, key, field, value);
            }
        }
        let done: Result<Value, RedisError> = pipe.query(&mut self.connection);
        done.map(drop).map_err(|error| Failure {
            // Only then does the server say that it did nothing. Where a foreign value stands under
            // one of our names, the rest of the batch was done.
            is_doubtful: error.kind() != ErrorKind::Server(ServerErrorKind::ExecAbort),
            ..failure(&self.server, &error)
        })
    }

    fn clear(&mut self, key: &Key, fields: &[&'static str]) -> Result<bool, Failure> {
        let there = self.read(key)?.is_some();
        let mut pipe = redis::pipe();
        pipe.atomic();
        for field in key.table.fields().iter().filter(|field| fields.contains(&field.name)) {
            match field.fold {
                Fold::Sum => pipe.cmd("HDEL").arg(hash(key.table, &key.text)).arg(field.name),
                Fold::Latest | Fold::Earliest => {
                    pipe.cmd("ZREM").arg(set(key.table, field)).arg(&*key.text)
                }
            };
        }
        self.ask::<Value>(&pipe)?;
        Ok(there)
    }

    fn list(&mut self, table: Table, visit: Visit<'_>) -> Result<(), Failure> {
        let ages = ages(table);
        for start in (0..).step_by(PAGE.unsigned_abs()) {
            let end = start + PAGE - 1;
            let keys: Vec<Vec<String>> =
                self.ask(redis::pipe().cmd("ZREVRANGE").arg(&ages).arg(start).arg(end))?;
            let keys: Vec<&str> = keys.iter().flatten().map(String::as_str).collect();
            if keys.is_empty() {
                return Ok(());
            }
            let rows = self.rows(table, &keys)?;
            for (key, row) in keys.iter().zip(rows) {
                if row.is_some_and(|row| !visit(key, &row)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn prune(&mut self, table: Table, before: u64, keep: Keep) -> Result<u64, Failure> {
        let ages = ages(table);
        let mut pipe = redis::pipe();
        pipe.cmd("ZCOUNT").arg(&ages).arg("-inf").arg(format!("({before}"));
        pipe.cmd("ZCARD").arg(&ages);
        let (aged, all): (u64, u64) = self.ask(&pipe)?;
        let doomed = aged.max(all.saturating_sub(keep.rows_max)).min(keep.limit);
        if doomed == 0 {
            return Ok(0);
        }
        let keys: Vec<Vec<String>> =
            self.ask(redis::pipe().cmd("ZRANGE").arg(&ages).arg(0).arg(doomed - 1))?;
        let keys: Vec<&str> = keys.iter().flatten().map(String::as_str).collect();
        let mut pipe = redis::pipe();
        pipe.atomic();
        for key in &keys {
            pipe.cmd("DEL").arg(hash(table, key));
            for field in table.fields().iter().filter(|field| field.fold != Fold::Sum) {
                pipe.cmd("ZREM").arg(set(table, field)).arg(*key);
            }
        }
        self.ask::<Value>(&pipe)?;
        Ok(u64::try_from(keys.len()).unwrap_or(doomed))
    }
}

fn add(pipe: &mut Pipeline, key: &Key, field: &Field, value: u64) {
    match field.fold {
        Fold::Sum => {
            pipe.cmd("HINCRBY").arg(hash(key.table, &key.text)).arg(field.name).arg(value);
        }
        Fold::Latest => {
            pipe.cmd("ZADD").arg(set(key.table, field)).arg("GT").arg(value).arg(&*key.text);
        }
        Fold::Earliest => {
            pipe.cmd("ZADD").arg(set(key.table, field)).arg("LT").arg(value).arg(&*key.text);
        }
    }
}

fn hash(table: Table, key: &str) -> String {
    format!("mailreeve:{}/{key}", table.name())
}

fn set(table: Table, field: &Field) -> String {
    format!("mailreeve:{}.{}", table.name(), field.name)
}

fn ages(table: Table) -> String {
    format!("mailreeve:{}.{}", table.name(), table.age_field())
}

/// A score as a whole number. All we write are below 2^53, so none is rounded.
fn whole(score: f64) -> u64 {
    // The cast cuts what is out of range, and takes what is no number for 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let whole = score as u64;
    whole
}

#[cfg(test)]
mod tests;
