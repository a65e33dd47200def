//! The time that requests are signed with. AWS refuses signatures that are 15 minutes off, and each answer has a Date
//! header, by which a wrong clock is corrected.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};

/// How far off a clock may be before it is corrected, in seconds, because answers take time to arrive.
const TOLERATED: i64 = 240;

/// AWS's clock, as the answers show it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct AwsClock {
    /// Seconds by which AWS is ahead.
    ahead: Arc<AtomicI64>,
}

impl AwsClock {
    fn correct(&self, date: DateTime, now: SystemTime) {
        let ahead = date.secs() - DateTime::from(now).secs();
        let ahead = if ahead.abs() > TOLERATED { ahead } else { 0 };
        if self.ahead.swap(ahead, Ordering::Relaxed) == 0 && ahead != 0 {
            let remedy = "set the node's clock; until then requests are signed with AWS's time";
            let direction = if ahead < 0 { "ahead of" } else { "behind" };
            tracing::warn!(seconds = ahead.abs(), remedy, "correcting the clock, which is {direction} AWS's");
        }
    }

    fn at(&self, now: SystemTime) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { now - by } else { now + by }
    }
}

impl TimeSource for AwsClock {
    fn now(&self) -> SystemTime {
        self.at(SystemTime::now())
    }
}

#[dyn_dispatch_hint]
impl Intercept for AwsClock {
    fn name(&self) -> &'static str {
        "AwsClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(date) = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok()) {
            self.correct(date, SystemTime::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_far_off_is_corrected_and_a_right_one_is_trusted() {
        let clock = AwsClock::default();
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (theirs, corrected) in [
            (1_000_000, 1_000_000),
            (1_000_239, 1_000_000),
            (1_007_200, 1_007_200),
            (992_800, 992_800),
            (1_000_001, 1_000_000),
        ] {
            clock.correct(DateTime::from_secs(theirs), ours);
            assert_eq!(clock.at(ours), SystemTime::UNIX_EPOCH + Duration::from_secs(corrected), "{theirs}");
        }
    }
}
