//! Admission reviews, as the API server, or whoever reaches the webhook, sends them.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| recording_operator::webhook::fuzz::review(body));
