//! Telling the broker how this sidecar stands: on transitions, every five minutes, and at the end.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::uploader::storage::{Broker, Told};
use crate::api::DeliveryReport;
use crate::domain::delivery::{Sent, backoff, report_is_due, trouble};

/// Time between two looks at whether a report is due.
const TICK: Duration = Duration::from_secs(1);
/// Time for the last report: what is left of the grace period belongs to recordings.
const LAST_REPORT: Duration = Duration::from_secs(2);

/// How the sidecar stands; `None` before the spool has been walked.
pub type Standing = watch::Receiver<Option<DeliveryReport>>;

/// Reports to the broker.
pub struct Reporter<B> {
    broker: Rc<B>,
    standing: Standing,
    sent: RefCell<Option<Sent>>,
}

impl<B: Broker> Reporter<B> {
    /// Nothing reported yet.
    pub fn new(broker: Rc<B>, standing: Standing) -> Self {
        Reporter { broker, standing, sent: RefCell::default() }
    }

    /// Reports whenever it is due. A broker that does not take a report hears the next one: nothing depends on it.
    pub async fn follow(&self) -> Infallible {
        let mut failures = 0;
        loop {
            let pause = match self.report_if_due().await {
                Some(Told::Refused | Told::Unavailable(_)) => {
                    failures += 1;
                    backoff(failures, rand::random())
                }
                Some(Told::Granted(())) | None => {
                    failures = 0;
                    TICK
                }
            };
            sleep(pause).await;
        }
    }

    /// Reports once more if there is news.
    pub async fn finish(&self) {
        if timeout(LAST_REPORT, self.report_if_due()).await.is_err() {
            tracing::debug!("No answer to the last report");
        }
    }

    async fn report_if_due(&self) -> Option<Told<()>> {
        let standing = self.standing.borrow().clone()?;
        let (now, sent) = (Timestamp::now(), self.sent.borrow().clone());
        if !report_is_due(sent.as_ref(), &standing, now) {
            return None;
        }
        let was_in_trouble = sent.is_some_and(|sent| sent.trouble.is_some());
        let report = DeliveryReport { was_in_trouble, ..standing };
        let told = self.broker.report(&report).await;
        match &told {
            Told::Granted(()) => {
                let trouble = trouble(&report, now);
                *self.sent.borrow_mut() = Some(Sent { report, trouble, at: now });
            }
            Told::Refused => tracing::debug!("The broker refuses a report"),
            Told::Unavailable(why) => tracing::debug!(why, "The broker did not take a report"),
        }
        Some(told)
    }
}
