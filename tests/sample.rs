//! The sample config folder is what a newcomer copies: it loads without a word.

use mailreeve::config::Defaults;
use mailreeve::config::files::Files;
use mailreeve::plugins::load::{Strictness, load};
use std::path::PathBuf;

#[test]
fn the_sample_folder_loads_without_a_word() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("etc/mailreeve");
    let files = Files::on_disk(vec![folder]);
    let defaults = Defaults { host_name: "mx.example.net".to_string(), cores: 2 };
    let (site, problems) = load(&files, &defaults, None, Strictness::Start);
    let words: Vec<String> = problems
        .iter()
        .map(ToString::to_string)
        // What the machine at hand has in /etc/resolv.conf is not the sample's business.
        .filter(|problem| !problem.starts_with("/etc/"))
        .collect();
    assert_eq!(words, Vec::<String>::new());
    assert!(site.base.plugins().len() > 10);
}
