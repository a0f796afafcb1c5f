//! Feeds `smtp::address`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::smtp::address::fuzz(data));
