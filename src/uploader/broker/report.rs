//! Reports to the broker: on transitions, every five minutes, and at the end.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::api::DeliveryReport;
use crate::domain::delivery::{SentReport, backoff, report_is_due, trouble};
use crate::uploader::broker::{Broker, BrokerReply};

/// Time between two checks whether a report is due.
const TICK: Duration = Duration::from_secs(1);
/// Time for the last report: what is left of the grace period belongs to recordings.
const LAST_REPORT: Duration = Duration::from_secs(2);

/// What a report would say now; `None` before the spool has been walked.
pub type ReportFeed = watch::Receiver<Option<DeliveryReport>>;

pub struct Reporter<B> {
    broker: Rc<B>,
    feed: ReportFeed,
    /// The last report that the broker took.
    sent: RefCell<Option<SentReport>>,
}

impl<B: Broker> Reporter<B> {
    pub fn new(broker: Rc<B>, feed: ReportFeed) -> Self {
        Reporter { broker, feed, sent: RefCell::default() }
    }

    /// Sends each report that is due. A report that the broker does not take is replaced by the next one.
    pub async fn follow(&self) -> Infallible {
        let mut failures = 0;
        loop {
            let pause = match self.report_if_due().await {
                Some(BrokerReply::Refused | BrokerReply::Unavailable(_)) => {
                    failures += 1;
                    backoff(failures, rand::random())
                }
                Some(BrokerReply::Granted(())) | None => {
                    failures = 0;
                    TICK
                }
            };
            sleep(pause).await;
        }
    }

    /// Sends one more report if something changed.
    pub async fn finish(&self) {
        if timeout(LAST_REPORT, self.report_if_due()).await.is_err() {
            tracing::debug!("no answer to the last report");
        }
    }

    async fn report_if_due(&self) -> Option<BrokerReply<()>> {
        let current = self.feed.borrow().clone()?;
        let (now, sent) = (Timestamp::now(), self.sent.borrow().clone());
        if !report_is_due(sent.as_ref(), &current, now) {
            return None;
        }
        let was_in_trouble = sent.is_some_and(|sent| sent.trouble.is_some());
        let report = DeliveryReport { was_in_trouble, ..current };
        let reply = self.broker.report(&report).await;
        match &reply {
            BrokerReply::Granted(()) => {
                let trouble = trouble(&report, now);
                *self.sent.borrow_mut() = Some(SentReport { report, trouble, at: now });
            }
            BrokerReply::Refused => tracing::debug!("the broker refuses a report"),
            BrokerReply::Unavailable(error) => tracing::debug!(error, "the broker did not take a report"),
        }
        Some(reply)
    }
}
