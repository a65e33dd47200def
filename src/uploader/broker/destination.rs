//! The destination watch. The broker lets a request wait until the destination changes.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{DeliveryState, DestinationDocument};
use crate::domain::delivery::{FailureLog, LogLine, pause_after_refusals};
use crate::uploader::broker::{Broker, BrokerReply};

/// What the broker's refusal means. It does not say which of these it is.
const NOT_SERVED: &str =
    "the broker serves this pod no destination: the destination was deleted, or this pod may not use it";

/// Least time between two requests to a broker that answers.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same where it cannot be reached. Jitter adds up to half as much.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// The broker's last answer about the destination.
#[derive(Clone, Debug, PartialEq)]
pub enum DestinationState {
    /// Nothing yet.
    Unknown,
    /// Keep every recording, for this reason.
    Paused(String),
    /// Send recordings here.
    Active(Rc<DestinationDocument>),
}

/// Keeps `state` at the broker's last answer, and logs each change once. While the broker cannot be reached its last
/// answer stands. When `pod_ends`, it asks at once, and waits for no longer than after a first refusal from then on.
pub async fn follow<B: Broker>(
    broker: &B,
    state: watch::Sender<DestinationState>,
    pod_ends: impl Future<Output = ()>,
) -> Infallible {
    let mut pod_ends = pin!(pod_ends);
    let (mut is_ending, mut refusals) = (false, 0_u32);
    let mut unreachable = FailureLog::default();
    loop {
        let asked = Instant::now();
        let reply = broker.destination().await;
        refusals = if matches!(reply, BrokerReply::Refused) && !is_ending { refusals + 1 } else { 0 };
        let pause = match &reply {
            BrokerReply::Granted(_) => INTERVAL,
            BrokerReply::Refused | BrokerReply::RoleRefused(_) => {
                pause_after_refusals(refusals.max(1), rand::random())
            }
            BrokerReply::Unavailable(_) => RETRY_INTERVAL.mul_f64(1.0 + rand::random::<f64>() / 2.0),
        };
        let new = match reply {
            BrokerReply::Granted(document) if document.state == DeliveryState::Active => {
                Some(DestinationState::Active(Rc::new(document)))
            }
            BrokerReply::Granted(document) => {
                let reason = document.reason.unwrap_or_else(|| "no reason was given".to_owned());
                Some(DestinationState::Paused(format!("the destination is paused: {reason}")))
            }
            BrokerReply::Refused | BrokerReply::RoleRefused(_) => {
                Some(DestinationState::Paused(NOT_SERVED.to_owned()))
            }
            BrokerReply::Unavailable(error) => {
                if let Some(seconds) = unreachable.line(true, asked.into_std()).map(LogLine::seconds) {
                    tracing::warn!(error, seconds, "cannot reach the broker; its last answer stands");
                }
                None
            }
        };
        if new.is_some()
            && let Some(seconds) = unreachable.line(false, asked.into_std()).map(LogLine::seconds)
        {
            tracing::info!(seconds, "the broker answers again");
        }
        if let Some(new) = new
            && *state.borrow() != new
        {
            log(&new);
            state.send_replace(new);
        }
        tokio::select! {
            () = tokio::time::sleep_until(asked + pause) => {}
            () = &mut pod_ends, if !is_ending => is_ending = true,
        }
    }
}

fn log(state: &DestinationState) {
    match state {
        DestinationState::Active(document) => {
            let (bucket, prefix) = (&document.target.bucket, &document.target.prefix);
            tracing::info!(bucket, prefix, "the destination is active");
        }
        DestinationState::Paused(reason) => tracing::warn!(reason, "paused; every recording is kept"),
        DestinationState::Unknown => {}
    }
}
