//! Pod → pod: what a labelled pod gets, the same for the webhook and for a preview.
//!
//! The pod is read as a type and changed as JSON, so that fields unknown to the types stay as they are. Injecting twice
//! gives the same pod as injecting once.

mod entries;
mod quantity;
mod refusal;
mod request;
mod resources;
mod settings;
mod sidecar;
mod spool;
#[cfg(test)]
mod tests;
mod user;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::Deserialize as _;
use serde_json::Value;

pub use refusal::Refusal;
pub use request::Request;
pub use resources::{InvalidResources, ResourceBounds, Resources};
pub use settings::{LogLevel, Settings};
pub use spool::Spool;

/// A pod that asks for a sidecar, read once.
#[derive(Debug)]
pub struct Injection<'a> {
    pod: &'a Value,
    spec: PodSpec,
    request: Request,
}

impl<'a> Injection<'a> {
    /// Reads what a pod asks for, by its label and annotations; `None` when it asks for nothing. Whether the
    /// destination exists is for the caller to find out.
    pub fn read(pod: &'a Value) -> Result<Option<Self>, Refusal> {
        let seen = Pod::deserialize(pod).map_err(|error| Refusal::NotAPod(error.to_string()))?;
        let Some(request) = Request::of(&seen)? else { return Ok(None) };
        Ok(Some(Injection { pod, spec: seen.spec.unwrap_or_default(), request }))
    }

    /// What the pod asks for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The pod with the sidecar it asks for; the same pod when it has it already.
    pub fn inject(&self, settings: &Settings) -> Result<Value, Refusal> {
        let Injection { pod, spec, request } = self;
        if spec.host_network == Some(true) {
            return Err(Refusal::HostNetwork);
        }
        let user = user::of_recorder(spec, &request.spool)?;

        let grace_period = sidecar::grace_period(spec.termination_grace_period_seconds);
        let mut pod = (*pod).clone();
        let written = &mut pod["spec"];
        written["terminationGracePeriodSeconds"] = grace_period.into();
        for volume in [sidecar::state_volume(), sidecar::token_volume(grace_period)] {
            entries::set(written, "volumes", &volume.name, &volume);
        }
        if request.loopback {
            let volume = sidecar::credentials_volume();
            entries::set(written, "volumes", &volume.name, &volume);
            for container in written["containers"].as_array_mut().into_iter().flatten() {
                for variable in sidecar::credentials_variables() {
                    entries::set(container, "env", &variable.name, &variable);
                }
                let mount = sidecar::credentials_mount(true);
                entries::set(container, "volumeMounts", &mount.name, &mount);
            }
        }
        let container = sidecar::container(request, user, settings, spec)?;
        entries::set_last(written, "initContainers", &container.name, &container);
        Ok(pod)
    }
}

/// The pod with the sidecar it asks for; the same pod when it asks for none or has it already.
pub fn inject(pod: &Value, settings: &Settings) -> Result<Value, Refusal> {
    match Injection::read(pod)? {
        Some(injection) => injection.inject(settings),
        None => Ok(pod.clone()),
    }
}
