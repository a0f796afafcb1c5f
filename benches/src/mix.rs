//! Misbehaving dialogues for `--mix`: what spam bots, scanners and broken clients do.
//! Each is a fixed list of steps; the outcome recorded is the last reply code, or `closed` when
//! the server hung up, or `silent` when a reply did not come within the time allowed.

#[derive(Clone, Copy)]
pub enum Step {
    /// Wait for one complete reply.
    Reply,
    /// Send these bytes.
    Send(&'static [u8]),
    /// Send `.1` copies of these bytes.
    Repeat(&'static [u8], usize),
    /// Hang up without QUIT.
    Close,
}

use Step::*;

pub struct Kind {
    pub name: &'static str,
    pub steps: &'static [Step],
}

pub const KINDS: &[Kind] = &[
    Kind {
        name: "early-talker",
        steps: &[Send(b"EHLO bot.test\r\nMAIL FROM:<a@b.test>\r\n"), Reply, Reply, Reply, Close],
    },
    Kind { name: "drop-after-banner", steps: &[Reply, Close] },
    Kind { name: "drop-at-once", steps: &[Close] },
    Kind {
        name: "no-helo",
        steps: &[Reply, Send(b"MAIL FROM:<a@b.test>\r\n"), Reply, Send(b"QUIT\r\n"), Reply],
    },
    Kind {
        name: "http-request",
        steps: &[Reply, Send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"), Reply, Close],
    },
    Kind {
        name: "unknown-commands",
        steps: &[Reply, Repeat(b"FROB a b c\r\n", 20), Reply, Reply, Reply, Reply, Reply, Close],
    },
    Kind {
        name: "relay-attempt",
        steps: &[
            Reply,
            Send(b"EHLO bot.test\r\n"),
            Reply,
            Send(b"MAIL FROM:<a@b.test>\r\n"),
            Reply,
            Send(b"RCPT TO:<victim@elsewhere.invalid>\r\n"),
            Reply,
            Send(b"QUIT\r\n"),
            Reply,
        ],
    },
    Kind {
        name: "bad-syntax",
        steps: &[
            Reply,
            Send(b"EHLO bot.test\r\n"),
            Reply,
            Send(b"MAIL FROM:<<a@@b>\r\n"),
            Reply,
            Send(b"QUIT\r\n"),
            Reply,
        ],
    },
    Kind {
        name: "long-line",
        steps: &[Reply, Repeat(b"AAAAAAAAAAAAAAAA", 4096), Send(b"\r\n"), Reply, Close],
    },
    Kind {
        name: "binary-junk",
        steps: &[
            Reply,
            Send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\r\n\r\n"),
            Reply,
            Close,
        ],
    },
    Kind {
        name: "drop-in-data",
        steps: &[
            Reply,
            Send(b"EHLO bot.test\r\n"),
            Reply,
            Send(b"MAIL FROM:<a@b.test>\r\n"),
            Reply,
            Send(b"RCPT TO:<user@example.test>\r\n"),
            Reply,
            Send(b"DATA\r\n"),
            Reply,
            Repeat(b"Subject: half a message\r\n", 50),
            Close,
        ],
    },
    Kind {
        // The end-of-data of SMTP smuggling: a strict server keeps waiting (outcome `silent`).
        name: "bare-lf-dot",
        steps: &[
            Reply,
            Send(b"EHLO bot.test\r\n"),
            Reply,
            Send(b"MAIL FROM:<a@b.test>\r\n"),
            Reply,
            Send(b"RCPT TO:<user@example.test>\r\n"),
            Reply,
            Send(b"DATA\r\n"),
            Reply,
            Send(b"Subject: x\r\n\r\nhello\n.\nMAIL FROM:<s@b.test>\r\n"),
            Reply,
            Close,
        ],
    },
];
