//! The settings of every sidecar.

use super::resources::{ResourceBounds, Resources};

/// The settings that the operator gives every sidecar.
#[derive(Clone, Debug)]
pub struct Settings {
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Most bytes per second that each sidecar sends.
    pub bandwidth_limit: Option<u64>,
    pub resources: Resources,
    /// Bounds of what a pod's annotations may name instead.
    pub resource_bounds: ResourceBounds,
    /// How much a sidecar logs whose pod does not name a level.
    pub log_level: LogLevel,
    pub broker_url: String,
    /// CA certificates by which the broker is trusted, PEM.
    pub broker_ca: String,
}

impl Settings {
    /// Those of a chart that is installed without values.
    pub fn usual(image: String, broker_url: String, broker_ca: String) -> Self {
        Settings {
            image,
            image_pull_policy: "IfNotPresent".to_owned(),
            bandwidth_limit: None,
            resources: Resources::usual(),
            resource_bounds: ResourceBounds::usual(),
            log_level: LogLevel::Info,
            broker_url,
            broker_ca,
        }
    }
}

/// How much a sidecar logs. There is no `trace`, which is for whoever changes the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}
