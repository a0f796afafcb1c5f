//! Feeds `client::clamd`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::client::clamd::fuzz(data));
