//! One look at one destination: what is due, gather, judge, report.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt as _};

use crate::api::{BucketTarget, RecordingDestination};
use crate::aws::{Connection, Sts};
use crate::cluster::{Events, destinations};
use crate::domain::trust::{role_policy, trust_policy};
use crate::domain::verdict::{Due, Evidence, Recent, Texts, Verdict, due, judge, next_look};

/// What the steps work with.
pub(super) struct Context {
    pub client: Client,
    pub events: Events,
    pub connection: Connection,
    pub sts: Sts,
    pub platform_principal_arn: String,
    pub destinations: Store<RecordingDestination>,
    /// By UID.
    pub recent: Mutex<HashMap<String, Recent>>,
}

pub(super) async fn reconcile(
    seen: Arc<RecordingDestination>,
    context: Arc<Context>,
) -> Result<Action, kube::Error> {
    let partition = context.platform_partition();
    let recent = context.recall(&seen);
    if let Due::NotBefore(time) = due(&seen, recent.as_ref(), partition, Timestamp::now()) {
        return Ok(requeue_at(time));
    }
    // The cache may be behind our own last write: what is due is decided on what is there now.
    let Some(destination) = destinations::fresh(&context.client, &seen).await? else {
        return Ok(Action::await_change());
    };
    let evidence = match due(&destination, recent.as_ref(), partition, Timestamp::now()) {
        Due::NotBefore(time) => return Ok(requeue_at(time)),
        Due::ReportSuspended => Some(Evidence::Suspended),
        Due::ReportInvalid(problem) => Some(Evidence::InvalidSpec(problem)),
        Due::CarryOver => Some(Evidence::CarriedOver),
        Due::Look(work) => context.gather(&destination, recent.as_ref(), work).await?,
    };
    let now = Timestamp::now();
    let Some(evidence) = evidence else {
        let next = recent.map_or(now, |recent| next_look(&destination, &recent, partition, now));
        return Ok(requeue_at(next));
    };
    let verdict = judge(&destination, &evidence, &context.texts(&destination), recent.as_ref(), now);
    let recent = Recent::after_look(recent.as_ref(), &destination, &evidence, now);
    let reported = context.report(destination, verdict).await?;
    // Only what was written is remembered: an edit that could not be reported on is looked at again.
    context.remember(&reported, recent.clone());
    Ok(requeue_at(next_look(&reported, &recent, partition, now)))
}

impl Context {
    /// Writes the status, if it says anything new, and announces transitions.
    async fn report(
        &self,
        destination: RecordingDestination,
        verdict: Verdict,
    ) -> Result<RecordingDestination, kube::Error> {
        let mut known = destination.status.clone().unwrap_or_default();
        known.last_upload_time = None;
        if known == verdict.status {
            return Ok(destination);
        }
        let reported = destinations::apply_status(&self.client, &destination, &verdict.status).await?;
        for transition in &verdict.transitions {
            let (namespace, name) = (destination.namespace().unwrap_or_default(), destination.name_any());
            tracing::info!(namespace, name, reason = transition.reason, "{}", transition.note);
            if let Err(error) = self.events.publish(&destination, transition).await {
                tracing::warn!(namespace, name, %error, "the Event could not be published; the status has it all");
            }
        }
        Ok(reported)
    }

    fn texts(&self, destination: &RecordingDestination) -> Texts {
        Texts {
            platform_principal: self.platform_principal_arn.clone(),
            trust_policy: trust_policy(&self.platform_principal_arn),
            role_policy: role_policy(&BucketTarget::from(&destination.spec), self.platform_partition()),
        }
    }

    /// The partition of the platform's principal, and of every role that is asked: `due` refuses others.
    pub(super) fn platform_partition(&self) -> &str {
        self.platform_principal_arn.split(':').nth(1).unwrap_or("aws")
    }

    fn recall(&self, destination: &RecordingDestination) -> Option<Recent> {
        self.recent.lock().unwrap().get(destination.metadata.uid.as_deref()?).cloned()
    }

    fn remember(&self, destination: &RecordingDestination, recent: Recent) {
        let Some(uid) = destination.metadata.uid.clone() else { return };
        let mut all = self.recent.lock().unwrap();
        all.insert(uid, recent);
        // Deletions are not announced; what is gone is forgotten when it has grown to as much again.
        if all.len() > 2 * self.destinations.len() + 64 {
            let alive: Vec<_> =
                self.destinations.state().iter().filter_map(|d| d.metadata.uid.clone()).collect();
            all.retain(|uid, _| alive.contains(uid));
        }
    }
}

fn requeue_at(time: Timestamp) -> Action {
    let wait = time.duration_since(Timestamp::now());
    Action::requeue(wait.try_into().unwrap_or_default())
}
