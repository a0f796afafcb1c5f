//! One transaction that is to be disturbed, for each kind of queue, and what is at the next holder then.

use crate::daemon::client::{Client, kept, stuffed};
use crate::daemon::house::{Daemon, House};
use crate::daemon::queue::hop::{Act, Hop};
use crate::daemon::system::until;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;

/// Takes a message only with a whole envelope, as qmail-queue does; what is not whole has a name
/// with a dot in front.
const QMAIL_QUEUE: &str = "cat >$here/out/.$$
cat <&1 >$here/out/.envelope.$$
end=$(tail -c 2 $here/out/.envelope.$$ | od -An -tx1 | tr -d ' \\n')
rm $here/out/.envelope.$$
[ \"$end\" = 0000 ] && mv $here/out/.$$ $here/out/$$ && exit 0
rm $here/out/.$$
exit 54";

/// Who gets the mail.
pub(crate) enum Holder {
    /// A Maildir for each of two recipients.
    Maildir,
    /// A program in the place of qmail-queue.
    Qmail(PathBuf),
    /// The next server.
    Forward(Hop),
}

/// A house and who gets its mail.
pub(crate) struct Scene {
    pub(crate) house: House,
    pub(crate) holder: Holder,
}

/// What the client heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted,
    /// A reply that asks it to come again.
    Deferred(String),
    /// The connection ended, or there was none.
    Unknown,
    /// What no fault of ours may be: a refusal, or nonsense.
    Wrong(String),
}

impl Scene {
    pub(crate) fn maildir() -> Scene {
        let house = House::new();
        house.queue(&format!("queue/maildir {} %n", house.path("mail").display()));
        Scene::new(house, Holder::Maildir)
    }

    pub(crate) fn qmail() -> Scene {
        let house = House::new();
        fs::create_dir(house.path("out")).unwrap();
        let program = house.program("qmail-queue", QMAIL_QUEUE);
        house.queue(&format!("queue/qmail-queue {}", program.display()));
        Scene::new(house, Holder::Qmail(program))
    }

    /// The next server keeps its connections for more, or leaves behind every mail.
    pub(crate) fn forward(stays: bool) -> Scene {
        let house = House::new();
        let hop = Hop::start(&["PIPELINING", "8BITMIME", "SIZE"], move |_, line| {
            let leave = || Act::Leave("250 2.0.0 Ok: queued as 4XYZ\r\n".to_string());
            (line == "." && !stays).then(leave)
        });
        house.queue(&format!("queue/smtp-forward 127.0.0.1 {}", hop.address().port()));
        Scene::new(house, Holder::Forward(hop))
    }

    fn new(house: House, holder: Holder) -> Scene {
        // Every message goes through the spool.
        house.set("size_threshold", "1000");
        house.set("loglevel", "4");
        Scene { house, holder }
    }

    /// Sends a mail of this name to two recipients of its own.
    pub(crate) fn send(&self, daemon: &Daemon, name: &str) -> Outcome {
        let Ok(stream) = TcpStream::connect(daemon.address()) else { return Outcome::Unknown };
        let mut client = Client::over(stream);
        let steps: [(Vec<u8>, &str); 6] = [
            (Vec::new(), "220"),
            (b"EHLO client.example\r\n".to_vec(), "250"),
            (b"MAIL FROM:<a@example.org>\r\n".to_vec(), "250"),
            (format!("RCPT TO:<{name}-a@example.com>\r\n").into_bytes(), "250"),
            (format!("RCPT TO:<{name}-b@example.com>\r\n").into_bytes(), "250"),
            (b"DATA\r\n".to_vec(), "354"),
        ];
        for (command, code) in steps.into_iter().chain([(stuffed(&text(name)), "250")]) {
            let said = client.try_send(command).then(|| client.try_reply()).flatten();
            match said {
                Some(said) if said.starts_with(code) => {}
                Some(said) if said.starts_with('4') => return Outcome::Deferred(said),
                Some(said) => return Outcome::Wrong(said),
                None => return Outcome::Unknown,
            }
        }
        Outcome::Accepted
    }

    /// How many copies of the mail each holder has; all of them are whole.
    pub(crate) fn copies(&self, name: &str) -> Vec<usize> {
        let whole = |text: &[u8], end: &[u8]| assert!(text.ends_with(end), "{name} is not whole");
        match &self.holder {
            Holder::Maildir => ["a", "b"]
                .map(|user| {
                    let mails = self.house.files(&format!("mail/{name}-{user}/new"));
                    mails.iter().for_each(|mail| whole(mail, &kept(&text(name))));
                    assert_eq!(self.house.names(&format!("mail/{name}-{user}/tmp")), [""; 0]);
                    mails.len()
                })
                .to_vec(),
            Holder::Qmail(_) => {
                let names = self.house.names("out").into_iter();
                let mails: Vec<Vec<u8>> = names
                    .filter(|name| !name.starts_with('.'))
                    .map(|name| fs::read(self.house.path("out").join(name)).unwrap())
                    .collect();
                vec![count(name, &mails, |mail| whole(mail, &kept(&text(name))))]
            }
            Holder::Forward(hop) => {
                let heard = hop.heard();
                let texts: Vec<Vec<u8>> = heard.into_iter().flat_map(|it| it.texts).collect();
                vec![count(name, &texts, |mail| whole(mail, &stuffed(&text(name))))]
            }
        }
    }

    /// Waits until nobody is at work for it any more but the daemon.
    pub(crate) fn settle(&self) {
        if let Holder::Qmail(program) = &self.holder {
            let mut line = b"/bin/sh\0".to_vec();
            line.extend(program.display().to_string().as_bytes());
            let runs = |entry: fs::DirEntry| {
                fs::read(entry.path().join("cmdline")).is_ok_and(|seen| seen.starts_with(&line))
            };
            let processes = || fs::read_dir("/proc").unwrap().flatten();
            until("the end of the program", || (!processes().any(runs)).then_some(()));
        }
    }
}

fn count(name: &str, mails: &[Vec<u8>], check: impl Fn(&[u8])) -> usize {
    let subject = format!("Subject: {name}");
    let is_it = |mail: &&Vec<u8>| {
        let mut lines = mail.split(|octet| *octet == b'\n');
        lines.any(|line| line.trim_ascii_end() == subject.as_bytes())
    };
    let found: Vec<_> = mails.iter().filter(is_it).collect();
    found.iter().for_each(|mail| check(mail));
    found.len()
}

/// The mail of this name: more than one write to the spool and out of it.
fn text(name: &str) -> Vec<u8> {
    let line = format!("{name} ").repeat(76 / (name.len() + 1)) + "\r\n";
    format!("Subject: {name}\r\n\r\n{}", line.repeat(1_800)).into_bytes()
}
