//! The request of a pod, by its label and annotations.

use k8s_openapi::api::core::v1::Pod;

use super::refusal::Refusal;
use super::resources::AskedResources;
use super::settings::LogLevel;
use super::spool::Spool;
use crate::api::{
    CREDENTIALS_ANNOTATION, DEFAULT_SPOOL_VOLUME, DESTINATION_ANNOTATION, INJECT_LABEL, LOOPBACK_CREDENTIALS,
    SIDECAR_LOG_LEVEL_ANNOTATION, SPOOL_PATH_ANNOTATION, SPOOL_VOLUME_ANNOTATION, UPLOADER_CONTAINER,
    is_object_name,
};

/// The request of a pod, checked against the pod itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Name of the destination, in the pod's namespace.
    pub destination: String,
    pub spool: Spool,
    /// Whether AWS SDKs in the pod's other containers may use the destination's credentials.
    pub loopback: bool,
    /// Requests and limits of the sidecar.
    pub(super) resources: AskedResources,
    /// How much the sidecar logs.
    pub log_level: Option<LogLevel>,
}

impl Request {
    /// Reads label and annotations; `None` without the label.
    pub(super) fn of(pod: &Pod) -> Result<Option<Self>, Refusal> {
        let labels = pod.metadata.labels.as_ref();
        if labels.and_then(|labels| labels.get(INJECT_LABEL)).is_none_or(|value| value != "true") {
            return Ok(None);
        }
        let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name).cloned();
        let loopback = match annotation(CREDENTIALS_ANNOTATION) {
            None => false,
            Some(value) if value == LOOPBACK_CREDENTIALS => true,
            Some(value) => return Err(Refusal::UnknownCredentials(value)),
        };
        let log_level = annotation(SIDECAR_LOG_LEVEL_ANNOTATION)
            .map(|value| value.parse::<LogLevel>().map_err(|_| Refusal::UnknownLogLevel(value)))
            .transpose()?;
        let request = Request {
            destination: annotation(DESTINATION_ANNOTATION).ok_or(Refusal::NoDestination)?,
            spool: Spool {
                volume: annotation(SPOOL_VOLUME_ANNOTATION).unwrap_or(DEFAULT_SPOOL_VOLUME.to_owned()),
                path: annotation(SPOOL_PATH_ANNOTATION),
            },
            loopback,
            resources: AskedResources::of(annotation)?,
            log_level,
        };
        if !is_object_name(&request.destination) {
            return Err(Refusal::MalformedDestination(request.destination));
        }
        request.spool.check(pod)?;
        if pod.spec.iter().flat_map(|spec| &spec.containers).any(|c| c.name == UPLOADER_CONTAINER) {
            return Err(Refusal::NameTaken);
        }
        Ok(Some(request))
    }
}
