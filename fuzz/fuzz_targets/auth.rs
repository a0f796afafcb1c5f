//! Feeds `smtp::auth`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::smtp::auth::fuzz(data));
