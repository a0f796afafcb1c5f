//! Clients that do nothing, never read, dribble, vanish, or close their side early.

use crate::daemon::client::{Client, kept, small, stuffed};
use crate::daemon::house::{Daemon, House};
use crate::daemon::system::memory;
use std::time::Duration;

/// A daemon in good health: it delivers, and nothing of earlier clients is left.
fn is_well(house: &House, daemon: Daemon) {
    let before = house.mails().len();
    assert!(daemon.client().deliver(&small("proof of life")).starts_with("250"));
    assert_eq!(house.mails().len(), before + 1);
    daemon.spool_is_empty(house);
    daemon.stop();
    assert!(house.names("spool").is_empty());
}

/// A scanner that connects and says nothing, or half a word, must not hold up the others.
#[test]
fn clients_that_do_nothing_hold_up_nobody() {
    let house = House::new();
    let daemon = house.start();
    let idle: Vec<Client> = (0..100)
        .map(|number| {
            let mut client = Client::connect(daemon.address());
            match number % 4 {
                0 => {}
                1 => client.send("EH"),
                2 => client.send("EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@ex"),
                _ => client.send("\r\n\r\n"),
            }
            client
        })
        .collect();
    assert!(daemon.client().deliver(&small("among them")).starts_with("250"));
    drop(idle);
    // Every one of them, and the one who sent.
    daemon.log.nth("click, disconnecting", 101);
    is_well(&house, daemon);
}

/// Replies that nobody takes must not pile up: at some point no more commands are read, and the
/// client can only hurt itself. Once it reads it gets every reply, in order.
#[test]
fn a_client_that_never_reads_is_not_read_either() {
    const COMMANDS: usize = 10_000;
    // As long as a line may be, so that the replies to what was never read count too.
    let command = format!("HELP {}\r\n", "x".repeat(400));
    let house = House::new();
    house.set("loglevel", "3");
    // Without a limit of faults and of commands without a mail.
    house.set("relayclients", "127.0.0.1");
    house.set("plugins", &format!("relay\nrcpt_ok\nqueue/maildir {}/M", house.path("").display()));
    let daemon = house.start();
    let before = memory(daemon.pid(), "status", "RssAnon");
    let mut clients: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    let writers: Vec<_> = clients
        .iter()
        .map(|client| {
            let mut stream = client.stream.try_clone().unwrap();
            let command = command.clone();
            std::thread::spawn(move || {
                use std::io::Write;
                // Blocks while the daemon does not read; ends when all is taken or it has closed.
                (0..COMMANDS).take_while(|_| stream.write_all(command.as_bytes()).is_ok()).count()
            })
        })
        .collect();
    // Several others are served in the meantime.
    for _ in 0..20 {
        let mut client = daemon.client();
        assert!(client.deliver(&small("meanwhile")).starts_with("250"));
        client.expect("QUIT", "221");
    }
    let grown = memory(daemon.pid(), "status", "RssAnon").saturating_sub(before);
    // 64 KiB of output and as much of unread input each, and room for the rest.
    assert!(grown < 8 * 1_024 * 1_024, "{grown} octets for 20 clients that do not read");
    // It reads at last.
    let mut reader = clients.remove(0);
    let mut replies = 0;
    while let Some(reply) = reader.try_reply() {
        replies += 1;
        if reply.starts_with("421 ") || replies == COMMANDS {
            break;
        }
        assert!(reply.starts_with("214 "), "{reply}");
    }
    assert!(replies > 50, "{replies} replies");
    drop((reader, clients));
    for writer in writers {
        // How many it could send depends on buffers of the kernel.
        writer.join().unwrap();
    }
    daemon.stop();
}

/// The classic slow client: an octet a packet. It costs patience and gets its mail through.
#[test]
fn an_octet_at_a_time_is_a_mail_too() {
    let house = House::new();
    let daemon = house.start();
    let mut client = Client::connect(daemon.address());
    assert!(client.reply().starts_with("220 "));
    let text = b"Subject: slowly\r\n\r\n.dot\r\n..\r\nend\r\n";
    let wire = stuffed(text);
    let steps: [(&[u8], &str); 5] = [
        (b"EHLO client.example\r\n", "250"),
        (b"MAIL FROM:<a@example.org>\r\n", "250"),
        (b"RCPT TO:<b@example.com>\r\n", "250"),
        (b"DATA\r\n", "354"),
        (&wire, "250"),
    ];
    for (octets, expected) in steps {
        for octet in octets {
            client.send([*octet]);
        }
        let reply = client.reply();
        assert!(reply.starts_with(expected), "{reply}");
    }
    let mails = house.mails();
    assert!(mails.len() == 1 && mails[0].ends_with(&kept(text)), "{mails:?}");
    is_well(&house, daemon);
}

/// A client may vanish with a reset at any moment. Each time one line says that it has gone, nothing
/// stays in the spool, and a mail arrives only if it was complete; then at most once.
#[test]
fn a_reset_in_any_state_leaves_nothing() {
    let house = House::new();
    house.set("size_threshold", "100");
    let daemon = house.start();
    let large = format!("Subject: reset\r\n\r\n{}", "x".repeat(70).as_str().to_owned() + "\r\n");
    let text = large + &("y".repeat(76) + "\r\n").repeat(5_000);
    // What is sent, and the start of the reply behind which the client vanishes.
    let envelope = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n";
    let states: Vec<(String, usize)> = vec![
        (String::new(), 0),
        (String::new(), 1),
        ("EHLO client.example\r\n".into(), 0),
        ("EHLO client.example\r\n".into(), 2),
        ("EHLO client.example\r\nMAIL FROM:<a@example.org>\r\n".into(), 3),
        (format!("EHLO client.example\r\n{envelope}"), 4),
        (format!("EHLO client.example\r\n{envelope}DATA\r\n"), 5),
        (format!("EHLO client.example\r\n{envelope}DATA\r\nSubject: x\r\n"), 5),
        (format!("EHLO client.example\r\n{envelope}DATA\r\n{text}"), 5),
        (format!("EHLO client.example\r\n{envelope}DATA\r\n{text}."), 5),
        (format!("EHLO client.example\r\n{envelope}DATA\r\n{text}.\r"), 5),
        (format!("EHLO client.example\r\n{envelope}BDAT 1000\r\n{}", "z".repeat(999)), 4),
        (format!("EHLO client.example\r\n{envelope}BDAT 5\r\nhello"), 5),
        ("EHLO client.example\r\nNOOP\r\nRSET\r\nVR".into(), 4),
    ];
    for (number, (wire, replies)) in states.iter().enumerate() {
        let mut client = Client::connect(daemon.address());
        client.send(wire);
        for _ in 0..*replies {
            client.reply();
        }
        client.reset();
        daemon.log.nth("click, disconnecting", number + 1);
        assert!(house.mails().is_empty(), "of an incomplete message: {:?}", wire.get(..200));
    }
    daemon.spool_is_empty(&house);
    // Complete, but the reply meets nobody: the client will send it again, and we may have it.
    for round in 0..20 {
        let mut client = daemon.client();
        client.data();
        client.send(format!("Subject: round {round}\r\n\r\n{text}.\r\n"));
        client.reset();
    }
    daemon.log.nth("click, disconnecting", states.len() + 20);
    let mails = house.mails();
    assert!(mails.len() <= 20);
    for round in 0..20 {
        let subject = format!("Subject: round {round}\n");
        let find = |mail: &&Vec<u8>| mail.windows(subject.len()).any(|it| it == subject.as_bytes());
        let found: Vec<_> = mails.iter().filter(find).collect();
        assert!(found.len() <= 1, "round {round} is there {} times", found.len());
        assert!(found.iter().all(|mail| mail.ends_with(&kept(text.as_bytes()))), "not whole");
    }
    assert_eq!(daemon.log.count("click, disconnecting"), states.len() + 20);
    is_well(&house, daemon);
}

/// `printf … | nc` closes its side when all is sent. That is no reason not to answer, and none to
/// deliver twice or not at all.
#[test]
fn a_half_closed_client_gets_all_replies_and_one_mail() {
    let house = House::new();
    let daemon = house.start();
    let large = format!("Subject: large\r\n\r\n{}", ("x".repeat(70) + "\r\n").repeat(3_000));
    for (number, text) in [small("nc"), large.into_bytes()].iter().enumerate() {
        let mut client = Client::connect(daemon.address());
        let octets = text.len();
        client.send("EHLO nc.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n");
        client.send(format!("BDAT {octets} LAST\r\n"));
        client.send(text);
        client.send("MAIL FROM:<c@example.org>\r\nNOOP\r\nQUIT\r\n");
        client.shutdown();
        for code in ["220", "250", "250", "250", "250", "250", "250", "221"] {
            let reply = client.reply();
            assert!(reply.starts_with(code), "{code}: {reply}");
        }
        client.ended();
        let mails = house.mails();
        assert_eq!(mails.len(), number + 1);
        assert_eq!(mails.iter().filter(|mail| mail.ends_with(&kept(text))).count(), 1);
    }
    // Without QUIT, and in the middle of a message.
    let mut client = daemon.client();
    client.data();
    client.send("Subject: half\r\n\r\nno end");
    client.shutdown();
    client.ended();
    daemon.log.nth("click, disconnecting", 3);
    assert_eq!(house.mails().len(), 2);
    is_well(&house, daemon);
}

/// Who says nothing, or an octet now and then, is told that its time is up. In the dialogue only
/// whole commands buy time.
#[test]
fn silence_and_dribble_end_with_421() {
    let house = House::new();
    house.set("timeout", "1");
    let daemon = house.start();
    let address = daemon.address();
    let mut silent = Client::connect(address);
    assert!(silent.reply().starts_with("220 "));
    let mut receiving = daemon.client();
    receiving.data();
    receiving.send("Subject: silence\r\n");
    // It sends as long as somebody takes it.
    let dribbling = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        assert!(client.reply().starts_with("220 "));
        client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut octet = [0];
        while client.stream.peek(&mut octet).is_err() {
            client.send("N");
        }
        client.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client
    });
    for mut client in [silent, receiving, dribbling.join().unwrap()] {
        let reply = client.reply();
        assert!(reply.starts_with("421 4.4.2 "), "{reply}");
        client.ended();
    }
    daemon.log.nth("click, disconnecting", 3);
    is_well(&house, daemon);
}

/// A close over unread input resets the connection, and the client would never see why. What comes
/// behind the last reply is read and thrown away for a while.
#[test]
fn the_last_words_are_heard_over_much_talk() {
    let house = House::new();
    let daemon = house.start();
    for (first, last) in
        [("GET / HTTP/1.1\r\n", "521 5.5.1 "), ("EHLO x\n", "521 5.5.2 "), ("QUIT\r\n", "221 ")]
    {
        let mut client = Client::connect(daemon.address());
        assert!(client.reply().starts_with("220 "));
        client.send(first.to_string() + &"X-Header: more of it\r\n".repeat(9_000));
        let reply = client.reply();
        assert!(reply.starts_with(last), "{first:?}: {reply}");
        client.ended();
    }
    is_well(&house, daemon);
}

/// A botnet knocks a thousand times a minute. What is gone must be gone from memory too.
#[test]
fn clients_that_come_and_go_leave_nothing() {
    let house = House::new();
    house.discard();
    house.set("loglevel", "3");
    let daemon = house.start();
    let come_and_go = |count: usize| {
        for number in 0..count {
            let mut client = Client::connect(daemon.address());
            if number % 2 == 0 {
                client.hello();
                client.expect("QUIT", "221");
                client.ended();
            } else {
                client.reset();
            }
        }
        memory(daemon.pid(), "status", "RssAnon")
    };
    let before = come_and_go(500);
    let after = come_and_go(10_000);
    let grown = after.saturating_sub(before);
    println!("{grown} octets more after 10,000 clients");
    assert!(grown < 512 * 1_024, "{grown} octets after 10,000 clients that are gone");
    daemon.stop();
}
