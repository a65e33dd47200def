//! Admission reviews, as the API server or any other client that reaches the webhook sends them.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| recording_operator::webhook::fuzz::review(body));
