//! The reconciliation of one destination: what is due, gather, judge, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::context::Context;
use super::gather::Gathered;
use crate::api::{Answer, RecordingDestination};
use crate::cluster::{self, CallError, DestinationKey, compact, destinations};
use crate::domain::delivery;
use crate::domain::verdict::{Due, Evidence, Recent, Verdict, judge};

/// Pause after the first error, doubled after each that follows, up to five minutes.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const DOUBLINGS: u32 = 6;
/// Time in which the watch sees an edit that a fresh read has seen.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Returns after which pause to do so again; `None`: when the destination changes.
pub(super) async fn reconcile(key: DestinationKey, context: Arc<Context>) -> Option<Duration> {
    match attempt(&key, &context).await {
        Ok(next) => {
            context.failures.lock().unwrap().remove(&key);
            next.map(|time| time.duration_since(Timestamp::now()).try_into().unwrap_or_default())
        }
        Err(error) => Some(after_error(&key, &error, &context)),
    }
}

async fn attempt(key: &DestinationKey, context: &Context) -> cluster::Result<Option<Timestamp>> {
    // All are woken once they are.
    if !context.claims.are_loaded() {
        return Ok(None);
    }
    let call_silent_at = context.call_silent(key).await?;
    let next = validate_if_due(key, context).await?;
    Ok(next.into_iter().chain(call_silent_at).min())
}

/// Logs a failed call to the API server, and returns a pause that grows, because each attempt may cost calls to AWS.
fn after_error(key: &DestinationKey, error: &CallError, context: &Context) -> Duration {
    let (namespace, name) = &**key;
    // Whoever edits a destination without end fills no log.
    match error.is_conflict() {
        true => tracing::debug!(namespace, name, %error, "the destination keeps changing; trying again"),
        false => tracing::error!(namespace, name, %error, "reconciling a destination failed; trying again"),
    }
    let mut failures = context.failures.lock().unwrap();
    // Deletions do not end here.
    if failures.len() > context.destinations.len() + 64 {
        failures.clear();
    }
    let count = failures.entry(key.clone()).or_insert(0);
    let pause = FIRST_PAUSE * 2u32.pow(*count);
    *count = (*count + 1).min(DOUBLINGS);
    pause
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
pub(super) async fn validate_if_due(
    key: &DestinationKey,
    context: &Context,
) -> cluster::Result<Option<Timestamp>> {
    let seen = |seen: RecordingDestination| match context.due(&seen, context.recent(&seen).as_ref()) {
        // The turn is taken by a destination that is due, so the two are decided together.
        Due::Ask { otherwise, .. } => match context.may_ask(&seen) {
            Ok(()) => Ok((&context.validations, Permitted::Question)),
            Err(turn) => Err(turn.min(otherwise)),
        },
        Due::NotBefore(time) => Err(time),
        Due::Validate(_) => Ok((&context.validations, Permitted::Validation)),
        _ => Ok((&context.reports, Permitted::Report)),
    };
    let (limiter, permitted) = match context.destinations.get(key).map(seen) {
        None => return Ok(None),
        Some(Err(time)) => return Ok(Some(time)),
        Some(Ok(permitted)) => permitted,
    };
    let _permit = limiter.acquire(&key.0).await;
    // Thousands may wait for a permit, and few have one: only these take room for a destination and the work.
    Box::pin(validate_freshest(key, permitted, context)).await
}

async fn validate_freshest(
    key: &DestinationKey,
    permitted: Permitted,
    context: &Context,
) -> cluster::Result<Option<Timestamp>> {
    let Some(seen) = context.destinations.get(key) else { return Ok(None) };
    let recent = context.recent(&seen);
    // The watch may be behind this process's last write. Where that is, the API server refuses a report, which is then made
    // of a fresh read; calls to AWS follow a fresh read only.
    if permitted == Permitted::Report && !compact::is_cut(&seen) {
        match validate(seen.clone(), recent.clone(), permitted, 1, context).await {
            Err(error) if error.is_conflict() => {}
            done => return done,
        }
    }
    match destinations::fresh(&context.client, &seen).await? {
        Some(fresh) => validate(fresh, recent, permitted, destinations::ATTEMPTS, context).await,
        None => Ok(None),
    }
}

/// Validates `destination` as far as is due, and writes its status in so many attempts.
async fn validate(
    destination: RecordingDestination,
    recent: Option<Recent>,
    permitted: Permitted,
    attempts: u32,
    context: &Context,
) -> cluster::Result<Option<Timestamp>> {
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
    let Some(reported) = context.report(destination, verdict, attempts).await? else {
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

    /// Says in the status of uploaders that no longer report and that no broker settles that they are silent, and returns
    /// when that is due again.
    async fn call_silent(&self, key: &DestinationKey) -> cluster::Result<Option<Timestamp>> {
        let has_uploaders = |seen: &RecordingDestination| {
            seen.status.as_ref().is_some_and(|status| status.uploaders.is_some())
        };
        let Some(seen) = self.destinations.get(key).filter(has_uploaders).map(Box::new) else {
            return Ok(None);
        };
        let Some(status) = &seen.status else { return Ok(None) };
        let Some(uploaders) = &status.uploaders else { return Ok(None) };
        let Some(silent) = delivery::call_silent(uploaders, Timestamp::now()) else {
            return Ok(delivery::call_silent_at(uploaders));
        };
        // Where the broker wrote first, its write triggers the next reconciliation.
        let (losses, upload) = (status.last_losses.as_slice(), status.last_upload_time.as_ref());
        Box::pin(destinations::write_delivery(&self.client, &seen, Some(&silent), losses, upload)).await?;
        Ok(None)
    }

    /// Writes the status if it has changed, and publishes transitions; `None` when the destination is gone.
    async fn report(
        &self,
        destination: RecordingDestination,
        verdict: Verdict,
        attempts: u32,
    ) -> cluster::Result<Option<RecordingDestination>> {
        if destination.status.clone().unwrap_or_default().of_controller() == verdict.status {
            return Ok(Some(destination));
        }
        let (client, status) = (&self.client, &verdict.status);
        let reported = destinations::apply_status(client, &destination, status, attempts).await?;
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
