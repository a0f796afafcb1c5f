//! Feeds `mail::extend`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::mail::extend::fuzz(data));
