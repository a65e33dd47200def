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
    /// The alert that fires at the second scrape, or when its own wait is over.
    pub alert: &'static str,
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

const ALERT: &str = "RecordingDestinationNotDelivering";

const fn row(group: &'static str, what: &'static str, shown: Shown, alert: &'static str) -> Row {
    let pod_gone = match shown {
        Delivers => Nothing,
        _ => Entry("Lost"),
    };
    Row { group, what, shown, log: "", alert, pod_gone, is_short: false }
}

impl Row {
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
    row("Secret", "the Secret is deleted", NotReady("SecretNotFound"), ALERT).short(),
    row("Secret", "its key is removed", NotReady("SecretKeyMissing"), ALERT),
    row("Secret", "its External ID is another one", NotReady("AssumeRoleDenied"), ALERT),
    row("Secret", "it is created again with another type", NotReady("SecretTypeMismatch"), ALERT),
    row("Secret", "its External ID is malformed", NotReady("ExternalIDMalformed"), ALERT),
    row("Role", "the role is deleted", NotReady("AssumeRoleDenied"), ALERT).logs("AssumeRole").short(),
    row("Role", "its trust policy names another External ID", NotReady("AssumeRoleDenied"), ALERT),
    row("Role", "its trust policy names another principal", NotReady("AssumeRoleDenied"), ALERT),
    row("Role", "its trust policy lets everybody in", NotReady("ExternalIDNotEnforced"), ALERT),
    row("Permissions", "s3:PutObject is removed", NotReady("PutObjectDenied"), ALERT).logs("refuses").short(),
    row("Permissions", "s3:PutObjectAcl is removed", NotReady("ACLDenied"), ALERT).logs("refuses").short(),
    row("Permissions", "s3:GetObject is removed", NotReady("GetObjectDenied"), ALERT),
    row("Permissions", "s3:DeleteObject is removed", Delivers, ""),
    row("Permissions", "all permissions are removed", NotReady("PutObjectDenied"), ALERT).logs("refuses"),
    row("Bucket", "the bucket is deleted", NotReady("BucketNotFound"), ALERT).logs("refuses").short(),
    row("Bucket", "a bucket policy denies the role", NotReady("PutObjectDenied"), ALERT).logs("refuses"),
    row("Bucket", "a bucket policy denies puts with an ACL", NotReady("ACLDenied"), ALERT).logs("refuses"),
    row("Bucket", "the destination names another owner", NotReady("PutObjectDenied"), ALERT),
    row("Bucket", "the destination names another region", NotReady("WrongRegion"), ALERT),
    row("Bucket", "the destination names a bucket that does not exist", NotReady("BucketNotFound"), ALERT),
    row("KMS", "the role may not use the bucket's new KMS key", NotReady("KMSAccessDenied"), ALERT)
        .logs("refuses"),
    row("Destination", "it is suspended", NotReady("Suspended"), ""),
    row("Destination", "it is deleted", NotDelivering(""), ""),
    row(
        "Network",
        "S3 answers 503 to every call",
        NotDelivering("S3Unavailable"),
        "RecordingUploadsNotDelivered",
    )
    .short(),
    row(
        "Network",
        "S3 asks to slow down for good",
        NotDelivering("S3Unavailable"),
        "RecordingUploadsNotDelivered",
    ),
    row("Network", "S3 does not answer", NotDelivering("S3Unavailable"), ALERT),
    row(
        "Network",
        "connections to S3 are reset",
        NotDelivering("S3Unavailable"),
        "RecordingUploadsNotDelivered",
    ),
    row("Network", "a proxy answers 403 in place of S3", NotReady("PutObjectDenied"), ALERT),
    row(
        "Network",
        "a proxy answers 502 in place of S3",
        NotDelivering("S3Unavailable"),
        "RecordingUploadsNotDelivered",
    ),
    row(
        "Network",
        "S3 answers what is not HTTP",
        NotDelivering("S3Unavailable"),
        "RecordingUploadsNotDelivered",
    ),
    row("Network", "STS answers 503 to every call", Unknown("ProbeInconclusive"), ""),
    row("Spool", "the volume belongs to root", NotDelivering("SpoolUnusable"), ALERT)
        .logs("SpoolUnusable")
        .short()
        .left(Entry("Left")),
    row("Spool", "a directory cannot be read", NotDelivering("SpoolUnusable"), ALERT),
    row("Spool", "a directory cannot be written", NotDelivering("SpoolNotWritable"), ALERT)
        .logs("SpoolNotWritable")
        .short()
        .left(Nothing),
    row("Spool", "another uploader holds the spool", NotDelivering("SpoolInUse"), ALERT),
    row("Spool", "the volume is nearly full", NotDelivering("SpoolNearlyFull"), ALERT),
    row(
        "Spool",
        "a file cannot be a recording",
        NotDelivering("RecordingsQuarantined"),
        "RecordingsQuarantined",
    )
    .left(Nothing)
    .short(),
    row("Spool", "the spool is on a claim, and the role is deleted", NotReady("AssumeRoleDenied"), ALERT)
        .left(Entry("Left")),
    row("Pod", "a Job completes while S3 refuses", NotReady("PutObjectDenied"), ALERT),
    row("Pod", "the pod is deleted by force while S3 refuses", NotReady("PutObjectDenied"), ALERT)
        .left(Entry("Unaccounted")),
    row("Pod", "the sidecar is killed while S3 refuses", NotReady("PutObjectDenied"), ALERT),
];
