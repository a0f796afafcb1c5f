//! Feeds `mail::zip`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::mail::zip::fuzz(data));
