//! Feeds an SPF record.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::authn::spf::fuzz_record(data));
