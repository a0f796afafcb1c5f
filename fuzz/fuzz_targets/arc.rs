//! Feeds `authn::arc`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::arc::fuzz(data));
