//! Feeds `mail::headers`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::mail::headers::fuzz(data));
