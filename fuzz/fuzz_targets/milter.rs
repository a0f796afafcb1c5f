//! Feeds `client::milter`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::client::milter::fuzz(data));
