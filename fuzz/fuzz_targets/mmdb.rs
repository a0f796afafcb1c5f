//! Feeds `config::mmdb`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::config::mmdb::fuzz(data));
