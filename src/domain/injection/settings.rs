//! What the operator says about every sidecar, whatever pod it is in.

/// What the operator says about every sidecar.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the sidecar.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Most bytes that each sidecar sends in a second.
    pub bandwidth_limit: Option<u64>,
    /// Base URL of the broker.
    pub broker_url: String,
    /// CA certificates by which the broker is trusted, PEM.
    pub broker_ca: String,
}
