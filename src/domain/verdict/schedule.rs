//! What is due for a destination now, and when the next validation is.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{find, is_inconclusive};
use super::delivering::reports_are_new;
use super::doubt;
use super::evidence::{Enforcement, EnforcementMode, Probe, Rules, SecretObservation, Work};
use super::findings::leave_objects;
use super::recent::{Recent, requested_revalidation};
use crate::api::{
    Answer, CheckName, CheckResult, ConditionType, Objection, Reason, RecordingDestination,
    RecordingDestinationSpec, RecordingDestinationStatus, RoleARN, partition_of_region,
};

/// Between two validations that are requested by annotation.
const REVALIDATE_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// Between reads of a Secret, and between attempts, soon after a change and while not Ready.
const RETRY: SignedDuration = SignedDuration::from_secs(30);
/// How long after a change attempts stay that frequent: IAM is eventually consistent.
const FREQUENT_RETRIES: SignedDuration = SignedDuration::from_mins(10);
/// Longest pause between attempts.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(15);
/// Pause after a throttle.
const THROTTLED: SignedDuration = SignedDuration::from_secs(10);
/// Between evaluations of a conflicting claim, which need no call.
const CONFLICT: SignedDuration = SignedDuration::from_secs(10);

/// Objections for which nothing is asked of AWS.
const UNVALIDATED: [Reason; 2] = [Reason::AccountNotAllowed, Reason::TooManyDestinations];

/// What to do about a destination now.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// Nothing before that time.
    NotBefore(Timestamp),
    ReportSuspended,
    ReportInvalid(String),
    ReportNotAllowed(Objection),
    /// Write that the proof holds for the new generation.
    CarryOver,
    /// Write what uploaders have reported.
    ReportDelivery,
    /// Evaluate the claim and Ready again, without a call.
    Reconsider,
    /// Validate, as far as the work says.
    Validate(Work),
    /// Validate because of what uploaders report, within the limits of such questions; nothing else is due before
    /// `otherwise`.
    Ask {
        work: Work,
        otherwise: Timestamp,
    },
}

impl Work {
    /// A changed Secret counts as a changed spec.
    pub fn given(
        self,
        secret: &SecretObservation,
        destination: &RecordingDestination,
        recent: Option<&Recent>,
    ) -> Work {
        let SecretObservation::Resolved { version, known } = secret else { return self };
        // A value that was tried since counts too, or a wrong one would be sent at every read of the Secret.
        let sent = recent.and_then(|recent| recent.sent_version(&destination.spec));
        let tried = sent.or(destination.proved_secret_version());
        let resolved_before =
            destination.condition(ConditionType::SecretResolved).is_some_and(|c| c.status == "True");
        match tried != Some(version.as_str()) {
            _ if !resolved_before => Work::Everything,
            // The Secret was edited but holds the same External ID, so only its version has to be proved.
            true if *known => self.max(Work::Role),
            true => Work::Everything,
            false => self,
        }
    }
}

/// What is due at `now`. `standing` is how the claim stands, given the status that it has.
pub fn due(
    destination: &RecordingDestination,
    recent: Option<&Recent>,
    rules: &Rules,
    standing: &Result<(), Objection>,
    now: Timestamp,
) -> Due {
    match proof_due(destination, recent, rules, standing, now) {
        // Any other report includes it. A question may take long, and what was reported is said before it.
        Due::NotBefore(_) | Due::Ask { .. } if destination.status.as_ref().is_some_and(reports_are_new) => {
            Due::ReportDelivery
        }
        due => due,
    }
}

fn proof_due(
    destination: &RecordingDestination,
    recent: Option<&Recent>,
    rules: &Rules,
    standing: &Result<(), Objection>,
    now: Timestamp,
) -> Due {
    let spec = &destination.spec;
    let status = destination.status.clone().unwrap_or_default();
    let observed =
        Some(status.observed_generation) == destination.metadata.generation && !status.conditions.is_empty();
    let ready = find(&status, ConditionType::Ready);
    let reported = |reason: Reason| observed && ready.is_some_and(|c| c.reason == reason.to_string());

    if spec.suspend {
        let is_reported = reported(Reason::Suspended);
        return if is_reported { Due::NotBefore(now + LONGEST_PAUSE) } else { Due::ReportSuspended };
    }
    if let Some(problem) = invalid(spec, &rules.partition) {
        let is_reported = reported(Reason::InvalidSpec);
        return if is_reported { Due::NotBefore(now + LONGEST_PAUSE) } else { Due::ReportInvalid(problem) };
    }
    if let Err(objection) = standing
        && UNVALIDATED.contains(&objection.reason)
    {
        let is_reported = reported(objection.reason) && ready.is_some_and(|c| c.message == objection.message);
        return if is_reported {
            Due::NotBefore(now + LONGEST_PAUSE)
        } else {
            Due::ReportNotAllowed(objection.clone())
        };
    }
    if UNVALIDATED.into_iter().any(reported) {
        return Due::Validate(Work::Everything);
    }
    if !observed {
        let proved = ready.is_some_and(|c| c.status == "True");
        // Only from the spec that the status describes can a proof be carried over.
        let holds = proved
            && recent.is_some_and(|recent| {
                recent.generation == Some(status.observed_generation) && recent.spec.proof_holds_for(spec)
            });
        return if holds { Due::CarryOver } else { Due::Validate(Work::Everything) };
    }
    if standing_has_changed(&status, standing) || is_required_by_now(&status, rules.enforcement) {
        return Due::Reconsider;
    }
    let at =
        |time: Timestamp, work: Work| if time <= now { Due::Validate(work) } else { Due::NotBefore(time) };
    let last_attempt = recent.and_then(|recent| recent.last_attempt);
    let requested = requested_revalidation(destination);
    if requested.is_some() && requested != status.last_handled_revalidate.as_deref() {
        return at(last_attempt.map_or(now, |last| last + REVALIDATE_PAUSE), Work::Everything);
    }
    // A destination in conflict is proved too, and what it waits for needs no AWS call.
    let conflict = reported(Reason::DestinationConflict);
    let (time, work) = if conflict || ready.is_some_and(|c| c.status == "True") {
        next_proof(destination, &status, recent, rules, now)
    } else {
        next_retry(destination, &status, recent, now)
    };
    let otherwise = match at(time, work) {
        Due::NotBefore(time) if conflict => time.min(now + CONFLICT),
        Due::NotBefore(time) => time,
        decided => return decided,
    };
    match doubt::question(&status, recent.and_then(Recent::doubt), now) {
        Some((time, work)) if time <= now => Due::Ask { work, otherwise },
        question => Due::NotBefore(question.map_or(otherwise, |(time, _)| otherwise.min(time))),
    }
}

/// When to prove again what is proved, and how much of it.
fn next_proof(
    destination: &RecordingDestination,
    status: &RecordingDestinationStatus,
    recent: Option<&Recent>,
    rules: &Rules,
    now: Timestamp,
) -> (Timestamp, Work) {
    let spec = &destination.spec;
    let sooner = 1.0 - jitter(destination) / 10.0;
    let seconds = |count: f64| SignedDuration::from_secs_f64(count * sooner);
    let after = |time: &Option<Time>, interval: i32| match time {
        Some(Time(time)) => *time + seconds(f64::from(interval)),
        None => now,
    };
    // An inconclusive validation does not move its time; without a pause it would be due at once, forever.
    let earliest = recent.and_then(|recent| {
        let last = recent.last_attempt?;
        let age = recent.inconclusive_since.map_or(SignedDuration::ZERO, |since| last.duration_since(since));
        Some(last + retry_pause(age, jitter(destination)))
    });
    if let (true, Some(earliest)) = (is_inconclusive(status, rules.enforcement), earliest) {
        return (earliest, Work::Everything);
    }
    // An edited Secret must be proved before sessions of the old External ID are renewed, which happens after 60 % of
    // their life at the earliest.
    let secret_interval = seconds(f64::from(spec.session_duration_seconds) / 4.0);
    let secret = recent.map_or(Timestamp::MAX, |recent| recent.last_secret_read + secret_interval);
    let role = after(&status.last_validation_time, spec.validation.interval_seconds);
    let everything = after(&status.last_enforcement_time, spec.validation.enforcement_interval_seconds);
    let not_before = |time: Timestamp| earliest.map_or(time, |earliest| time.max(earliest));
    let all =
        [(secret, Work::Secret), (not_before(role), Work::Role), (not_before(everything), Work::Everything)];
    let most_of_what_is_due = all.into_iter().filter(|(time, _)| *time <= now).max_by_key(|(_, work)| *work);
    most_of_what_is_due.unwrap_or_else(|| all.into_iter().min().expect("three"))
}

/// When to retry what is not proved.
fn next_retry(
    destination: &RecordingDestination,
    status: &RecordingDestinationStatus,
    recent: Option<&Recent>,
    now: Timestamp,
) -> (Timestamp, Work) {
    let ready = find(status, ConditionType::Ready);
    let since = ready.map_or(now, |c| c.last_transition_time.0);
    let since = recent.map_or(since, |recent| since.max(recent.last_change));
    let last_attempt = recent.and_then(|recent| recent.last_attempt);
    let last = last_attempt.or(status.last_validation_time.as_ref().map(|Time(t)| *t)).unwrap_or(since);
    let throttled = ready.is_some_and(|c| c.reason == Reason::Throttled.to_string());
    let pause =
        if throttled { THROTTLED } else { retry_pause(last.duration_since(since), jitter(destination)) };
    let secret = recent.map_or(now, |recent| recent.last_secret_read + RETRY);
    let retry = last + pause;
    // A corrected Secret is noticed soon, whatever else is wrong.
    if secret < retry && retry > now { (secret, Work::Secret) } else { (retry, Work::Everything) }
}

/// Whether the standing of the claim differs from the status.
fn standing_has_changed(status: &RecordingDestinationStatus, standing: &Result<(), Objection>) -> bool {
    match (find(status, ConditionType::Exclusive), standing) {
        (Some(shown), Ok(())) => shown.status == "False",
        (Some(shown), Err(objection)) => {
            shown.status == "True" || (shown.status == "False" && shown.message != objection.message)
        }
        // A release without claims wrote this status.
        (None, _) => find(status, ConditionType::Ready).is_some_and(|c| c.status == "True"),
    }
}

/// Whether Ready was set under enforcement `warn`, and `require` applies now.
fn is_required_by_now(status: &RecordingDestinationStatus, mode: EnforcementMode) -> bool {
    let holds = |kind| find(status, kind).is_some_and(|c| c.status == "True");
    mode == EnforcementMode::Require
        && holds(ConditionType::Ready)
        && !holds(ConditionType::ExternalIDEnforced)
}

/// When the next validation is due, after one at `now` whose result `destination` shows.
pub fn next_validation(
    destination: &RecordingDestination,
    recent: &Recent,
    rules: &Rules,
    standing: &Result<(), Objection>,
    now: Timestamp,
) -> Timestamp {
    match due(destination, Some(recent), rules, standing, now) {
        Due::NotBefore(time) => time,
        _ => now + SignedDuration::from_secs(1),
    }
}

/// Which probe objects to put, once the role has been tried.
///
/// Never into a bucket whose role accepts a wrong caller, because it may be another tenant's, unless such roles are
/// tolerated. A bucket that was probed for this spec and External ID is not probed again where a probe within the
/// interval has proved it, or where the objects could not be deleted, unless a validation is requested. An upload since
/// stands for all calls but those of a large recording, as it may have been small. A refused bucket is probed a few times soon after a change, though objects stay.
pub fn probe_due(
    destination: &RecordingDestination,
    secret: &SecretObservation,
    enforcement: &Enforcement,
    recent: Option<&Recent>,
    rules: &Rules,
    now: Timestamp,
) -> Option<Probe> {
    let open =
        enforcement.negatives.iter().any(|negative| matches!(negative.answer, Some(Answer::Granted(()))));
    if open && rules.enforcement == EnforcementMode::Require {
        return None;
    }
    let Some(status) = &destination.status else { return Some(Probe::Whole) };
    let requested = requested_revalidation(destination);
    let is_requested = requested.is_some() && requested != status.last_handled_revalidate.as_deref();
    let bucket = find(status, ConditionType::BucketWritable)
        .filter(|c| c.status != "Unknown" && c.observed_generation == destination.metadata.generation);
    let proved = destination.proved_secret_version();
    let same_id = matches!(secret, SecretObservation::Resolved { version, known } if *known || proved == Some(version.as_str()));
    let Some(bucket) = bucket.filter(|_| same_id && !is_requested) else { return Some(Probe::Whole) };
    let probed = recent.and_then(|recent| Some((recent.last_probe?, recent.last_change)));
    if bucket.status == "True" {
        let interval =
            SignedDuration::from_secs(destination.spec.validation.enforcement_interval_seconds.into());
        // Validations come up to a tenth of the interval early; those in between are about another check.
        let probed_lately = probed.is_some_and(|(probe, _)| now.duration_since(probe) < interval / 2);
        let is_conclusive = !status.checks.iter().any(|check| {
            check.result == CheckResult::Inconclusive && matches!(check.step(), Some(CheckName::Bucket(_)))
        });
        let uploaded_since = status
            .last_upload_time
            .as_ref()
            .is_some_and(|upload| Some(upload) > status.last_enforcement_time.as_ref());
        let is_due = !(leave_objects(&status.checks) || probed_lately && is_conclusive);
        return is_due.then_some(if uploaded_since { Probe::Parts } else { Probe::Whole });
    }
    // Each probe comes after twice the time of the one before, about six in all, because permissions take time to apply.
    let is_recent = probed.is_some_and(|(probe, change)| {
        now.duration_since(change) < FREQUENT_RETRIES
            && now.duration_since(probe) >= probe.duration_since(change)
    });
    (is_recent || !leave_objects(&status.checks)).then_some(Probe::Whole)
}

fn invalid(spec: &RecordingDestinationSpec, partition: &str) -> Option<String> {
    let role: RoleARN = match spec.role_arn.parse() {
        Ok(role) => role,
        Err(error) => return Some(format!("spec.roleARN is {error}")),
    };
    if role.partition != partition {
        return Some(format!(
            "spec.roleARN is in partition {}, the platform in {partition}: AssumeRole never crosses partitions; \
             name a role in an account of partition {partition}",
            role.partition
        ));
    }
    let region = &spec.region;
    let of_region = partition_of_region(region);
    (of_region != partition).then(|| {
        format!(
            "spec.region {region} is in partition {of_region}, and spec.roleARN in {partition}: no role reaches a bucket of \
             another partition; set spec.region to the bucket's region"
        )
    })
}

/// The pause before a destination that is not Ready is validated again, given how long it had not been Ready at the last
/// attempt.
fn retry_pause(age: SignedDuration, jitter: f64) -> SignedDuration {
    let pause = if age < FREQUENT_RETRIES { RETRY } else { (age / 4).clamp(RETRY, LONGEST_PAUSE) };
    pause.mul_f64(1.0 - jitter / 3.0)
}

/// Jitter from 0 to 1, by UID, so that destinations created together are not validated together.
fn jitter(destination: &RecordingDestination) -> f64 {
    let uid = destination.metadata.uid.as_deref().unwrap_or_default();
    let sum = uid.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    f64::from(sum % 1000) / 1000.0
}
