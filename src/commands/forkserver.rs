//! `qpsmtpd-forkserver`, which is also `mailreeve forkserver`: the daemon by that program's options, so that
//! a run script of SME Server starts this one unchanged.

use crate::commands::{Fault, serve, wants_help};
use lexopt::{Arg, ValueExt};
use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Usage: mailreeve forkserver [-l ADDRESS[:PORT]]... [-p PORT]... [-c N] [-m N] [-u USER]
                            [-d] [--pid-file FILE]

The daemon, started like qpsmtpd-forkserver; a link of that name is this command. The
config folder is found as `mailreeve serve` finds it. What is given here holds in place
of the files listen, concurrency, concurrency_per_ip and user, also after a HUP.

  -l, --listen-address ADDRESS   an IP address, an IPv6 one with a port in brackets; with
                                 no port every -p is meant; else 0.0.0.0
  -p, --port PORT                else the variable PORT, else 2525; 465 means smtps
                                 (TLS from the first octet), 587 submission
  -c, --limit-connections N      else the variable INSTANCES, else the file concurrency
  -m, --max-from-ip N            else INSTANCES_PER_IP, else concurrency_per_ip; 0: any
  -u, --user USER                else the file user
  -d, --detach                   detach from the terminal, log to syslog
      --pid-file FILE            write the process number here
  -H, --no-rdns                  is accepted and has no effect, as in qpsmtpd 0.96
";

/// Where qpsmtpd-forkserver listens that was told nothing.
const PORT: u16 = 2525;

#[derive(Default)]
struct Given {
    addresses: Vec<(IpAddr, Option<u16>)>,
    ports: Vec<u16>,
    connections: Option<u64>,
    per_ip: Option<u64>,
    user: Option<String>,
    detach: bool,
    pidfile: Option<PathBuf>,
}

pub(super) fn run(parser: lexopt::Parser) -> Result<u8, Fault> {
    let given = options(parser)?;
    let settings = settings(&given, &|name| env::var(name).ok().filter(|it| !it.is_empty()))?;
    serve::serve(serve::Wanted {
        settings,
        detach: given.detach,
        pidfile: given.pidfile,
        ..serve::Wanted::default()
    })
}

fn options(mut parser: lexopt::Parser) -> Result<Given, Fault> {
    let mut given = Given::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Short('l') | Arg::Long("listen-address") => {
                given.addresses.push(address(&parser.value()?.string()?)?);
            }
            Arg::Short('p') | Arg::Long("port") => given.ports.push(parser.value()?.parse()?),
            Arg::Short('c') | Arg::Long("limit-connections") => {
                given.connections = Some(parser.value()?.parse()?);
            }
            Arg::Short('m') | Arg::Long("max-from-ip") => {
                given.per_ip = Some(parser.value()?.parse()?);
            }
            Arg::Short('u') | Arg::Long("user") => given.user = Some(parser.value()?.string()?),
            Arg::Short('d') | Arg::Long("detach") => given.detach = true,
            Arg::Long("pid-file") => given.pidfile = Some(PathBuf::from(parser.value()?)),
            Arg::Short('H') | Arg::Long("no-rdns") => {}
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(given)
}

/// An address, with a port or without, IPv6 in brackets or not.
fn address(text: &str) -> Result<(IpAddr, Option<u16>), Fault> {
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Ok((both.ip(), Some(both.port())));
    }
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match inner.parse() {
        Ok(ip) => Ok((ip, None)),
        Err(_) => {
            Err(Fault::Usage(format!("-l {text}: give an IP address, with :PORT or without")))
        }
    }
}

/// The files that options and variables take the place of.
fn settings(
    given: &Given,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, Fault> {
    let number = |name: &str| -> Result<Option<u64>, Fault> {
        let Some(text) = variable(name) else { return Ok(None) };
        let wrong = |_| Fault::Usage(format!("the variable {name} is no number: {text}"));
        text.parse().map(Some).map_err(wrong)
    };
    let mut ports = given.ports.clone();
    if let (true, Some(port)) = (ports.is_empty(), number("PORT")?) {
        let port = u16::try_from(port);
        ports.push(port.map_err(|_| Fault::Usage("the variable PORT is no port".to_string()))?);
    }
    if ports.is_empty() {
        ports.push(PORT);
    }
    let any = [(IpAddr::V4(Ipv4Addr::UNSPECIFIED), None)];
    let addresses = if given.addresses.is_empty() { &any[..] } else { &given.addresses };
    let mut listen = String::new();
    for (ip, own) in addresses {
        for port in own.as_ref().map_or(&ports[..], std::slice::from_ref) {
            let role = match port {
                465 => " smtps",
                587 => " submission",
                _ => "",
            };
            listen.push_str(&format!("{}{role}\n", SocketAddr::new(*ip, *port)));
        }
    }
    let connections = given.connections.map_or_else(|| number("INSTANCES"), |it| Ok(Some(it)))?;
    let per_ip = given.per_ip.map_or_else(|| number("INSTANCES_PER_IP"), |it| Ok(Some(it)))?;
    let rest = [
        ("concurrency", connections.map(|it| it.to_string())),
        ("concurrency_per_ip", per_ip.map(|it| it.to_string())),
        ("user", given.user.clone()),
    ];
    let rest = rest.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
    Ok(std::iter::once(("listen".to_string(), listen)).chain(rest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files for these words and variables, as `NAME=TEXT`, lines with commas between.
    fn files(line: &str, variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let told = |fault| match fault {
            Fault::Usage(what) | Fault::No(what) | Fault::Later(what) => what,
        };
        let parser = lexopt::Parser::from_args(line.split_whitespace());
        let given = options(parser).map_err(told)?;
        let variable = |name: &str| {
            variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_string())
        };
        let found = settings(&given, &variable).map_err(told)?;
        let shown =
            |(name, text): (String, String)| format!("{name}={}", text.trim().replace('\n', ","));
        Ok(found.into_iter().map(shown).collect())
    }

    #[test]
    fn options_become_files() {
        let sme = [("PORT", "465"), ("INSTANCES", "10"), ("INSTANCES_PER_IP", "5")];
        for (line, variables, expected) in [
            ("", &[][..], &["listen=0.0.0.0:2525"][..]),
            (
                "-u qpsmtpd -l 0.0.0.0 -p 25 -c 40 -m 5",
                &[],
                &["listen=0.0.0.0:25", "concurrency=40", "concurrency_per_ip=5", "user=qpsmtpd"],
            ),
            ("", &sme, &["listen=0.0.0.0:465 smtps", "concurrency=10", "concurrency_per_ip=5"]),
            (
                "-p 25 -c 3 -m 0",
                &sme,
                &["listen=0.0.0.0:25", "concurrency=3", "concurrency_per_ip=0"],
            ),
            (
                "--listen-address=[::1] -l 127.0.0.1:2526 --port 25 -p 587 -H -d",
                &[],
                &["listen=[::1]:25,[::1]:587 submission,127.0.0.1:2526"],
            ),
        ] {
            assert_eq!(files(line, variables).unwrap(), expected, "{line}");
        }
        for (line, variables, expected) in [
            ("-l mail.example", &[][..], "give an IP address"),
            ("-p 65536", &[], "65536"),
            ("-c many", &[], "many"),
            ("", &[("PORT", "65536")], "PORT is no port"),
            ("", &[("INSTANCES", "x")], "INSTANCES is no number: x"),
        ] {
            let told = files(line, variables).unwrap_err();
            assert!(told.contains(expected), "{line}: {told}");
        }
    }
}
