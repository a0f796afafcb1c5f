//! Feeds `mail::tnef`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::mail::tnef::fuzz(data));
