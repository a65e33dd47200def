//! Reports to the broker: on transitions, every five minutes, and when the end begins and comes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::api::DeliveryReport;
use crate::domain::delivery::{FailureLog, LogLine, SentReport, backoff, report_is_due, trouble};
use crate::uploader::broker::{Broker, BrokerReply};

/// Time between two checks whether a report is due.
const TICK: Duration = Duration::from_secs(1);
/// Time for the last report: what is left of the grace period belongs to recordings.
const LAST_REPORT: Duration = Duration::from_secs(2);

/// What a report would say now; `None` before anything is known of the spool.
pub type ReportFeed = watch::Receiver<Option<DeliveryReport>>;

pub struct Reporter<B> {
    broker: Rc<B>,
    feed: ReportFeed,
    /// The last report that the broker took, and when.
    sent: RefCell<Option<(SentReport, Instant)>>,
    failures: RefCell<FailureLog>,
}

impl<B: Broker> Reporter<B> {
    pub fn new(broker: Rc<B>, feed: ReportFeed) -> Self {
        Reporter { broker, feed, sent: RefCell::default(), failures: RefCell::default() }
    }

    /// Sends each report that is due. A report that the broker does not take is replaced by the next one.
    pub async fn follow(&self) -> Infallible {
        let (mut failures, mut news) = (0, self.feed.clone());
        loop {
            match self.report_if_due().await {
                Some(BrokerReply::Granted(())) | None => {
                    failures = 0;
                    tokio::select! {
                        Ok(()) = news.changed() => {}
                        () = sleep(TICK) => {}
                    }
                }
                Some(_) => {
                    failures += 1;
                    sleep(backoff(failures, rand::random())).await;
                }
            }
        }
    }

    /// Sends the last report.
    pub async fn finish(&self) {
        if timeout(LAST_REPORT, self.report_if_due()).await.is_err() {
            tracing::warn!(seconds = LAST_REPORT.as_secs(), "the broker did not answer to the last report");
        }
    }

    async fn report_if_due(&self) -> Option<BrokerReply<()>> {
        let current = self.feed.borrow().clone()?;
        let (now, asked) = (Timestamp::now(), Instant::now());
        let (sent, since) = match self.sent.borrow().clone() {
            Some((sent, at)) => (Some(sent), asked - at),
            None => (None, Duration::ZERO),
        };
        if !report_is_due(sent.as_ref(), since, &current, now) {
            return None;
        }
        let was_in_trouble = sent.is_some_and(|sent| sent.trouble.is_some());
        let report = DeliveryReport { was_in_trouble, ..current };
        let reply = self.broker.report(&report).await;
        let error = match &reply {
            BrokerReply::Granted(()) => {
                let trouble = trouble(&report, now);
                *self.sent.borrow_mut() = Some((SentReport { report, trouble }, asked));
                None
            }
            BrokerReply::Refused | BrokerReply::RoleRefused(_) => Some("it refuses this pod"),
            BrokerReply::Unavailable(error) => Some(error.as_str()),
        };
        match (self.failures.borrow_mut().line(error.is_some(), asked.into_std()), error) {
            (Some(line), Some(error)) => {
                let seconds = line.seconds();
                tracing::warn!(
                    error,
                    seconds,
                    "the broker takes no report; what it knows of this pod is old"
                );
            }
            (line, _) => {
                if let Some(seconds) = line.map(LogLine::seconds) {
                    tracing::info!(seconds, "the broker takes reports again");
                }
            }
        }
        Some(reply)
    }
}
