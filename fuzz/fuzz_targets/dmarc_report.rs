//! Feeds `authn::dmarc::feedback`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::dmarc::feedback::fuzz(data));
