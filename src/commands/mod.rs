//! The subcommands, one file each, and what they share: help from one table, exit codes, where the
//! config folder is.
//!
//! Exit codes: 0 done; 1 it said no; 2 used wrongly; 75 try again later (sysexits).

mod auth;
mod check;
mod check_config;
mod databases;
mod db;
mod demo;
mod dkim;
mod dmarc;
mod event;
mod folder;
mod forkserver;
mod import;
mod karma;
mod message;
mod plugins;
mod print_dns;
mod serve;
mod sme;
mod tls;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Done.
const DONE: u8 = 0;
/// It said no.
const NO: u8 = 1;
/// Used wrongly.
const USAGE: u8 = 2;
/// Try again later (`EX_TEMPFAIL`).
const LATER: u8 = 75;

/// A subcommand: its name, its line in the overview, its own help, its code.
struct Command {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    run: fn(lexopt::Parser) -> Result<u8, Fault>,
}

static COMMANDS: &[Command] = &[
    Command {
        name: "serve",
        summary: "the daemon, in the foreground, log on standard error",
        help: serve::HELP,
        run: serve::run,
    },
    Command {
        name: "forkserver",
        summary: "the same, by the options of qpsmtpd-forkserver",
        help: forkserver::HELP,
        run: forkserver::run,
    },
    Command {
        name: "demo",
        summary: "try it: an unprivileged daemon on 127.0.0.1:2525 with a Maildir here",
        help: demo::HELP,
        run: demo::run,
    },
    Command {
        name: "check-config",
        summary: "read a config folder and print every problem as file:line: what",
        help: check_config::HELP,
        run: check_config::run,
    },
    Command {
        name: "karma",
        summary: "what is remembered of clients: list, show, release, prune",
        help: karma::HELP,
        run: karma::run,
    },
    Command {
        name: "check",
        summary: "what would be said of a name, an address, a sender, a message",
        help: check::HELP,
        run: check::run,
    },
    Command {
        name: "auth",
        summary: "make the line to store for a password: auth hash",
        help: auth::HELP,
        run: auth::run,
    },
    Command {
        name: "tls",
        summary: "a first certificate: tls selfsigned NAME",
        help: tls::HELP,
        run: tls::run,
    },
    Command {
        name: "dkim",
        summary: "keys and signatures: dkim keygen, sign, verify, status",
        help: dkim::HELP,
        run: dkim::run,
    },
    Command {
        name: "dmarc",
        summary: "aggregate reports: dmarc show those of others, dmarc report ours",
        help: dmarc::HELP,
        run: dmarc::run,
    },
    Command {
        name: "print-dns",
        summary: "the DNS records to publish for a domain's mail",
        help: print_dns::HELP,
        run: print_dns::run,
    },
    Command {
        name: "import",
        summary: "take over a qpsmtpd config folder or SME Server's lists",
        help: import::HELP,
        run: import::run,
    },
    Command {
        name: "db",
        summary: "read and change SME Server's databases",
        help: db::HELP,
        run: db::run,
    },
    Command {
        name: "config",
        summary: "the same for the database `configuration`",
        help: db::CONFIG_HELP,
        run: db::run_config,
    },
    Command {
        name: "event",
        summary: "make the config folder say what SME Server's databases say",
        help: event::HELP,
        run: event::run,
    },
    Command {
        name: "sme",
        summary: "take over an SME Server's services, or make its databases here",
        help: sme::HELP,
        run: sme::run,
    },
    Command {
        name: "plugins",
        summary: "the table of plugins, or one plugin's manual",
        help: PLUGINS_HELP,
        run: run_plugins,
    },
];

/// Names by which others know a command.
const LINKS: [(&str, &str); 5] = [
    ("config", "config"),
    ("db", "db"),
    ("qpsmtpd-forkserver", "forkserver"),
    ("qpsmtpd-print-dns", "print-dns"),
    ("signal-event", "event"),
];

const PLUGINS_HELP: &str = "\
Usage: mailreeve plugins [NAME]

Without NAME: the plugins, a line each, with the names they had before.
With NAME: that plugin's manual. Old names are understood.
";

/// Why a command ends early.
enum Fault {
    /// Used wrongly: the text says how.
    Usage(String),
    /// It said no: the text says why.
    No(String),
    /// Not now, perhaps later: the text says why.
    Later(String),
}

impl From<lexopt::Error> for Fault {
    fn from(error: lexopt::Error) -> Fault {
        Fault::Usage(error.to_string())
    }
}

/// Runs what the arguments ask for.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut parser = lexopt::Parser::from_iter(args);
    if let Some(command) = linked(parser.bin_name()) {
        return run(command, parser);
    }
    let name = match parser.next() {
        Ok(Some(lexopt::Arg::Value(name))) => name.to_string_lossy().into_owned(),
        Ok(Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h'))) => {
            print(&overview());
            return ExitCode::from(DONE);
        }
        Ok(Some(lexopt::Arg::Long("version") | lexopt::Arg::Short('V'))) => {
            print(&format!("mailreeve {}\n", crate::config::VERSION));
            return ExitCode::from(DONE);
        }
        Ok(None) => {
            complain(&overview());
            return ExitCode::from(USAGE);
        }
        Ok(Some(other)) => {
            complain(&format!("mailreeve: {}\n\n{}", other.unexpected(), overview()));
            return ExitCode::from(USAGE);
        }
        Err(error) => {
            complain(&format!("mailreeve: {error}\n"));
            return ExitCode::from(USAGE);
        }
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        complain(&format!("mailreeve: there is no command '{name}'\n\n{}", overview()));
        return ExitCode::from(USAGE);
    };
    run(command, parser)
}

/// The command that a link stands for, whose name the program is called by.
fn linked(called: Option<&str>) -> Option<&'static Command> {
    let name = std::path::Path::new(called?).file_name()?.to_str()?;
    let command = LINKS.iter().find(|(link, _)| *link == name)?.1;
    COMMANDS.iter().find(|it| it.name == command)
}

fn run(command: &Command, parser: lexopt::Parser) -> ExitCode {
    match (command.run)(parser) {
        Ok(code) => ExitCode::from(code),
        Err(Fault::Usage(what)) if what == WANTS_HELP => {
            print(command.help);
            ExitCode::from(DONE)
        }
        Err(Fault::Usage(what)) => {
            complain(&format!("mailreeve {}: {what}\n\n{}", command.name, command.help));
            ExitCode::from(USAGE)
        }
        Err(Fault::No(what)) => {
            complain(&format!("mailreeve {}: {what}\n", command.name));
            ExitCode::from(NO)
        }
        Err(Fault::Later(what)) => {
            complain(&format!("mailreeve {}: {what}\n", command.name));
            ExitCode::from(LATER)
        }
    }
}

/// The word by which a command asks for its own help to be printed.
const WANTS_HELP: &str = "--help";

fn wants_help() -> Fault {
    Fault::Usage(WANTS_HELP.to_string())
}

fn run_plugins(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut name = None;
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Err(wants_help()),
            lexopt::Arg::Value(value) if name.is_none() => {
                name = Some(value.to_string_lossy().into_owned());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(plugins::run(name.as_deref()))
}

fn overview() -> String {
    let mut text = String::from(
        "mailreeve: the SMTP daemon that stands in front of a mail server\n\n\
         Usage: mailreeve COMMAND [OPTIONS]\n\n",
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:<14}{}\n", command.name, command.summary));
    }
    text.push_str(
        "\n`mailreeve COMMAND --help` tells more. `mailreeve --version` tells the version.\n",
    );
    text
}

/// Prints to standard output. A reader that went away (`| head`) is no error.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints to standard error; where that is closed there is nobody to tell.
fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_explains_itself() {
        for command in COMMANDS {
            let usage = format!("Usage: mailreeve {}", command.name);
            assert!(command.help.starts_with(&usage), "{}", command.name);
            assert!(overview().contains(command.summary));
        }
    }
}
