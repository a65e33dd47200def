//! Ways in which deliveries break, and what each screen says then. `tests/cluster/breakages.rs` breaks them on a real
//! cluster; `docs/what-you-see.md` is made from this table.

/// A way of breaking deliveries.
pub struct Row {
    pub group: &'static str,
    /// What breaks, in a clause that begins with the thing.
    pub what: &'static str,
    pub shown: Shown,
    /// Words of the sidecar's log; empty where the sidecar has no part in it.
    pub log: &'static str,
    /// What becomes of recordings if the pod is deleted meanwhile.
    pub pod_gone: PodGone,
    /// Whether the row is part of the short run.
    pub is_short: bool,
}

/// What the destination shows while recordings wait.
pub enum Shown {
    /// Not Ready and not Delivering, both for this reason.
    NotReady(&'static str),
    /// Ready is Unknown for this reason, and Delivering is not True.
    Unknown(&'static str),
    /// Ready, and Delivering is False for this reason.
    NotDelivering(&'static str),
    /// Nothing waits: recordings go on arriving.
    Delivers,
}

/// What is known of recordings when their pod is gone.
pub enum PodGone {
    /// All of them had arrived.
    Nothing,
    /// `status.lastLosses` has an entry of this kind.
    Entry(&'static str),
}

use PodGone::{Entry, Nothing};
use Shown::{Delivers, NotDelivering, NotReady, Unknown};

const fn row(group: &'static str, what: &'static str, shown: Shown) -> Row {
    let pod_gone = match shown {
        Delivers => Nothing,
        _ => Entry("Lost"),
    };
    Row { group, what, shown, log: "", pod_gone, is_short: false }
}

impl Row {
    /// The alert that fires at the second scrape, if one does.
    pub fn alert(&self) -> Option<&'static str> {
        match self.shown {
            NotReady("Suspended") | NotDelivering("") | Unknown(_) | Delivers => None,
            NotReady(_) | NotDelivering(_) => Some("RecordingDestinationNotDelivering"),
        }
    }

    const fn logs(self, log: &'static str) -> Self {
        Row { log, ..self }
    }

    const fn short(self) -> Self {
        Row { is_short: true, ..self }
    }

    const fn left(self, pod_gone: PodGone) -> Self {
        Row { pod_gone, ..self }
    }
}

/// The rows, in the order of the page.
pub const ROWS: &[Row] = &[
    row("Secret", "the Secret is deleted", NotReady("SecretNotFound")).short(),
    row("Secret", "its key is removed", NotReady("SecretKeyMissing")),
    row("Secret", "its External ID is another one", NotReady("AssumeRoleDenied")),
    row("Secret", "it is created again with another type", NotReady("SecretTypeMismatch")),
    row("Secret", "its External ID is malformed", NotReady("ExternalIDMalformed")),
    row("Role", "the role is deleted", NotReady("AssumeRoleDenied")).logs("AssumeRole").short(),
    row("Role", "its trust policy names another External ID", NotReady("AssumeRoleDenied")),
    row("Role", "its trust policy names another principal", NotReady("AssumeRoleDenied")),
    row("Role", "its trust policy lets everybody in", NotReady("ExternalIDNotEnforced")),
    row("Permissions", "s3:PutObject is removed", NotReady("PutObjectDenied")).logs("refuses").short(),
    row("Permissions", "s3:PutObjectAcl is removed", NotReady("ACLDenied")).logs("refuses").short(),
    row("Permissions", "s3:GetObject is removed", NotReady("GetObjectDenied")),
    row("Permissions", "s3:DeleteObject is removed", Delivers),
    row("Permissions", "all permissions are removed", NotReady("PutObjectDenied")).logs("refuses"),
    row("Bucket", "the bucket is deleted", NotReady("BucketNotFound")).logs("refuses").short(),
    row("Bucket", "a bucket policy denies the role", NotReady("PutObjectDenied")).logs("refuses"),
    row("Bucket", "a bucket policy denies puts with an ACL", NotReady("ACLDenied")).logs("refuses"),
    row("Bucket", "the destination names another owner", NotReady("PutObjectDenied")),
    row("Bucket", "the destination names another region", NotReady("WrongRegion")),
    row("Bucket", "the destination names a bucket that does not exist", NotReady("BucketNotFound")),
    row("KMS", "the role may not use the bucket's new KMS key", NotReady("KMSAccessDenied")).logs("refuses"),
    row("Destination", "it is suspended", NotReady("Suspended")),
    row("Destination", "it is deleted", NotDelivering("")),
    row("Network", "S3 answers 503 to every call", NotDelivering("S3Unavailable")).short(),
    row("Network", "S3 asks to slow down for good", NotDelivering("S3Unavailable")),
    row("Network", "S3 does not answer", NotDelivering("S3Unavailable")),
    row("Network", "connections to S3 are reset", NotDelivering("S3Unavailable")),
    row("Network", "a proxy answers 403 in place of S3", NotReady("PutObjectDenied")),
    row("Network", "a proxy answers 502 in place of S3", NotDelivering("S3Unavailable")),
    row("Network", "S3 answers what is not HTTP", NotDelivering("S3Unavailable")),
    row("Network", "STS answers 503 to every call", Unknown("ProbeInconclusive")),
    row("Spool", "the volume belongs to root", NotDelivering("SpoolUnusable"))
        .logs("SpoolUnusable")
        .short()
        .left(Entry("Left")),
    row("Spool", "a directory cannot be read", NotDelivering("SpoolUnusable")),
    row("Spool", "a directory cannot be written", NotDelivering("SpoolNotWritable"))
        .logs("SpoolNotWritable")
        .short()
        .left(Nothing),
    row("Spool", "another uploader holds the spool", NotDelivering("SpoolInUse")),
    row("Spool", "the volume is nearly full", NotDelivering("SpoolNearlyFull")),
    row("Spool", "a file cannot be a recording", NotDelivering("RecordingsQuarantined"))
        .left(Nothing)
        .short(),
    row("Spool", "the spool is on a claim, and the role is deleted", NotReady("AssumeRoleDenied"))
        .left(Entry("Left")),
    row("Pod", "a Job completes while S3 refuses", NotReady("PutObjectDenied")),
    row("Pod", "the pod is deleted by force while S3 refuses", NotReady("PutObjectDenied"))
        .left(Entry("Unaccounted")),
    row("Pod", "the sidecar is killed while S3 refuses", NotReady("PutObjectDenied")),
];
