//! Feeds `dns::wire`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::dns::wire::fuzz(data));
