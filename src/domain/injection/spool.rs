//! The spool: a writable volume, and a directory in it that the recorder writes to.

use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, Pod, PodSpec, ResourceRequirements, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::quantity::Amount;
use super::refusal::Refusal;
use super::resources::EPHEMERAL_STORAGE;
use crate::api::{
    CLAIM_SPOOL, UPLOADER_CONTAINER, UPLOADER_CREDENTIALS_VOLUME, UPLOADER_STATE_VOLUME,
    UPLOADER_TOKEN_VOLUME,
};

/// Kinds of volumes that no container can write to.
const NEVER_WRITABLE: [&str; 5] = ["configMap", "secret", "projected", "downwardAPI", "image"];

/// A directory of a volume of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// A volume of the pod.
    pub volume: String,
    /// Directory within the volume; all of it when absent.
    pub path: Option<String>,
}

impl Spool {
    /// Refuses a spool in which no recording can be, or from which none could be removed.
    pub(super) fn check(&self, pod: &Pod) -> Result<(), Refusal> {
        let spec = pod.spec.as_ref();
        let name = &self.volume;
        let ours = [UPLOADER_STATE_VOLUME, UPLOADER_TOKEN_VOLUME, UPLOADER_CREDENTIALS_VOLUME];
        let mut volumes = spec.and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
        let volume = volumes.find(|volume| volume.name == *name && !ours.contains(&name.as_str()));
        let volume = volume.ok_or_else(|| Refusal::NoSpoolVolume(name.clone()))?;
        if let Some(because) = never_writable(volume) {
            return Err(Refusal::ReadOnlySpool { volume: name.clone(), because });
        }
        let Some(path) = &self.path else { return Ok(()) };
        if !is_within(path) {
            return Err(Refusal::MalformedSpoolPath(path.clone()));
        }
        if path.contains("$(") {
            return Err(Refusal::UnexpandedSpoolPath(path.clone()));
        }
        let elsewhere = spec.and_then(|spec| others(spec).find_map(|container| writes(container, name)));
        match elsewhere {
            Some(mount) if spec.is_some_and(|spec| self.recorder(spec).is_none()) => {
                let directory = directory(mount).to_owned();
                Err(Refusal::RecorderElsewhere { directory, volume: name.clone(), path: path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The first container that writes to the spool.
    pub(super) fn recorder<'a>(&self, spec: &'a PodSpec) -> Option<&'a Container> {
        others(spec).find(|container| {
            let mut mounts = container.volume_mounts.iter().flatten();
            mounts.any(|mount| is_written(mount, &self.volume) && self.is_reached_by(mount))
        })
    }

    /// Whether a mount can reach the spool: one directory is the other or contains it. A variable in the path may have any
    /// value.
    fn is_reached_by(&self, mount: &VolumeMount) -> bool {
        let spool = Path::new(self.path.as_deref().unwrap_or_default());
        let is_expanded = mount.sub_path_expr.is_some();
        let known = Path::new(directory(mount))
            .components()
            .take_while(|part| !(is_expanded && part.as_os_str().to_string_lossy().contains("$(")));
        known.zip(spool.components()).all(|(theirs, ours)| theirs == ours)
    }

    /// Kind of its volume, and of a claim its name.
    pub(super) fn kind(&self, spec: &PodSpec) -> Option<String> {
        let volume = self.volume(spec)?;
        if let Some(claim) = &volume.persistent_volume_claim {
            return Some(format!("{CLAIM_SPOOL}{}", claim.claim_name));
        }
        let Ok(Value::Object(fields)) = serde_json::to_value(volume) else { return None };
        let kind = fields.keys().find(|kind| *kind != "name");
        // A volume without a source is an emptyDir.
        Some(kind.map_or("emptyDir", String::as_str).to_owned())
    }

    /// Bytes above which the kubelet evicts the pod. It does so by the volume's own limit, and where any container limits
    /// its ephemeral storage, by the sum of these limits. An emptyDir in memory has a file system of its own, which is full then.
    pub(super) fn size_limit(&self, spec: &PodSpec, sidecar: &ResourceRequirements) -> Option<u64> {
        let volume = self.volume(spec)?;
        let empty_dir = match &volume.empty_dir {
            Some(empty_dir) => empty_dir.clone(),
            None if self.kind(spec)? == "emptyDir" => EmptyDirVolumeSource::default(),
            None => return None,
        };
        if empty_dir.medium.is_some_and(|medium| !medium.is_empty()) {
            return None;
        }
        let own = empty_dir.size_limit.and_then(|Quantity(limit)| Amount::parse(&limit));
        let limited = |resources: Option<&ResourceRequirements>| {
            Amount::parse(&resources?.limits.as_ref()?.get(EPHEMERAL_STORAGE)?.0)
        };
        let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
        let init = spec.init_containers.iter().flatten().filter(|c| c.name != UPLOADER_CONTAINER);
        let others = spec.containers.iter().chain(init.filter(is_sidecar));
        let all =
            others.map(|container| limited(container.resources.as_ref())).chain([limited(Some(sidecar))]);
        let pods = all.flatten().reduce(Amount::saturating_add);
        own.into_iter().chain(pods).min().map(Amount::whole)
    }

    fn volume<'a>(&self, spec: &'a PodSpec) -> Option<&'a Volume> {
        spec.volumes.iter().flatten().find(|volume| volume.name == self.volume)
    }
}

/// All containers but the sidecar, regular ones first.
fn others(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let init = spec.init_containers.iter().flatten().filter(|c| c.name != UPLOADER_CONTAINER);
    spec.containers.iter().chain(init)
}

fn writes<'a>(container: &'a Container, volume: &str) -> Option<&'a VolumeMount> {
    container.volume_mounts.iter().flatten().find(|mount| is_written(mount, volume))
}

fn is_written(mount: &VolumeMount, volume: &str) -> bool {
    mount.name == volume && mount.read_only != Some(true)
}

fn directory(mount: &VolumeMount) -> &str {
    let path = mount.sub_path.as_deref().filter(|path| !path.is_empty());
    path.or(mount.sub_path_expr.as_deref()).unwrap_or_default()
}

/// Why the volume cannot be written to. Fields are compared by name, because a dozen kinds have `readOnly`.
fn never_writable(volume: &Volume) -> Option<String> {
    let Ok(Value::Object(fields)) = serde_json::to_value(volume) else { return None };
    fields.iter().filter(|(kind, _)| *kind != "name").find_map(|(kind, source)| {
        if NEVER_WRITABLE.contains(&kind.as_str()) {
            return Some(format!("it is of kind {kind}"));
        }
        (source["readOnly"] == true).then(|| format!("its {kind} has readOnly: true"))
    })
}

/// Whether a relative path stays within its directory, judged by its text.
fn is_within(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
