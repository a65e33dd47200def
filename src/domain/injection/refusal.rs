//! Why a pod is refused, each a sentence that ends in what to do.

use crate::api::{
    CREDENTIALS_ANNOTATION, DESTINATION_ANNOTATION, INJECT_LABEL, LOOPBACK_CREDENTIALS,
    SIDECAR_LOG_LEVEL_ANNOTATION, SPOOL_PATH_ANNOTATION, SPOOL_VOLUME_ANNOTATION, UPLOADER_CONTAINER,
};

/// Why the pod must change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be decoded as a pod; holds the position.
    #[error("this is not a pod that can be read: {0}; correct the manifest")]
    NotAPod(String),
    #[error(
        "the pod is labelled {INJECT_LABEL}=true but does not say where its recordings go: name a RecordingDestination \
         of its namespace in the annotation {DESTINATION_ANNOTATION}, or take the label off"
    )]
    NoDestination,
    /// The text cannot be the name of a destination.
    #[error(
        "{0:?} cannot be the name of a RecordingDestination: correct the annotation {DESTINATION_ANNOTATION}; names \
         have lower-case letters, digits, - and ., e.g. acme"
    )]
    MalformedDestination(String),
    /// The pod's namespace has no such destination.
    #[error(
        "destination {name:?} does not exist in namespace {namespace:?}: create the RecordingDestination first, or \
         correct the annotation {DESTINATION_ANNOTATION}"
    )]
    UnknownDestination { name: String, namespace: String },
    /// The pod has no such volume.
    #[error(
        "the pod has no volume {0:?} to hold its recordings: add the volume to spec.volumes, or name the one that the \
         recorder writes to in the annotation {SPOOL_VOLUME_ANNOTATION}"
    )]
    NoSpoolVolume(String),
    /// Nothing can be written to the volume, nor removed from it.
    #[error(
        "the volume {volume:?} cannot be written to: {because}; the sidecar removes there what it has uploaded: use one \
         that can be written to, e.g. an emptyDir, or name another in the annotation {SPOOL_VOLUME_ANNOTATION}"
    )]
    ReadOnlySpool { volume: String, because: String },
    /// Absolute, empty, or with a `.` or `..` segment.
    #[error(
        "the spool path {0:?} does not stay within its volume: give a relative directory without . or .. in the \
         annotation {SPOOL_PATH_ANNOTATION}, e.g. calls, or leave the annotation out"
    )]
    MalformedSpoolPath(String),
    /// It seems to name a variable.
    #[error(
        "the spool path {0:?} holds $(, and variables are not expanded there: name a directory by its own name in the \
         annotation {SPOOL_PATH_ANNOTATION}; pods that must be kept apart each need a volume of their own"
    )]
    UnexpandedSpoolPath(String),
    /// The recorder writes to the volume outside the spool.
    #[error(
        "recordings are written to directory {directory:?} of the volume {volume:?}, which is not in the spool path \
         {path:?}: name that directory, or one above it, in the annotation {SPOOL_PATH_ANNOTATION}"
    )]
    RecorderElsewhere {
        /// A directory that is mounted for writing.
        directory: String,
        volume: String,
        path: String,
    },
    /// A value of the credentials annotation.
    #[error(
        "the annotation {CREDENTIALS_ANNOTATION} is {0:?}: set it to {LOOPBACK_CREDENTIALS}, which lets AWS SDKs in the \
         pod's other containers use the destination's credentials, or leave it out; the sidecar uploads without it"
    )]
    UnknownCredentials(String),
    /// The pod shares the node's network.
    #[error(
        "the pod is on the host network (spec.hostNetwork: true), where the sidecar's ports would be the node's, open \
         to every process there: take hostNetwork out, or take the label {INJECT_LABEL} off"
    )]
    HostNetwork,
    /// The recorder runs as root; holds the field that sets it.
    #[error(
        "{0} is 0, and the sidecar runs as the recorder's user but never as root: set it to another UID, e.g. 1000, \
         as whom the recorder also runs"
    )]
    Root(String),
    /// The value of an annotation for the sidecar's resources.
    #[error(
        "the annotation {annotation} is {value:?}, which is no amount of {resource}: write one such as {}, or leave the \
         annotation out",
        example(.resource)
    )]
    MalformedAmount { annotation: &'static str, value: String, resource: &'static str },
    /// It is an amount, and the operator's settings do not allow it.
    #[error(
        "the annotation {annotation} is {value}, and the platform allows {bound} (the chart's value \
         uploader.resourceBounds.{side}.{resource}): change the annotation, or ask the platform's engineers"
    )]
    AmountOutOfBounds {
        annotation: &'static str,
        value: String,
        /// Such as `at most 4`.
        bound: String,
        /// `min` or `max`.
        side: &'static str,
        resource: &'static str,
    },
    /// A pod whose request is above its limit is refused by the API server, which would not say where they come from.
    #[error(
        "the annotation {annotation} is {request}, which is more than the sidecar's limit of {limit}: lower it, or set \
         {limit_annotation} too"
    )]
    RequestAboveLimit {
        annotation: &'static str,
        request: String,
        limit: String,
        limit_annotation: &'static str,
    },
    /// A value of the annotation for the sidecar's log level.
    #[error(
        "the annotation {SIDECAR_LOG_LEVEL_ANNOTATION} is {0:?}: set it to error, warn, info or debug, or leave it out"
    )]
    UnknownLogLevel(String),
    /// The patch is larger than any pod needs.
    #[error(
        "the sidecar would change more than 256 KiB of the pod, as it does where a pod has hundreds of containers: give \
         the pod fewer containers"
    )]
    TooManyChanges,
    /// An ordinary container has the sidecar's name.
    #[error(
        "the container name {UPLOADER_CONTAINER} is the sidecar's: rename the container in spec.containers"
    )]
    NameTaken,
}

fn example(resource: &str) -> &'static str {
    if resource == "cpu" { "500m" } else { "256Mi" }
}
