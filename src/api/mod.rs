//! The vocabulary that the product shares with its users and between its rooms: the custom resource, its conditions and
//! reasons, the names on pods, the broker's documents, and the answers of AWS.

mod answer;
mod arn;
mod broker;
mod check_name;
mod condition;
mod crd;
mod destination;
mod names;
mod object;
mod partition;
mod uploaders;
mod words;

pub use answer::{Answer, Refusal, Silence};
pub use arn::{InvalidRoleARN, RoleARN};
pub use broker::{
    BucketTarget, DeliveryReport, DeliveryState, DestinationDocument, Endpoint, PolicyType, RefusedCall,
    SpoolFault, Unanswered, UploadRefusal, UploaderPhase,
};
pub use check_name::{BucketCall, CheckName, WrongCaller};
pub use condition::{ConditionType, Objection, Reason, Side, Transition};
pub use crd::crd;
pub use destination::*;
pub use names::{is_namespace_name, is_object_name};
pub use object::{Crc64Nvme, Head, InvalidChecksum, Part};
pub use partition::{dns_suffix, is_known_region, partition_of_region};
pub use uploaders::{CLAIM_SPOOL, Loss, LossKind, NEARLY_FULL, Uploader, UploaderRefusal, Uploaders};
pub use words::{agreeing, counted};

/// Type of the Secret that holds an External ID. A Secret of another type is never read.
pub const EXTERNAL_ID_SECRET_TYPE: &str = "recordings.revenue.io/external-id";
/// Audience of the sidecar's projected token.
pub const TOKEN_AUDIENCE: &str = "recordings.revenue.io";

/// Field manager under which the controller server-side-applies status.
pub const CONTROLLER_FIELD_MANAGER: &str = "recording-controller";

/// Annotation on a destination: any new value requests a full validation.
pub const REVALIDATE_ANNOTATION: &str = "recordings.revenue.io/revalidate";
/// Most bytes of its value. A longer one is ignored, because it would be repeated in the status.
pub const LONGEST_REVALIDATE: usize = 253;

/// Destinations in one namespace, at most, where the platform sets no other limit.
pub const DESTINATIONS_PER_NAMESPACE: usize = 500;

/// Annotation on a Namespace: the AWS accounts, separated by commas, that its destinations may use.
pub const ALLOWED_ACCOUNTS_ANNOTATION: &str = "recordings.revenue.io/allowed-accounts";

/// Label on a pod that requests the sidecar; the webhook's object selector.
pub const INJECT_LABEL: &str = "recordings.revenue.io/inject";
/// Annotation on a pod: the destination, of the pod's own namespace.
pub const DESTINATION_ANNOTATION: &str = "recordings.revenue.io/destination";
/// Annotation on a pod: the name of the volume that holds the spool.
pub const SPOOL_VOLUME_ANNOTATION: &str = "recordings.revenue.io/spool-volume";
/// Spool volume when the annotation is absent.
pub const DEFAULT_SPOOL_VOLUME: &str = "recordings";
/// Annotation on a pod: a sub-directory of the volume to use as the spool.
pub const SPOOL_PATH_ANNOTATION: &str = "recordings.revenue.io/spool-path";
/// Annotation on a pod: `loopback` offers the credentials to the pod's other containers.
pub const CREDENTIALS_ANNOTATION: &str = "recordings.revenue.io/credentials";
/// Annotations on a pod: requests and limits of its sidecar, within the operator's bounds.
pub const SIDECAR_CPU_REQUEST_ANNOTATION: &str = "recordings.revenue.io/sidecar-cpu-request";
pub const SIDECAR_CPU_LIMIT_ANNOTATION: &str = "recordings.revenue.io/sidecar-cpu-limit";
pub const SIDECAR_MEMORY_REQUEST_ANNOTATION: &str = "recordings.revenue.io/sidecar-memory-request";
pub const SIDECAR_MEMORY_LIMIT_ANNOTATION: &str = "recordings.revenue.io/sidecar-memory-limit";
pub const SIDECAR_EPHEMERAL_STORAGE_REQUEST_ANNOTATION: &str =
    "recordings.revenue.io/sidecar-ephemeral-storage-request";
pub const SIDECAR_EPHEMERAL_STORAGE_LIMIT_ANNOTATION: &str =
    "recordings.revenue.io/sidecar-ephemeral-storage-limit";
/// Annotation on a pod: how much its sidecar logs.
pub const SIDECAR_LOG_LEVEL_ANNOTATION: &str = "recordings.revenue.io/sidecar-log-level";

/// Name of the injected container.
pub const UPLOADER_CONTAINER: &str = "recording-uploader";
/// The uploader in its image: all of the injected container's command.
pub const UPLOADER_BINARY: &str = "/recording-uploader";
/// The command by which the kubelet asks whether the uploader runs.
pub const UPLOADER_PROBE: [&str; 2] = [UPLOADER_BINARY, "probe"];
/// Name of the injected `emptyDir` that keeps newer CA bundles and the socket of the probes.
pub const UPLOADER_STATE_VOLUME: &str = "recording-uploader-state";
/// Name of the injected projected-token volume.
pub const UPLOADER_TOKEN_VOLUME: &str = "recording-uploader-token";
/// Where the sidecar finds its token.
pub const UPLOADER_TOKEN_PATH: &str = "/var/run/secrets/recordings.revenue.io/token";
/// Name of the injected `emptyDir` with the token for the credentials listener.
pub const UPLOADER_CREDENTIALS_VOLUME: &str = "recording-uploader-credentials";
/// Where those containers find the token to show to the sidecar.
pub const UPLOADER_CREDENTIALS_TOKEN_PATH: &str = "/var/run/recordings.revenue.io/token";
/// Value of [`CREDENTIALS_ANNOTATION`] that requests the credentials listener.
pub const LOOPBACK_CREDENTIALS: &str = "loopback";
/// Where the sidecar sees the spool.
pub const UPLOADER_SPOOL_PATH: &str = "/spool";
/// Where the sidecar keeps its state.
pub const UPLOADER_STATE_PATH: &str = "/var/lib/recording-uploader";
/// Environment variable of the sidecar: base URL of the broker.
pub const BROKER_URL_ENV: &str = "RECORDINGS_BROKER_URL";
/// Environment variable of the sidecar: the broker's CA certificates, PEM.
pub const BROKER_CA_ENV: &str = "RECORDINGS_BROKER_CA";
/// Environment variable of the sidecar: most bytes that it sends in a second; absent: as many as it can.
pub const BANDWIDTH_LIMIT_ENV: &str = "RECORDING_UPLOADER_BANDWIDTH_LIMIT";
/// Least such limit.
pub const LEAST_BANDWIDTH_LIMIT: u64 = 2 << 20;
/// Environment variable of the sidecar: kind of the spool's volume, and of a claim its name, such as `emptyDir` and
/// `persistentVolumeClaim/recordings`.
pub const SPOOL_VOLUME_ENV: &str = "RECORDINGS_SPOOL_VOLUME";
/// Environment variable of the sidecar: bytes in the spool's volume above which the kubelet evicts the pod.
pub const SPOOL_SIZE_LIMIT_ENV: &str = "RECORDINGS_SPOOL_SIZE_LIMIT";
/// Environment variable of every process: how much it logs.
pub const LOG_LEVEL_ENV: &str = "RUST_LOG";

/// TCP port of the sidecar's metrics and health.
pub const UPLOADER_HEALTH_PORT: u16 = 19095;
/// TCP port, on loopback, of the sidecar's credentials listener.
pub const UPLOADER_CREDENTIALS_PORT: u16 = 19096;

/// Path of the broker's credentials.
pub const CREDENTIALS_PATH: &str = "/v1/credentials";
/// Header of a request for credentials: the access key ID of the session that AWS refused, if that is why it is made.
pub const REFUSED_KEY_HEADER: &str = "x-recordings-refused-access-key-id";
/// Path of the broker's destination document.
pub const DESTINATION_PATH: &str = "/v1/destination";
/// Path to which a sidecar reports how it stands.
pub const REPORT_PATH: &str = "/v1/report";

/// The directory under a prefix that holds probe objects and never a recording.
pub const PROBE_DIRECTORY: &str = ".recording-operator/";
