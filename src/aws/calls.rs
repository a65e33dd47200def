//! Calls to AWS, counted and timed.

use std::time::Instant;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::{Answer, Refusal};

/// Counts and times calls. Clones share the metrics.
#[derive(Clone, Debug)]
pub struct Calls {
    total: Family<Labels, Counter>,
    seconds: Family<Call, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    call: &'static str,
    result: &'static str,
}

/// An operation of the SDK.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: String,
}

impl Default for Calls {
    fn default() -> Self {
        // From 10 ms, a call within the region, to 20 s, the time-out.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.01, 2.0, 12));
        Calls { total: Family::default(), seconds: Family::new_with_constructor(seconds) }
    }
}

impl Calls {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "recording_operator_aws_calls",
            "Calls to AWS by result: granted, refused, throttled, fault (AWS's own), or silent (no usable answer)",
            self.total.clone(),
        );
        registry.register(
            "recording_operator_aws_call_duration_seconds",
            "Time from sending a call to AWS to its answer; for GetObject to the first byte",
            self.seconds.clone(),
        );
    }

    pub(super) fn count<T>(&self, call: &'static str, answer: Answer<T>) -> Answer<T> {
        self.total.get_or_create(&Labels { call, result: result(&answer) }).inc();
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

#[derive(Debug)]
struct Began(Instant);

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Began(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        _: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(call), Some(Began(began))) = (config.load::<Metadata>(), config.load::<Began>()) {
            let call = Call { call: call.name().to_owned() };
            self.seconds.get_or_create(&call).observe(began.elapsed().as_secs_f64());
        }
        Ok(())
    }
}
