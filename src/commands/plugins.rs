//! `mailreeve plugins`: the table, or one manual.

use crate::commands::{complain, print};
use crate::plugins::{REGISTRY, find, manual};

/// Prints the table of plugins, or the manual of one.
pub fn run(name: Option<&str>) -> u8 {
    let Some(name) = name else {
        for entry in REGISTRY {
            print(&format!("{}\n", entry.name));
        }
        return 0;
    };
    match find(name).and_then(manual) {
        Some(text) => print(text),
        None => {
            complain(&format!("there is no plugin {name}\n"));
            return 2;
        }
    }
    0
}
