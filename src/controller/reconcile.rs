//! One look at one destination: what is due, gather, judge, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::gather::Gathered;
use crate::api::RecordingDestination;
use crate::cluster::destinations;
use crate::domain::delivery;
use crate::domain::verdict::{Due, Evidence, Recent, Verdict, judge};

/// Pause after the first error, doubled after each that follows, up to five minutes.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const DOUBLINGS: u32 = 6;

pub(super) async fn reconcile(
    seen: Arc<RecordingDestination>,
    context: Arc<Context>,
) -> Result<Action, kube::Error> {
    let key = ObjectRef::from_obj(&*seen);
    let prune_at = context.prune(&seen).await?;
    let next = look(seen, &context).await?;
    context.failures.lock().unwrap().remove(&key);
    Ok(match next.into_iter().chain(prune_at).min() {
        Some(time) => Action::requeue(time.duration_since(Timestamp::now()).try_into().unwrap_or_default()),
        None => Action::await_change(),
    })
}

/// An error is our own cluster's: logged, and tried again ever more rarely, as each try may cost calls to AWS.
pub(super) fn on_error(
    destination: Arc<RecordingDestination>,
    error: &kube::Error,
    context: Arc<Context>,
) -> Action {
    let (namespace, name) = (destination.namespace().unwrap_or_default(), destination.name_any());
    tracing::error!(namespace, name, %error, "the API server did not do as asked; trying again");
    let mut failures = context.failures.lock().unwrap();
    // Of destinations that are gone nothing is heard.
    if failures.len() > context.destinations.len() + 64 {
        failures.clear();
    }
    let count = failures.entry(ObjectRef::from_obj(&*destination)).or_insert(0);
    let pause = FIRST_PAUSE * 2u32.pow(*count);
    *count = (*count + 1).min(DOUBLINGS);
    Action::requeue(pause)
}

/// Looks, and says when to look again; `None`: when the destination changes.
async fn look(seen: Arc<RecordingDestination>, context: &Context) -> Result<Option<Timestamp>, kube::Error> {
    context.claims.learn(&context.client).await;
    let recent = context.recall(&seen);
    if let Due::NotBefore(time) = context.due(&seen, recent.as_ref()) {
        return Ok(Some(time));
    }
    let _permit = context.limiter.acquire(&seen.namespace().unwrap_or_default()).await;
    // The cache may be behind our own last write: what is due is decided on what is there now.
    let Some(destination) = destinations::fresh(&context.client, &seen).await? else {
        return Ok(None);
    };
    let gathered = match context.due(&destination, recent.as_ref()) {
        Due::NotBefore(time) => return Ok(Some(time)),
        Due::ReportSuspended => Gathered::told(Evidence::Suspended),
        Due::ReportInvalid(problem) => Gathered::told(Evidence::InvalidSpec(problem)),
        Due::ReportNotAllowed(objection) => Gathered::told(Evidence::NotAllowed(objection)),
        Due::CarryOver => Gathered::told(Evidence::CarriedOver),
        Due::Reconsider => Gathered::told(Evidence::Reconsidered),
        Due::ReportDelivery => Gathered::told(Evidence::Reported),
        Due::Look(work) => {
            let began = Instant::now();
            let gathered = context.gather(&destination, recent.as_ref(), work).await?;
            context.looks.note(began.elapsed());
            gathered
        }
    };
    let now = Timestamp::now();
    let Some(evidence) = gathered.evidence else {
        let recent = recent.map(|recent| recent.after_secret_look(now));
        return Ok(Some(context.remember(&destination, recent, now)));
    };
    let texts = context.examiner.texts(&destination);
    let verdict = context.claims.judge(&destination, gathered.external_id, |standing| {
        judge(&destination, &evidence, &texts, recent.as_ref(), &context.rules, standing, now)
    });
    let recent = Recent::after_look(recent.as_ref(), &destination, &evidence, &verdict.status, now);
    let Some(reported) = context.report(destination, verdict).await? else {
        return Ok(None);
    };
    // Only what was written is remembered: an edit that could not be reported on is looked at again.
    Ok(Some(context.remember(&reported, Some(recent), now)))
}

impl Context {
    /// Drops uploaders that are no longer heard of from the status, and says when that is due again.
    async fn prune(&self, seen: &RecordingDestination) -> Result<Option<Timestamp>, kube::Error> {
        let Some(uploaders) = seen.status.as_ref().and_then(|status| status.uploaders.as_ref()) else {
            return Ok(None);
        };
        let Some(left) = delivery::prune(uploaders, Timestamp::now()) else {
            return Ok(delivery::prune_at(uploaders));
        };
        // Where the broker was faster, its write wakes us again.
        let upload = seen.status.as_ref().and_then(|status| status.last_upload_time.as_ref());
        destinations::write_delivery(&self.client, seen, left.as_ref(), upload).await?;
        Ok(None)
    }

    /// Writes the status, if it says anything new, and announces transitions; `None` when the destination is gone.
    async fn report(
        &self,
        destination: RecordingDestination,
        verdict: Verdict,
    ) -> Result<Option<RecordingDestination>, kube::Error> {
        let mut known = destination.status.clone().unwrap_or_default();
        (known.uploaders, known.last_upload_time) = (None, None);
        if known == verdict.status {
            return Ok(Some(destination));
        }
        let reported = destinations::apply_status(&self.client, &destination, &verdict.status).await?;
        if reported.is_none() {
            return Ok(None);
        }
        for transition in &verdict.transitions {
            let (namespace, name) = (destination.namespace().unwrap_or_default(), destination.name_any());
            tracing::info!(namespace, name, reason = transition.reason, "{}", transition.note);
            if let Err(error) = self.events.publish(&destination, transition).await {
                tracing::warn!(namespace, name, %error, "the Event could not be published; the status has it all");
            }
        }
        Ok(reported)
    }
}
