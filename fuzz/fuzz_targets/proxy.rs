//! Feeds `smtp::proxy`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::smtp::proxy::fuzz(data));
