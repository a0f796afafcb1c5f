//! Feeds `mail::uri`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::mail::uri::fuzz(data));
