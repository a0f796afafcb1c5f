//! Feeds `smtp::command`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::smtp::command::fuzz(data));
