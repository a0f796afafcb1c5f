//! Feeds `authn::dkim::key`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::dkim::key::fuzz(data));
