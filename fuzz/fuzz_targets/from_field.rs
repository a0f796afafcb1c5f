//! Feeds the domains of a From field.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::dmarc::author::fuzz(data));
