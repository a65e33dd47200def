//! When a certificate is created, renewed and replaced.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

/// Lifetime of a CA certificate: ten years.
pub(super) const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
pub(super) const SERVER_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long a new CA is published before it signs, so that every sidecar and API server trusts it by then.
const PUBLICATION: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Validity {
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        now >= self.until
    }

    /// Whether two thirds of its lifetime are over.
    fn is_due(&self, now: Timestamp) -> bool {
        now >= self.from + self.until.duration_since(self.from) / 3 * 2
    }
}

/// What to do about the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthorityStep {
    Keep,
    /// No CA can sign: create one that signs at once.
    Create,
    /// Create and publish the successor; the present CA still signs.
    Introduce,
    /// Have the successor sign; the earlier CA stays published until it expires.
    Promote,
}

/// Judges the CA that signs and its successor, each absent where it cannot be used.
pub(super) fn authority_step(
    signing: Option<Validity>,
    successor: Option<Validity>,
    now: Timestamp,
) -> AuthorityStep {
    let signing = signing.filter(|validity| !validity.has_ended(now));
    let successor = successor.filter(|validity| !validity.has_ended(now));
    match (signing, successor) {
        (None, None) => AuthorityStep::Create,
        (None, Some(_)) => AuthorityStep::Promote,
        (Some(_), Some(successor)) if now >= successor.from + PUBLICATION => AuthorityStep::Promote,
        (Some(signing), None) if signing.is_due(now) => AuthorityStep::Introduce,
        _ => AuthorityStep::Keep,
    }
}

/// What decides whether a server's certificate can stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerCertificate {
    pub validity: Validity,
    pub names: BTreeSet<String>,
    pub is_signed_by_authority: bool,
    pub fits_key: bool,
}

/// Whether a server needs a new certificate; it has none when its Secret is missing or unreadable.
pub(super) fn server_is_due(
    present: Option<&ServerCertificate>,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> bool {
    present.is_none_or(|certificate| {
        certificate.validity.is_due(now)
            || certificate.names != *names
            || !certificate.is_signed_by_authority
            || !certificate.fits_key
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
    }

    fn days(from: i64, until: i64) -> Option<Validity> {
        Some(Validity { from: day(from), until: day(until) })
    }

    #[test]
    fn a_new_ca_is_made_in_time_and_published_before_it_signs() {
        for (signing, successor, now, expected) in [
            (None, None, 0, AuthorityStep::Create),
            (days(0, 3000), None, 0, AuthorityStep::Keep),
            (days(0, 3000), None, 1999, AuthorityStep::Keep),
            (days(0, 3000), None, 2000, AuthorityStep::Introduce),
            (days(0, 3000), days(2000, 5000), 2000, AuthorityStep::Keep),
            (days(0, 3000), days(2000, 5000), 2006, AuthorityStep::Keep),
            (days(0, 3000), days(2000, 5000), 2007, AuthorityStep::Promote),
            // After a long stop.
            (days(0, 3000), days(2000, 5000), 3000, AuthorityStep::Promote),
            (days(0, 3000), None, 3000, AuthorityStep::Create),
            (days(0, 3000), days(2000, 5000), 5000, AuthorityStep::Create),
            // The Secret was damaged.
            (None, days(2000, 5000), 2001, AuthorityStep::Promote),
        ] {
            assert_eq!(authority_step(signing, successor, day(now)), expected, "day {now}");
        }
    }

    #[test]
    fn a_server_certificate_is_kept_for_two_thirds_of_its_life_while_valid() {
        let names = BTreeSet::from(["a.svc".to_owned()]);
        let good = ServerCertificate {
            validity: Validity { from: day(0), until: day(90) },
            names: names.clone(),
            is_signed_by_authority: true,
            fits_key: true,
        };
        for (present, now, expected) in [
            (Some(good.clone()), 0, false),
            (Some(good.clone()), 59, false),
            (Some(good.clone()), 60, true),
            (Some(good.clone()), 100, true),
            (Some(ServerCertificate { names: BTreeSet::new(), ..good.clone() }), 0, true),
            (Some(ServerCertificate { is_signed_by_authority: false, ..good.clone() }), 0, true),
            (Some(ServerCertificate { fits_key: false, ..good }), 0, true),
            (None, 0, true),
        ] {
            assert_eq!(
                server_is_due(present.as_ref(), &names, day(now)),
                expected,
                "{present:?} on day {now}"
            );
        }
    }
}
