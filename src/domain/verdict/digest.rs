//! Digests of a spec, for what is compared with an earlier one: to keep thousands of specs for that would cost megabytes.

use sha2::{Digest as _, Sha256};

use crate::api::{RecordingDestinationSpec, Validation};

pub(super) type Digest = [u8; 16];

/// A spec, as far as it matters whether another one equals it: without the service accounts, on which no validation
/// depends and which the watch's copy lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecDigest {
    whole: Digest,
    /// Without the fields that no proof depends on.
    proved: Digest,
    /// Bucket, prefix and role alone.
    pub(super) target: Digest,
    /// The Secret's name and key alone.
    pub(super) secret: Digest,
}

impl SpecDigest {
    pub fn of(spec: &RecordingDestinationSpec) -> Self {
        let whole = RecordingDestinationSpec { service_account_names: Vec::new(), ..spec.clone() };
        let proved = RecordingDestinationSpec { validation: Validation::default(), ..whole.clone() };
        let json = |spec| digest(&serde_json::to_vec(spec).expect("texts and numbers serialize"));
        SpecDigest { whole: json(&whole), proved: json(&proved), target: target(spec), secret: secret(spec) }
    }

    /// Whether only fields that no proof depends on differ.
    pub(super) fn proof_holds_for(&self, spec: &RecordingDestinationSpec) -> bool {
        self.proved == SpecDigest::of(spec).proved
    }
}

/// What a claim is of: the bucket, prefix and role. The status keeps it, so it must stay the same from release to release.
pub(super) fn target(spec: &RecordingDestinationSpec) -> Digest {
    digest(format!("{}/{}\n{}", spec.bucket, spec.prefix(), spec.role_arn).as_bytes())
}

/// Where the External ID is read from.
pub(super) fn secret(spec: &RecordingDestinationSpec) -> Digest {
    let reference = &spec.external_id_secret_ref;
    digest(format!("{}\n{}", reference.name, reference.key).as_bytes())
}

/// As the status has it.
pub(super) fn hexadecimal(digest: Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(bytes: &[u8]) -> Digest {
    let whole: [u8; 32] = Sha256::digest(bytes).into();
    whole.first_chunk().copied().expect("it has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(prefix: Option<&str>) -> RecordingDestinationSpec {
        serde_json::from_value(serde_json::json!({
            "bucket": "acme-recordings",
            "region": "us-east-1",
            "roleARN": "arn:aws:iam::111111111111:role/writer",
            "externalIDSecretRef": {"name": "acme-external-id"},
            "prefix": prefix,
        }))
        .unwrap()
    }

    /// Another digest would make every claim young after an upgrade. dev/bench/scale_report.py makes the same.
    #[test]
    fn the_digest_of_a_target_is_the_same_in_every_release() {
        assert_eq!(hexadecimal(target(&spec(Some("calls/")))), "0c4c47c938c5743eff186e7b87588670");
        assert_eq!(target(&spec(None)), target(&spec(Some(""))), "an empty prefix is none");
    }
}
