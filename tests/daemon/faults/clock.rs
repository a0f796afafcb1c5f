//! The wall clock jumps while mail comes in: no timer is stuck, no mail is lost.

use crate::daemon::client::{Client, kept, small, stuffed};
use crate::daemon::faults::shim::Shim;
use crate::daemon::house::House;
use crate::daemon::system::skip;

const HOUR: i64 = 3_600;

/// Back and ahead, by an hour and by a day, in the middle of a message and between two; who is silent
/// is told so in time all the same.
#[test]
fn a_jump_costs_nothing() {
    let house = House::new();
    house.set("timeout", "2");
    let Some(shim) = Shim::new(&house) else {
        return skip("faults::clock", "needs a C compiler and a program that loads libraries");
    };
    let daemon = shim.start(&house);
    let mut jumps = 0;
    for seconds in [-HOUR, HOUR, -24 * HOUR, 24 * HOUR, 0] {
        let mut silent = Client::connect(daemon.address());
        assert!(silent.reply().starts_with("220 "));
        let mut client = daemon.client();
        client.data();
        let wire = stuffed(&small(&format!("jump to {seconds}")));
        let (first, second) = wire.split_at(20);
        client.send(first);
        shim.set_clock(seconds);
        client.send(second);
        let reply = client.reply();
        assert!(reply.starts_with("250 "), "{seconds}: {reply}");
        assert!(client.deliver(&small("behind")).starts_with("250 "));
        assert!(silent.reply().starts_with("421 4.4.2 "));
        silent.ended();
        jumps += 1;
    }
    let mails = house.mails();
    assert_eq!(mails.len(), 2 * jumps);
    assert_eq!(mails.iter().filter(|mail| mail.ends_with(&kept(&small("behind")))).count(), jumps);
    daemon.stop();
    assert_eq!(house.names("spool"), [""; 0]);
}
