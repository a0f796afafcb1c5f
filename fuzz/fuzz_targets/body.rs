//! Feeds `smtp::body`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::smtp::body::fuzz(data));
