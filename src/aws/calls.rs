//! Calls to AWS, counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::api::{Answer, Refusal};

/// How many calls were made, and how they ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    call: &'static str,
    result: &'static str,
}

impl Calls {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "recording_operator_aws_calls",
            "Calls to AWS by result: granted, refused, throttled, fault (AWS's own), or silent (no usable answer)",
            self.0.clone(),
        );
    }

    /// Counts a call by its answer.
    pub(super) fn count<T>(&self, call: &'static str, answer: Answer<T>) -> Answer<T> {
        self.0.get_or_create(&Labels { call, result: result(&answer) }).inc();
        answer
    }
}

fn result<T>(answer: &Answer<T>) -> &'static str {
    match answer {
        Answer::Granted(_) => "granted",
        Answer::Refused(refusal) if refusal.is_throttle() => "throttled",
        Answer::Refused(refusal) if refusal.is_server_fault() => "fault",
        Answer::Refused(Refusal { .. }) => "refused",
        Answer::Silent(_) => "silent",
    }
}
