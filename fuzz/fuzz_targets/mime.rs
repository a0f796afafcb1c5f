//! Feeds `mail::mime`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::mail::mime::fuzz(data));
