//! The settings of every sidecar.

/// The settings that the operator gives every sidecar.
#[derive(Clone, Debug)]
pub struct Settings {
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Most bytes per second that each sidecar sends.
    pub bandwidth_limit: Option<u64>,
    pub broker_url: String,
    /// CA certificates by which the broker is trusted, PEM.
    pub broker_ca: String,
}
