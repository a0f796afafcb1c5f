//! Feeds `smtp::session`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::smtp::session::fuzz(data));
