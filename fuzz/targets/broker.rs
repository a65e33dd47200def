//! Requests to the broker, from anybody in the pods' network.
#![no_main]

libfuzzer_sys::fuzz_target!(|request: &[u8]| recording_operator::broker::fuzz::request(request));
