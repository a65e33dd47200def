//! The reconciliation of one destination: what is due, gather, judge, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::gather::Gathered;
use crate::api::RecordingDestination;
use crate::cluster::{self, CallError, destinations};
use crate::domain::delivery;
use crate::domain::verdict::{Due, Evidence, Recent, Verdict, judge};

/// Pause after the first error, doubled after each that follows, up to five minutes.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const DOUBLINGS: u32 = 6;
/// Time in which the watch sees an edit that a fresh read has seen.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

pub(super) async fn reconcile(
    seen: Arc<RecordingDestination>,
    context: Arc<Context>,
) -> cluster::Result<Action> {
    // All are woken once they are.
    if !context.claims.are_loaded() {
        return Ok(Action::await_change());
    }
    let key = ObjectRef::from_obj(&*seen);
    let call_silent_at = context.call_silent(&seen).await?;
    let next = validate_if_due(seen, &context).await?;
    context.failures.lock().unwrap().remove(&key);
    Ok(match next.into_iter().chain(call_silent_at).min() {
        Some(time) => Action::requeue(time.duration_since(Timestamp::now()).try_into().unwrap_or_default()),
        None => Action::await_change(),
    })
}

/// Logs a failed call to the API server and retries with backoff, because each attempt may cost calls to AWS.
pub(super) fn on_error(
    destination: Arc<RecordingDestination>,
    error: &CallError,
    context: Arc<Context>,
) -> Action {
    let (namespace, name) = (destination.namespace().unwrap_or_default(), destination.name_any());
    // Whoever edits a destination without end fills no log.
    match error.is_conflict() {
        true => tracing::debug!(namespace, name, %error, "the destination keeps changing; trying again"),
        false => tracing::error!(namespace, name, %error, "reconciling a destination failed; trying again"),
    }
    let mut failures = context.failures.lock().unwrap();
    // The controller is not notified of deletions.
    if failures.len() > context.destinations.len() + 64 {
        failures.clear();
    }
    let count = failures.entry(ObjectRef::from_obj(&*destination)).or_insert(0);
    let pause = FIRST_PAUSE * 2u32.pow(*count);
    *count = (*count + 1).min(DOUBLINGS);
    Action::requeue(pause)
}

/// Validates what is due, and returns when to do so again; `None`: when the destination changes.
async fn validate_if_due(
    seen: Arc<RecordingDestination>,
    context: &Context,
) -> cluster::Result<Option<Timestamp>> {
    let recent = context.recent(&seen);
    let (limiter, may_validate) = match context.due(&seen, recent.as_ref()) {
        Due::NotBefore(time) => return Ok(Some(time)),
        Due::Validate(_) => (&context.validations, true),
        _ => (&context.reports, false),
    };
    let _permit = limiter.acquire(&seen.namespace().unwrap_or_default()).await;
    // Thousands may wait for a permit, and few have one: only these take room for the work.
    Box::pin(validate(seen, recent, may_validate, context)).await
}

async fn validate(
    seen: Arc<RecordingDestination>,
    recent: Option<Recent>,
    may_validate: bool,
    context: &Context,
) -> cluster::Result<Option<Timestamp>> {
    // The watch may be behind this process's last write, so what is due is decided on a fresh read.
    let Some(destination) = destinations::fresh(&context.client, &seen).await? else {
        return Ok(None);
    };
    let gathered = match context.due(&destination, recent.as_ref()) {
        Due::NotBefore(time) => return Ok(Some(time)),
        Due::ReportSuspended => Gathered::without_calls(Evidence::Suspended),
        Due::ReportInvalid(problem) => Gathered::without_calls(Evidence::InvalidSpec(problem)),
        Due::ReportNotAllowed(objection) => Gathered::without_calls(Evidence::NotAllowed(objection)),
        Due::CarryOver => Gathered::without_calls(Evidence::CarriedOver),
        Due::Reconsider => Gathered::without_calls(Evidence::Reconsidered),
        Due::ReportDelivery => Gathered::without_calls(Evidence::Reported),
        // It was edited meanwhile, and comes again for the other permit.
        Due::Validate(_) if !may_validate => return Ok(Some(Timestamp::now() + SECOND)),
        Due::Validate(work) => {
            let began = Instant::now();
            let gathered = context.gather(&destination, recent.as_ref(), work).await?;
            context.validation_durations.observe(began.elapsed());
            gathered
        }
    };
    let now = Timestamp::now();
    let Some(evidence) = gathered.evidence else {
        let recent = recent.map(|recent| recent.after_secret_read(now));
        return Ok(Some(context.keep_recent(&destination, recent, now)));
    };
    let texts = context.examiner.texts(&destination);
    let verdict = context.claims.judge(&destination, gathered.external_id, |standing| {
        judge(&destination, &evidence, &texts, recent.as_ref(), &context.rules, standing, now)
    });
    let recent = Recent::after_validation(recent.as_ref(), &destination, &evidence, &verdict.status, now);
    let Some(reported) = context.report(destination, verdict).await? else {
        return Ok(None);
    };
    // Only what was written is kept: an edit whose report failed is validated again.
    Ok(Some(context.keep_recent(&reported, Some(recent), now)))
}

impl Context {
    /// Says in the status of uploaders that no longer report and that no broker settles that they are silent, and returns
    /// when that is due again.
    async fn call_silent(&self, seen: &RecordingDestination) -> cluster::Result<Option<Timestamp>> {
        let Some(status) = &seen.status else { return Ok(None) };
        let Some(uploaders) = &status.uploaders else { return Ok(None) };
        let Some(silent) = delivery::call_silent(uploaders, Timestamp::now()) else {
            return Ok(delivery::call_silent_at(uploaders));
        };
        // Where the broker wrote first, its write triggers the next reconciliation.
        let (losses, upload) = (status.last_losses.as_slice(), status.last_upload_time.as_ref());
        Box::pin(destinations::write_delivery(&self.client, seen, Some(&silent), losses, upload)).await?;
        Ok(None)
    }

    /// Writes the status if it has changed, and publishes transitions; `None` when the destination is gone.
    async fn report(
        &self,
        destination: RecordingDestination,
        verdict: Verdict,
    ) -> cluster::Result<Option<RecordingDestination>> {
        if destination.status.clone().unwrap_or_default().of_controller() == verdict.status {
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
                tracing::warn!(namespace, name, %error, "publishing an Event failed; the status has the same text");
            }
        }
        Ok(reported)
    }
}
