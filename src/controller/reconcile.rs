//! The reconciliation of one destination: what is due, gather, judge, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::gather::Gathered;
use crate::api::{Answer, RecordingDestination};
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
    let prune_at = context.prune(&seen).await?;
    let next = validate_if_due(seen, &context).await?;
    context.failures.lock().unwrap().remove(&key);
    Ok(match next.into_iter().chain(prune_at).min() {
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

/// What a reconciliation has a permit for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Permitted {
    Report,
    Validation,
    /// A validation that uploaders' reports have brought about.
    Question,
}

/// Validates what is due, and returns when to do so again; `None`: when the destination changes.
async fn validate_if_due(
    seen: Arc<RecordingDestination>,
    context: &Context,
) -> cluster::Result<Option<Timestamp>> {
    let recent = context.recent(&seen);
    let (limiter, permitted) = match context.due(&seen, recent.as_ref()) {
        Due::NotBefore(time) => return Ok(Some(time)),
        Due::Ask { otherwise, .. } => match context.may_ask(&seen) {
            Ok(()) => (&context.validations, Permitted::Question),
            Err(turn) => return Ok(Some(turn.min(otherwise))),
        },
        Due::Validate(_) => (&context.validations, Permitted::Validation),
        _ => (&context.reports, Permitted::Report),
    };
    let _permit = limiter.acquire(&seen.namespace().unwrap_or_default()).await;
    // Thousands may wait for a permit, and few have one: only these take room for the work.
    Box::pin(validate(seen, recent, permitted, context)).await
}

async fn validate(
    seen: Arc<RecordingDestination>,
    recent: Option<Recent>,
    permitted: Permitted,
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
        Due::Validate(_) if permitted == Permitted::Report => return Ok(Some(Timestamp::now() + SECOND)),
        Due::Ask { .. } if permitted != Permitted::Question => return Ok(Some(Timestamp::now() + SECOND)),
        Due::Validate(work) | Due::Ask { work, .. } => {
            let began = Instant::now();
            let gathered = context.gather(&destination, recent.as_ref(), work).await?;
            if permitted == Permitted::Question {
                context.charge(&gathered);
            }
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
    /// Takes the destination's turn to ask what reports have brought into doubt. `Err`: when its turn is.
    fn may_ask(&self, destination: &RecordingDestination) -> Result<(), Timestamp> {
        let metadata = &destination.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let uid = metadata.uid.as_deref().unwrap_or_default();
        self.questions.lock().unwrap().admit(namespace, uid, Timestamp::now())
    }

    /// Counts the calls to STS that a refused question makes beyond its first: GetCallerIdentity, and the control role.
    fn charge(&self, gathered: &Gathered) {
        let Some(Evidence::Validated { role: Some(role), .. }) = &gathered.evidence else { return };
        if !matches!(role.assumed, Answer::Granted(())) {
            let calls = 1 + u32::from(role.control.is_some());
            self.questions.lock().unwrap().charge(calls, Timestamp::now());
        }
    }

    /// Removes uploaders that no longer report from the status, and returns when that is due again.
    async fn prune(&self, seen: &RecordingDestination) -> cluster::Result<Option<Timestamp>> {
        let Some(uploaders) = seen.status.as_ref().and_then(|status| status.uploaders.as_ref()) else {
            return Ok(None);
        };
        let Some(left) = delivery::prune(uploaders, Timestamp::now()) else {
            return Ok(delivery::prune_at(uploaders));
        };
        // Where the broker wrote first, its write triggers the next reconciliation.
        let upload = seen.status.as_ref().and_then(|status| status.last_upload_time.as_ref());
        Box::pin(destinations::write_delivery(&self.client, seen, left.as_ref(), upload)).await?;
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
