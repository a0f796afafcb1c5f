//! Feeds `authn::dmarc::record`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::dmarc::record::fuzz(data));
