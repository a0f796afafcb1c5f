//! `mailreeve sme takeover` and `rollback`: which program SME Server's services run.
//!
//! A service is a folder below /var/service with a file `run` (SME Server 7 to 10), or a systemd unit
//! (11). The services keep their names, folders and logs; only what they start is another program. Where
//! several share one config folder the daemon of the first serves all ports that its file `listen` has;
//! the others start a process that waits, since SME Server's own scripts would start them again.

use super::Words;
use crate::commands::import::{made_room, replace};
use crate::commands::{DONE, Fault, folder, print};
use crate::config::Config;
use crate::config::files::Severity;
use crate::plugins::load::Strictness;
use crate::server::snapshot::load;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The services, in the order in which one of them is the first of a config folder.
const SERVICES: [&str; 3] = ["qpsmtpd", "uqpsmtpd", "sqpsmtpd"];

/// Where services have their folders.
const FOLDER: &str = "var/service";

/// Where units are.
const UNITS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// The line by which a file is known to be ours.
const MARK: &str = "# Mailreeve in the place of qpsmtpd; `mailreeve sme rollback` undoes it.";

/// Seconds that a service waits whose ports another serves: 68 years.
const FOREVER: u32 = i32::MAX.unsigned_abs();

/// A service of this system.
struct Service {
    name: &'static str,
    config: PathBuf,
    place: Place,
}

/// What says which program it runs.
enum Place {
    /// The file `run` in this folder.
    Run(PathBuf),
    /// A drop-in of its unit, which is this file.
    Unit(PathBuf),
}

/// A change that is listed, then made.
enum Step {
    /// The old file is kept beside it.
    Take { run: PathBuf, kept: PathBuf, text: String },
    /// A file of ours gets another text, or is made.
    Write { path: PathBuf, text: String },
    /// The kept file takes its old place.
    Restore { run: PathBuf, kept: PathBuf },
    /// A file of ours goes.
    Remove { path: PathBuf },
}

pub(super) fn takeover(words: &Words) -> Result<u8, Fault> {
    let root = root(words);
    let services = services(&root)?;
    let firsts = check(&services)?;
    let program =
        env::current_exe().map_err(|error| Fault::No(format!("where this program is: {error}")))?;
    // Those that only wait first: they give up the ports that the first one binds.
    let ordered = services.iter().filter(|it| !firsts.contains(&it.name));
    let ordered = ordered.chain(services.iter().filter(|it| firsts.contains(&it.name)));
    let mut plan = Vec::new();
    for service in ordered {
        let command = match firsts.contains(&service.name) {
            true => {
                format!("{} serve --config /{FOLDER}/{}/config", program.display(), service.name)
            }
            false => format!("/bin/sleep {FOREVER}"),
        };
        plan.extend(take(service, &command)?.map(|step| (service, step)));
    }
    carry_out(words, &root, &plan)
}

pub(super) fn rollback(words: &Words) -> Result<u8, Fault> {
    let root = root(words);
    let services = services(&root)?;
    let mut plan = Vec::new();
    // The first one gives up the ports before the others bind theirs.
    for service in &services {
        let step = match &service.place {
            Place::Run(folder) => {
                let (run, kept) = (folder.join("run"), folder.join("run.qpsmtpd"));
                (is_there(&kept) && is_ours(&run)).then_some(Step::Restore { run, kept })
            }
            Place::Unit(path) => is_there(path).then(|| Step::Remove { path: path.clone() }),
        };
        plan.extend(step.map(|step| (service, step)));
    }
    carry_out(words, &root, &plan)
}

fn root(words: &Words) -> PathBuf {
    words.root.clone().unwrap_or_else(|| PathBuf::from("/"))
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn is_ours(path: &Path) -> bool {
    fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(MARK))
}

fn failed(path: &Path, error: &io::Error) -> Fault {
    Fault::No(format!("{}: {error}", path.display()))
}

/// The services that this system has.
fn services(root: &Path) -> Result<Vec<Service>, Fault> {
    let mut services = Vec::new();
    for name in SERVICES {
        let folder = root.join(FOLDER).join(name);
        let config = folder.join("config");
        let unit = format!("{name}.service");
        let place = if is_there(&folder.join("run")) {
            Place::Run(folder)
        } else if UNITS.iter().any(|units| is_there(&root.join(units).join(&unit))) {
            let drop_ins = root.join(UNITS[0]).join(format!("{unit}.d"));
            Place::Unit(drop_ins.join("90-mailreeve.conf"))
        } else {
            continue;
        };
        services.push(Service { name, config, place });
    }
    if services.is_empty() {
        let what = format!("there is no service {} below {}", SERVICES.join(", "), root.display());
        return Err(Fault::No(what));
    }
    Ok(services)
}

/// Checks the config folders; gives the first service of each.
fn check(services: &[Service]) -> Result<Vec<&'static str>, Fault> {
    let mut firsts: Vec<(&Service, PathBuf, Arc<Config>)> = Vec::new();
    let mut errors = Vec::new();
    for service in services {
        let real = fs::canonicalize(&service.config);
        let real = real.map_err(|error| failed(&service.config, &error))?;
        if let Some((first, _, config)) = firsts.iter().find(|(_, known, _)| *known == real) {
            errors.extend(unserved(service, first, config));
            continue;
        }
        let files = folder::open(service.config.clone());
        let (snapshot, problems) = load(&files, &folder::defaults(), None, Strictness::Start);
        let wrong = problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.extend(wrong.map(|problem| format!("{}/{problem}", service.config.display())));
        let config = snapshot.site.config;
        if config.user.is_none() {
            let what = "user: missing: say as whom it is to run, qpsmtpd";
            errors.push(format!("{}/{what}", service.config.display()));
        }
        for (other, _, theirs) in &firsts {
            let mut pairs = config.listen.iter().flat_map(|one| {
                theirs.listen.iter().map(move |other| (one.address, other.address))
            });
            if let Some((address, _)) = pairs.find(|(one, other)| collide(*one, *other)) {
                errors.push(format!(
                    "{}/listen: {address} is what {} listens at, too",
                    service.config.display(),
                    other.name
                ));
            }
        }
        firsts.push((service, real, config));
    }
    if errors.is_empty() {
        return Ok(firsts.iter().map(|(service, ..)| service.name).collect());
    }
    Err(Fault::No(format!("nothing was changed:\n{}", errors.join("\n"))))
}

/// Two sockets that cannot both be bound.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (any || one.ip() == other.ip())
}

/// What a service was there for, and the daemon of the first would not do.
fn unserved(service: &Service, first: &Service, config: &Config) -> Option<String> {
    let (word, port, is_served) = match service.name {
        "sqpsmtpd" => ("smtps", 465, config.listen.iter().any(|it| it.role.smtps)),
        "uqpsmtpd" => ("submission", 587, config.listen.iter().any(|it| it.role.submission)),
        _ => return None,
    };
    (!is_served).then(|| {
        format!(
            "{}/listen: no line has `{word}`, for which {} is there: add 0.0.0.0:{port} {word}",
            first.config.display(),
            service.name
        )
    })
}

/// What makes a service run this command; None where it does.
fn take(service: &Service, command: &str) -> Result<Option<Step>, Fault> {
    let (path, text) = match &service.place {
        Place::Run(folder) => {
            (folder.join("run"), format!("#!/bin/sh\n{MARK}\nexec 2>&1\nexec {command}\n"))
        }
        Place::Unit(path) => {
            let text = format!("{MARK}\n[Service]\nType=simple\nExecStart=\nExecStart={command}\n");
            (path.clone(), text)
        }
    };
    let there = match fs::read(&path) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&path, &error)),
    };
    if there.as_deref() == Some(text.as_bytes()) {
        return Ok(None);
    }
    Ok(Some(match &service.place {
        Place::Run(folder) if !is_ours(&path) => {
            Step::Take { run: path, kept: folder.join("run.qpsmtpd"), text }
        }
        _ => Step::Write { path, text },
    }))
}

/// Lists all, makes the changes, and starts again the services that have another program now.
fn carry_out(words: &Words, root: &Path, plan: &[(&Service, Step)]) -> Result<u8, Fault> {
    if plan.is_empty() {
        print("nothing to do\n");
    }
    for (service, step) in plan {
        print(&format!("{}: {}\n", service.name, step.told()));
        if !words.dry_run {
            step.make()?;
        }
    }
    let units = plan.iter().any(|(service, _)| matches!(service.place, Place::Unit(_)));
    if units {
        systemctl(words, root, &["daemon-reload"])?;
    }
    for (service, _) in plan {
        match &service.place {
            Place::Run(folder) => restart(words, service.name, folder)?,
            Place::Unit(_) => systemctl(words, root, &["try-restart", service.name])?,
        }
    }
    Ok(DONE)
}

impl Step {
    fn told(&self) -> String {
        match self {
            Step::Take { run, kept, text } => {
                let last = text.lines().last().unwrap_or_default();
                let (run, kept) = (run.display(), kept.display());
                format!("{run} gets `{last}`; the old one is kept as {kept}")
            }
            Step::Write { path, text } => {
                let last = text.lines().last().unwrap_or_default();
                format!("{} gets `{last}`", path.display())
            }
            Step::Restore { run, kept } => {
                format!("{} becomes {} again", kept.display(), run.display())
            }
            Step::Remove { path } => format!("{} is removed", path.display()),
        }
    }

    fn make(&self) -> Result<(), Fault> {
        match self {
            Step::Take { run, kept, text } => {
                // One of an earlier time, when the package put a new `run` in place of ours.
                match fs::remove_file(kept) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(failed(kept, &error));
                    }
                    _ => {}
                }
                // A second name, so that at no time there is no `run`.
                fs::hard_link(run, kept).map_err(|error| failed(kept, &error))?;
                replace(run, text.as_bytes()).map_err(|error| failed(run, &error))
            }
            Step::Write { path, text } => made_room(path)
                .and_then(|()| replace(path, text.as_bytes()))
                .map_err(|error| failed(path, &error)),
            Step::Restore { run, kept } => {
                fs::rename(kept, run).map_err(|error| failed(run, &error))
            }
            Step::Remove { path } => {
                fs::remove_file(path).map_err(|error| failed(path, &error))?;
                // The folder may hold drop-ins of others, and then stays.
                if let Some(folder) = path.parent() {
                    let _others = fs::remove_dir(folder);
                }
                Ok(())
            }
        }
    }
}

/// Has the supervisor end what runs; it starts what `run` says now. A service that is down stays down.
fn restart(words: &Words, name: &str, folder: &Path) -> Result<(), Fault> {
    let control = folder.join("supervise/control");
    let opened = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&control);
    let told = match opened {
        Ok(_) if words.dry_run => "is started again",
        Ok(mut control) => {
            control.write_all(b"t").map_err(|error| Fault::No(format!("{name}: {error}")))?;
            "is started again"
        }
        Err(error) if error.kind() == ErrorKind::NotFound => "is not supervised",
        // Nobody reads the pipe.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENXIO) => "is not supervised",
        Err(error) => return Err(failed(&control, &error)),
    };
    print(&format!("{name}: {told}\n"));
    Ok(())
}

/// Only the system that runs has a systemd to be told.
fn systemctl(words: &Words, root: &Path, args: &[&str]) -> Result<(), Fault> {
    let line = format!("systemctl {}", args.join(" "));
    if root != Path::new("/") {
        print(&format!("{line}: left out, {} is not this system\n", root.display()));
        return Ok(());
    }
    print(&format!("{line}\n"));
    if words.dry_run {
        return Ok(());
    }
    let status = Command::new("systemctl").args(args).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Fault::No(format!("{line}: {status}"))),
        Err(error) => Err(Fault::No(format!("{line}: {error}"))),
    }
}
