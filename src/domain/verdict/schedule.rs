//! What is due for a destination, and when the next look is.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{find, is_doubtful, reports_are_news};
use super::evidence::{Enforcement, EnforcementMode, Rules, SecretObservation};
use super::findings::leave_objects;
use super::recent::{Recent, requested_revalidation};
use crate::api::{
    Answer, CheckName, CheckResult, ConditionType, Objection, Reason, RecordingDestination,
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
/// Between looks at whether a conflicting claim has ended. No call is made for it.
const CONFLICT: SignedDuration = SignedDuration::from_secs(10);

/// What to do about a destination now.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// Nothing before that time.
    NotBefore(Timestamp),
    /// Report that it is suspended.
    ReportSuspended,
    /// Report that the spec cannot be served.
    ReportInvalid(String),
    /// Report that the namespace may not use the account.
    ReportNotAllowed(Objection),
    /// Report that the proof holds for the new generation.
    CarryOver,
    /// Report what uploaders have reported.
    ReportDelivery,
    /// Report how the claim stands now, and what Ready comes to.
    Reconsider,
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
        let SecretObservation::Resolved { version, known } = secret else { return self };
        let proved = status.and_then(|status| status.external_id_secret_version.as_ref());
        // What was tried since counts, or a wrong value would be tried at every look at the Secret.
        let tried = recent.and_then(|recent| recent.secret_version.as_ref()).or(proved);
        let resolved_before =
            status.and_then(|s| find(s, ConditionType::SecretResolved)).is_some_and(|c| c.status == "True");
        match tried != Some(version) {
            _ if !resolved_before => Work::Everything,
            // The same External ID in a Secret that was edited otherwise: its version is to be proved.
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
        // Whatever else is reported says it too.
        Due::NotBefore(_) if destination.status.as_ref().is_some_and(reports_are_news) => Due::ReportDelivery,
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
        let said = reported(Reason::Suspended);
        return if said { Due::NotBefore(now + SLOWEST) } else { Due::ReportSuspended };
    }
    if let Some(problem) = invalid(spec, &rules.partition) {
        let said = reported(Reason::InvalidSpec);
        return if said { Due::NotBefore(now + SLOWEST) } else { Due::ReportInvalid(problem) };
    }
    if let Err(objection) = standing
        && objection.reason == Reason::AccountNotAllowed
    {
        let said = reported(objection.reason) && ready.is_some_and(|c| c.message == objection.message);
        return if said { Due::NotBefore(now + SLOWEST) } else { Due::ReportNotAllowed(objection.clone()) };
    }
    if reported(Reason::AccountNotAllowed) {
        return Due::Look(Work::Everything);
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
    if has_moved(&status, standing) || is_required_by_now(&status, rules.enforcement) {
        return Due::Reconsider;
    }
    let at = |time: Timestamp, work: Work| if time <= now { Due::Look(work) } else { Due::NotBefore(time) };
    let last_attempt = recent.and_then(|recent| recent.last_attempt);
    let requested = requested_revalidation(destination);
    if requested.is_some() && requested != status.last_handled_revalidate.as_deref() {
        return at(last_attempt.map_or(now, |last| last + REVALIDATE_PAUSE), Work::Everything);
    }
    // One in conflict is proved, too; what it waits for is seen without asking AWS.
    let conflict = reported(Reason::DestinationConflict);
    let (time, work) = if conflict || ready.is_some_and(|c| c.status == "True") {
        next_proof(destination, &status, recent, rules, now)
    } else {
        next_retry(destination, &status, recent, now)
    };
    match at(time, work) {
        Due::NotBefore(time) if conflict => Due::NotBefore(time.min(now + CONFLICT)),
        decided => decided,
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
    let sooner = 1.0 - spread(destination) / 10.0;
    let seconds = |count: f64| SignedDuration::from_secs_f64(count * sooner);
    let after = |time: &Option<Time>, interval: i32| match time {
        Some(Time(time)) => *time + seconds(f64::from(interval)),
        None => now,
    };
    // A look without a clear answer leaves its time as it was; without a pause it would be due at once, for ever.
    let earliest = recent.and_then(|recent| {
        let last = recent.last_attempt?;
        let age = recent.doubtful_since.map_or(SignedDuration::ZERO, |since| last.duration_since(since));
        Some(last + retry_pause(age, spread(destination)))
    });
    if let (true, Some(earliest)) = (is_doubtful(status, rules.enforcement), earliest) {
        return (earliest, Work::Everything);
    }
    // An edited Secret must be proved before the sessions that the old External ID got need renewal: that is after
    // 60 % of their life at the earliest.
    let secret_look = seconds(f64::from(spec.session_duration_seconds) / 4.0);
    let secret = recent.map_or(Timestamp::MAX, |recent| recent.last_secret_look + secret_look);
    let role = after(&status.last_validation_time, spec.validation.interval_seconds);
    let everything = after(&status.last_enforcement_time, spec.validation.enforcement_interval_seconds);
    let not_before = |time: Timestamp| earliest.map_or(time, |earliest| time.max(earliest));
    let all =
        [(secret, Work::Secret), (not_before(role), Work::Role), (not_before(everything), Work::Everything)];
    let most_of_what_is_due = all.into_iter().filter(|(time, _)| *time <= now).max_by_key(|(_, work)| *work);
    most_of_what_is_due.unwrap_or_else(|| all.into_iter().min().expect("three"))
}

/// When to try again what is not proved.
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
        if throttled { THROTTLED } else { retry_pause(last.duration_since(since), spread(destination)) };
    let secret = recent.map_or(now, |recent| recent.last_secret_look + RETRY);
    let retry = last + pause;
    // Whatever else is wrong, a mended Secret is noticed soon.
    if secret < retry && retry > now { (secret, Work::Secret) } else { (retry, Work::Everything) }
}

/// Whether the claim stands otherwise than the status says.
fn has_moved(status: &RecordingDestinationStatus, standing: &Result<(), Objection>) -> bool {
    match (find(status, ConditionType::Exclusive), standing) {
        (Some(said), Ok(())) => said.status == "False",
        (Some(said), Err(objection)) => {
            said.status == "True" || (said.status == "False" && said.message != objection.message)
        }
        // Written by a release that knew of no claims.
        (None, _) => find(status, ConditionType::Ready).is_some_and(|c| c.status == "True"),
    }
}

/// Whether Ready was said while the platform only warned, and it does so no more.
fn is_required_by_now(status: &RecordingDestinationStatus, mode: EnforcementMode) -> bool {
    let holds = |kind| find(status, kind).is_some_and(|c| c.status == "True");
    mode == EnforcementMode::Require
        && holds(ConditionType::Ready)
        && !holds(ConditionType::ExternalIDEnforced)
}

/// When to look next, after a look at `now` whose result `destination` shows.
pub fn next_look(
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

/// Whether to put probe objects, once the role has been tried.
///
/// Never into a bucket whose role lets anybody in, as it may be somebody else's, unless such roles are tolerated. One
/// that was tried for this spec and External ID is left alone where a probe of the same interval or an upload has
/// proved it, and where the objects could not be deleted; unless somebody asks. What was refused is, though objects
/// stay, tried a few times while the change is young.
pub fn bucket_is_due(
    destination: &RecordingDestination,
    secret: &SecretObservation,
    enforcement: &Enforcement,
    recent: Option<&Recent>,
    rules: &Rules,
    now: Timestamp,
) -> bool {
    let open =
        enforcement.negatives.iter().any(|negative| matches!(negative.answer, Some(Answer::Granted(()))));
    if open && rules.enforcement == EnforcementMode::Require {
        return false;
    }
    let Some(status) = &destination.status else { return true };
    let requested = requested_revalidation(destination);
    let asked = requested.is_some() && requested != status.last_handled_revalidate.as_deref();
    let bucket = find(status, ConditionType::BucketWritable)
        .filter(|c| c.status != "Unknown" && c.observed_generation == destination.metadata.generation);
    let proved = status.external_id_secret_version.as_ref();
    let same_id =
        matches!(secret, SecretObservation::Resolved { version, known } if *known || proved == Some(version));
    let Some(bucket) = bucket.filter(|_| same_id && !asked) else { return true };
    let probed = recent.and_then(|recent| Some((recent.last_probe?, recent.last_change)));
    if bucket.status == "True" {
        let interval =
            SignedDuration::from_secs(destination.spec.validation.enforcement_interval_seconds.into());
        // Looks come up to a tenth of the interval sooner; those in between doubt something else.
        let probed_lately = probed.is_some_and(|(probe, _)| now.duration_since(probe) < interval / 2);
        let sure = !status.checks.iter().any(|check| {
            check.result == CheckResult::Inconclusive && matches!(check.step(), Some(CheckName::Bucket(_)))
        });
        let uploaded_since = status
            .last_upload_time
            .as_ref()
            .is_some_and(|upload| Some(upload) > status.last_enforcement_time.as_ref());
        return !(leave_objects(&status.checks) || uploaded_since || probed_lately && sure);
    }
    // Each try comes after twice the time of the one before: half a dozen, as permissions take a while to be seen.
    let young = probed.is_some_and(|(probe, change)| {
        now.duration_since(change) < YOUNG && now.duration_since(probe) >= probe.duration_since(change)
    });
    young || !leave_objects(&status.checks)
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
