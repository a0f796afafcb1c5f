//! `mailreeve demo`: what a newcomer runs.

use crate::commands::{DONE, Fault, folder, print, wants_help};
use crate::config::files::{Files, Severity};
use crate::plugins::load::Strictness;
use crate::server::log::Destination;
use crate::server::privileges;
use crate::server::snapshot::load;
use crate::server::start::{self, Options};
use crate::server::{clock, tls};
use lexopt::{Arg, ValueExt};
use std::path::{Path, PathBuf};

pub(super) const HELP: &str = "\
Usage: mailreeve demo [--port PORT]

Runs a daemon for example.com on 127.0.0.1:2525 with a built-in configuration, as
whoever starts it. Mail goes to ./mailreeve-demo/Maildir. It offers STARTTLS with a
certificate of its own making. Prints a line to paste
that sends a first mail. Ctrl-C stops it.

  --port PORT      another port
";

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let mut port: u16 = 2525;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("port") => port = parser.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let folder = std::path::absolute("mailreeve-demo")
        .map_err(|error| Fault::No(format!("the current folder: {error}")))?;
    std::fs::create_dir_all(&folder)
        .map_err(|error| Fault::No(format!("cannot make {}: {error}", folder.display())))?;
    if folder.display().to_string().contains(char::is_whitespace) {
        return Err(Fault::No(
            "the path of the current folder holds a blank, which a config line cannot".to_string(),
        ));
    }
    let defaults = folder::defaults();
    let (snapshot, problems) =
        load(&Files::in_memory(files(&folder, port)?), &defaults, None, Strictness::Start);
    if let Some(error) = problems.iter().find(|problem| problem.severity == Severity::Error) {
        return Err(Fault::No(format!("the built-in configuration: {error}")));
    }
    if privileges::is_root() {
        print("warning: running as root; a real service would become another user\n\n");
    }
    let welcome = welcome(&folder, port);
    let options = Options {
        destination: Destination::Stderr,
        detach: false,
        pidfile: None,
        inherited: Vec::new(),
        any_user: true,
        reopen: None,
        warnings: problems.iter().map(ToString::to_string).collect(),
        ready: Some(Box::new(move || print(&welcome))),
    };
    start::serve(snapshot, defaults, options).map_err(Fault::No)?;
    Ok(DONE)
}

fn files(folder: &Path, port: u16) -> Result<Vec<(String, String)>, Fault> {
    // Made anew at each start, and kept in memory only.
    let name = "mx.example.com".to_string();
    let (certificate, key) = tls::self_signed(&[name], clock::unix()).map_err(Fault::No)?;
    let path = |name: &str| PathBuf::from(folder).join(name).display().to_string();
    let plugins = format!(
        "logging/logterse\ncount_unrecognized_commands 4\nrelay\nbadmailfrom\nbadrcptto\nrcpt_ok\n\
         headers require From\nbogus_bounce log\nqueue/maildir {}\n",
        path("Maildir")
    );
    let files = [
        ("listen", format!("127.0.0.1:{port}\n")),
        ("me", "mx.example.com\n".to_string()),
        ("rcpthosts", "example.com\n".to_string()),
        ("plugins", plugins),
        ("badrcptto", "spamtrap@example.com nobody reads this address\n".to_string()),
        ("databytes", "26214400\n".to_string()),
        ("tls_cert", "demo.crt\n".to_string()),
        ("tls_key", "demo.key\n".to_string()),
        ("demo.crt", certificate),
        ("demo.key", key),
        ("loglevel", "6\n".to_string()),
        ("spool_dir", path("spool")),
        ("state_dir", path("state")),
    ]
    .map(|(name, text)| (name.to_string(), text));
    Ok(files.to_vec())
}

fn welcome(folder: &Path, port: u16) -> String {
    let maildir = folder.join("Maildir/new");
    format!(
        "mailreeve demo: a mail server for example.com on 127.0.0.1:{port}. Ctrl-C stops it.\n\
         \n\
         Send a first mail from another terminal:\n\
         \n  \
           printf 'From: you@example.net\\nSubject: hello\\n\\nIt works.\\n' | \
         curl --silent --show-error --crlf smtp://127.0.0.1:{port} --mail-from you@example.net \
         --mail-rcpt friend@example.com --upload-file -\n\
         \n\
         It arrives in {}\n\
         What is not for example.com is refused: try --mail-rcpt somebody@example.org\n\
         \n",
        maildir.display()
    )
}
