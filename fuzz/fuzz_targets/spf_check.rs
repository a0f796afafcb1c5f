//! Feeds a whole check of SPF.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::spf::fuzz_check(data));
