//! Feeds `client::rspamd`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mailreeve::client::rspamd::fuzz(data));
