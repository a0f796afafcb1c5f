//! Feeds `authn::password` and `authn::scram`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::password::fuzz(data));
