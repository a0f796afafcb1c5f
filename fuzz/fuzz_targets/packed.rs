//! Feeds `mail::packed`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::mail::packed::fuzz(data));
