//! Feeds `client::dspam`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::client::dspam::fuzz(data));
