//! What is due for a destination, and when the next look is.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::find;
use super::evidence::{Enforcement, Evidence, SecretObservation};
use crate::api::{
    Answer, CheckResult, ConditionType, REVALIDATE_ANNOTATION, Reason, RecordingDestination,
    RecordingDestinationSpec, RecordingDestinationStatus, RoleARN,
};

/// Between two validations asked for by annotation.
const REVALIDATE_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// Between looks at a Secret, and between tries, while not Ready and young.
const RETRY: SignedDuration = SignedDuration::from_secs(30);
/// How long a change is retried at that pace: IAM is eventually consistent.
const YOUNG: SignedDuration = SignedDuration::from_mins(10);
/// Ceiling of the pace after that.
const SLOWEST: SignedDuration = SignedDuration::from_mins(15);
/// After a throttle.
const THROTTLED: SignedDuration = SignedDuration::from_secs(10);

/// What this process remembers of a destination since it last looked.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent {
    /// The spec then, of the status that was written.
    pub spec: RecordingDestinationSpec,
    /// Its generation.
    pub generation: Option<i64>,
    /// `resourceVersion` of the Secret whose External ID was last sent, proved or not.
    pub secret_version: Option<String>,
    /// When it was last looked at to an end.
    pub last_attempt: Timestamp,
    /// Last change of the spec, or request to revalidate, that was acted on.
    pub last_change: Timestamp,
}

impl Recent {
    /// What to remember after a look that ended at `now`. A destination that was only reported on
    /// is remembered as it was last asked about.
    pub fn after_look(
        before: Option<&Recent>,
        looked_at: &RecordingDestination,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Recent {
        let status = looked_at.status.as_ref();
        let requested = requested_revalidation(looked_at);
        let asked =
            requested.is_some() && requested != status.and_then(|s| s.last_handled_revalidate.as_deref());
        let last_change = match before {
            Some(before) if before.spec == looked_at.spec && !asked => before.last_change,
            None if !asked
                && status.is_some_and(|s| Some(s.observed_generation) == looked_at.metadata.generation) =>
            {
                Timestamp::UNIX_EPOCH
            }
            _ => now,
        };
        let looked = matches!(evidence, Evidence::Validated { .. });
        let last_attempt = before.map(|before| before.last_attempt).filter(|_| !looked).unwrap_or(now);
        let secret_version = match evidence {
            Evidence::Validated { secret: SecretObservation::Resolved { version }, .. } => {
                Some(version.clone())
            }
            _ => before.and_then(|before| before.secret_version.clone()),
        };
        let generation = looked_at.metadata.generation;
        Recent { spec: looked_at.spec.clone(), generation, secret_version, last_attempt, last_change }
    }

    /// Whether bucket, prefix, role and External ID reference are the same as then.
    pub(super) fn has_same_target(&self, spec: &RecordingDestinationSpec) -> bool {
        self.spec.bucket == spec.bucket
            && self.spec.prefix() == spec.prefix()
            && self.spec.role_arn == spec.role_arn
            && self.spec.external_id_secret_ref == spec.external_id_secret_ref
    }

    /// Whether only fields that no proof depends on differ.
    fn proof_holds_for(&self, spec: &RecordingDestinationSpec) -> bool {
        let mut then = self.spec.clone();
        then.validation = spec.validation.clone();
        then.service_account_names = spec.service_account_names.clone();
        then == *spec
    }
}

/// What to do about a destination now.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// Nothing before that time.
    NotBefore(Timestamp),
    /// Report that it is suspended.
    ReportSuspended,
    /// Report that the spec cannot be served.
    ReportInvalid(String),
    /// Report that the proof holds for the new generation.
    CarryOver,
    /// Look.
    Look(Work),
}

/// How far to look. Each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// The Secret: whether it changed.
    Secret,
    /// The role: whether it can still be assumed.
    Role,
    /// All: wrong callers and the bucket too.
    Everything,
}

impl Work {
    /// A changed Secret counts as a changed spec.
    pub fn given(
        self,
        secret: &SecretObservation,
        status: Option<&RecordingDestinationStatus>,
        recent: Option<&Recent>,
    ) -> Work {
        let SecretObservation::Resolved { version } = secret else { return self };
        let proved = status.and_then(|status| status.external_id_secret_version.as_ref());
        // What was tried since counts, or a wrong value would be tried at every look at the Secret.
        let tried = recent.and_then(|recent| recent.secret_version.as_ref()).or(proved);
        let resolved_before =
            status.and_then(|s| find(s, ConditionType::SecretResolved)).is_some_and(|c| c.status == "True");
        let changed = tried.is_some_and(|tried| tried != version);
        if changed || !resolved_before { Work::Everything } else { self }
    }
}

/// What is due at `now`. `partition` is the platform's: AssumeRole never crosses partitions.
pub fn due(
    destination: &RecordingDestination,
    recent: Option<&Recent>,
    partition: &str,
    now: Timestamp,
) -> Due {
    let spec = &destination.spec;
    let status = destination.status.clone().unwrap_or_default();
    let observed =
        Some(status.observed_generation) == destination.metadata.generation && !status.conditions.is_empty();
    let ready = find(&status, ConditionType::Ready);
    let reported = |reason: Reason| observed && ready.is_some_and(|c| c.reason == reason.to_string());
    let spread = spread(destination);

    if spec.suspend {
        return if reported(Reason::Suspended) {
            Due::NotBefore(now + SLOWEST)
        } else {
            Due::ReportSuspended
        };
    }
    if let Some(problem) = invalid(spec, partition) {
        return if reported(Reason::InvalidSpec) {
            Due::NotBefore(now + SLOWEST)
        } else {
            Due::ReportInvalid(problem)
        };
    }
    if !observed {
        let proved = ready.is_some_and(|c| c.status == "True");
        // Only the spec that the status speaks of carries its proof over.
        let holds = proved
            && recent.is_some_and(|recent| {
                recent.generation == Some(status.observed_generation) && recent.proof_holds_for(spec)
            });
        return if holds { Due::CarryOver } else { Due::Look(Work::Everything) };
    }
    let at = |time: Timestamp, work: Work| if time <= now { Due::Look(work) } else { Due::NotBefore(time) };
    let last_attempt = recent.map(|recent| recent.last_attempt);

    let requested = requested_revalidation(destination);
    if requested.is_some() && requested != status.last_handled_revalidate.as_deref() {
        return at(last_attempt.map_or(now, |last| last + REVALIDATE_PAUSE), Work::Everything);
    }
    if ready.is_none_or(|c| c.status != "True") {
        let since = ready.map_or(now, |c| c.last_transition_time.0);
        let since = recent.map_or(since, |recent| since.max(recent.last_change));
        let last = last_attempt.or(status.last_validation_time.as_ref().map(|Time(t)| *t)).unwrap_or(since);
        let pause = if reported(Reason::Throttled) {
            THROTTLED
        } else {
            retry_pause(last.duration_since(since), spread)
        };
        let retry = last + pause;
        return match at(retry, Work::Everything) {
            Due::NotBefore(_) if pause > RETRY => Due::Look(Work::Secret),
            other => other,
        };
    }
    let sooner = 1.0 - spread / 10.0;
    let after = |time: &Option<Time>, seconds: i32| match time {
        Some(Time(time)) => *time + SignedDuration::from_secs_f64(f64::from(seconds) * sooner),
        None => now,
    };
    let everything = after(&status.last_enforcement_time, spec.validation.enforcement_interval_seconds);
    let role = after(&status.last_validation_time, spec.validation.interval_seconds);
    let doubtful = status.checks.iter().any(|check| check.result == CheckResult::Inconclusive);
    // A look without a clear answer leaves its time as it was; without this it would be due at once, for ever.
    let earliest = last_attempt.map_or(now, |last| last + RETRY);
    if doubtful && last_attempt.is_some() {
        return at(earliest, Work::Everything);
    }
    let (time, work) = if everything <= now || everything <= role {
        (everything, Work::Everything)
    } else {
        (role, Work::Role)
    };
    at(if last_attempt.is_some() && time <= now { time.max(earliest) } else { time }, work)
}

/// When to look next, after a look at `now` whose result `destination` shows.
pub fn next_look(
    destination: &RecordingDestination,
    recent: &Recent,
    partition: &str,
    now: Timestamp,
) -> Timestamp {
    match due(destination, Some(recent), partition, now) {
        Due::NotBefore(time) => time,
        // Reading a Secret is cheap, but not free.
        Due::Look(Work::Secret) => now + RETRY,
        _ => now + SignedDuration::from_secs(1),
    }
}

/// The value of the `revalidate` annotation. It is repeated in the status, so a long one is not heard.
pub(super) fn requested_revalidation(destination: &RecordingDestination) -> Option<&str> {
    const LONGEST: usize = 253;
    let value = destination.metadata.annotations.as_ref()?.get(REVALIDATE_ANNOTATION)?;
    Some(value.as_str()).filter(|value| value.len() <= LONGEST)
}

/// Whether to put a probe object, once the role has been tried: never into a bucket whose role lets
/// anybody in, as it may be somebody else's; and where the last one could not be deleted, only after
/// an edit or on request.
pub fn bucket_is_due(destination: &RecordingDestination, enforcement: &Enforcement) -> bool {
    let open =
        enforcement.negatives.iter().any(|negative| matches!(negative.answer, Some(Answer::Granted(()))));
    let Some(status) = &destination.status else { return !open };
    let left_behind =
        status.checks.iter().any(|c| c.name == "DeleteObject" && c.result == CheckResult::Failed);
    let writable = find(status, ConditionType::BucketWritable)
        .is_some_and(|c| c.status == "True" && c.observed_generation == destination.metadata.generation);
    let requested = requested_revalidation(destination);
    let asked = requested.is_some() && requested != status.last_handled_revalidate.as_deref();
    !open && (asked || !(writable && left_behind))
}

fn invalid(spec: &RecordingDestinationSpec, partition: &str) -> Option<String> {
    let role: RoleARN = match spec.role_arn.parse() {
        Ok(role) => role,
        Err(error) => return Some(format!("spec.roleARN is {error}")),
    };
    (role.partition != partition).then(|| {
        format!(
            "spec.roleARN is in partition {}, the platform in {partition}: AssumeRole never crosses partitions; \
             name a role in an account of partition {partition}",
            role.partition
        )
    })
}

/// How long to wait before a destination that is not Ready is tried again, given how old its
/// trouble was at the last try.
fn retry_pause(age: SignedDuration, spread: f64) -> SignedDuration {
    let pause = if age < YOUNG { RETRY } else { (age / 4).clamp(RETRY, SLOWEST) };
    pause.mul_f64(1.0 - spread / 3.0)
}

/// 0 to 1, by UID: destinations that were created together are not all looked at together.
fn spread(destination: &RecordingDestination) -> f64 {
    let uid = destination.metadata.uid.as_deref().unwrap_or_default();
    let sum = uid.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    f64::from(sum % 1000) / 1000.0
}
