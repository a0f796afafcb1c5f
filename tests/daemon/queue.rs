//! The plugins that hand a mail on: 250 means that somebody has it, whatever they do.

/// The next server of the library's own tests.
#[path = "../../src/client/smtp/hop.rs"]
#[allow(dead_code, reason = "some of what it can do is only for the library's own tests")]
pub(crate) mod hop;

mod duplicates;
mod forward;
mod lmtp;
mod maildir;
mod programs;
mod qmail;
mod secure;

use crate::daemon::house::House;

/// Sequences that some server takes for the end of a message.
const SEQUENCES: [&str; 16] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\n.\r",
    "\r.\n",
    "\n\n.\n\n",
    "\r\r.\r\r",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\0\n.\n",
    "\r\n.\r\0\n",
    "\n\r.\n\r",
    "\r\n..\r\n",
];

/// What an attacker hides behind one.
const BEHIND: &str = "MAIL FROM:<smuggled@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n\
                      Subject: smuggled\r\n\r\ninner\r\n";

/// Sends each sequence with a second mail behind it, as text between dots and as a counted chunk, to a
/// daemon with this queue that repairs line ends: whatever was delivered is one message each, without
/// bare CR, bare LF or NUL, and with one end, at its end.
fn leaves_clean(queue: &str, delivered: impl Fn() -> Vec<Vec<u8>>) {
    let house = House::new();
    house.queue(queue);
    smuggle(&house, delivered, |text| {
        let rest = text.replace("\r\n", "");
        assert!(!rest.contains(['\r', '\n', '\0']), "{text:?}");
        let end = text.find("\r\n.\r\n").map(|at| at + 5);
        assert_eq!(end, Some(text.len()), "{text:?}");
    });
}

/// Sends the sequences; each text that was delivered is checked.
fn smuggle(house: &House, delivered: impl Fn() -> Vec<Vec<u8>>, check: impl Fn(&str)) {
    house.set("bare_newline", "normalize");
    let daemon = house.start();
    let mut client = daemon.client();
    let mut sent = 0;
    for sequence in SEQUENCES {
        let text = format!("Subject: outer {sent}\r\n\r\ntext{sequence}{BEHIND}");
        client.data();
        client.send(format!("{text}.\r\n"));
        assert!(client.reply().starts_with("250 "), "{sequence:?}");
        client.envelope();
        client.send(format!("BDAT {} LAST\r\n{text}\r\n.\r\n", text.len() + 5));
        assert!(client.reply().starts_with("250 "), "{sequence:?}");
        sent += 2;
        let texts = delivered();
        assert_eq!(texts.len(), sent, "{sequence:?}");
        texts.iter().for_each(|text| check(&String::from_utf8_lossy(text)));
    }
    daemon.stop();
}
