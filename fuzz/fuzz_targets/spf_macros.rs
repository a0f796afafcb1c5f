//! Feeds the macros of SPF.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::spf::fuzz_macros(data));
