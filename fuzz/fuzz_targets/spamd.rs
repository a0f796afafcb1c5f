//! Feeds `client::spamd`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::client::spamd::fuzz(data));
