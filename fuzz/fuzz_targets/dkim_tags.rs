//! Feeds `authn::dkim::signature`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::dkim::signature::fuzz(data));
