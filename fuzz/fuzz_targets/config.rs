//! Feeds `config::files`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::config::files::fuzz(data));
