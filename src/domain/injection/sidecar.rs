//! The sidecar and its volumes. Fields are set to what the API server would default, so that a second injection of the
//! same pod changes nothing.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, ExecAction, PodSpec, Probe,
    ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecurityContext,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::refusal::Refusal;
use super::request::Request;
use super::resources::requirements;
use super::settings::Settings;
use super::user::User;
use crate::api::{
    BANDWIDTH_LIMIT_ENV, BROKER_CA_ENV, BROKER_URL_ENV, CREDENTIALS_PATH, LOG_LEVEL_ENV,
    SPOOL_SIZE_LIMIT_ENV, SPOOL_VOLUME_ENV, TOKEN_AUDIENCE, UPLOADER_BINARY, UPLOADER_CONTAINER,
    UPLOADER_CREDENTIALS_PORT, UPLOADER_CREDENTIALS_TOKEN_PATH, UPLOADER_CREDENTIALS_VOLUME,
    UPLOADER_HEALTH_PORT, UPLOADER_PROBE, UPLOADER_SPOOL_PATH, UPLOADER_STATE_PATH, UPLOADER_STATE_VOLUME,
    UPLOADER_TOKEN_PATH, UPLOADER_TOKEN_VOLUME,
};

/// Least grace period of a pod, in seconds. The recorder may use any part of it, and the sidecar drains in the rest and ends
/// as soon as nothing is left. Kubernetes' default of 30 cannot be distinguished from an explicit 30.
const LEAST_GRACE_PERIOD: i64 = 120;

/// The container. What others added to one of its name that the pod already has is kept.
pub(super) fn container(
    request: &Request,
    user: User,
    settings: &Settings,
    spec: &PodSpec,
) -> Result<Container, Refusal> {
    let before = spec.init_containers.iter().flatten().find(|c| c.name == UPLOADER_CONTAINER);
    let Settings { resources, resource_bounds, .. } = settings;
    let theirs = before.and_then(|container| container.resources.as_ref());
    let resources = requirements(resources, resource_bounds, &request.resources, theirs)?;
    Ok(Container {
        name: UPLOADER_CONTAINER.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        command: Some(vec![UPLOADER_BINARY.to_owned()]),
        env: Some(environment(request, settings, spec, &resources)),
        ports: Some(vec![ContainerPort {
            name: Some("uploader-http".to_owned()),
            container_port: UPLOADER_HEALTH_PORT.into(),
            protocol: Some("TCP".to_owned()),
            ..Default::default()
        }]),
        // An init container that is restarted is a native sidecar: it starts before the recorder and ends after it.
        restart_policy: Some("Always".to_owned()),
        // The recorder waits for the sidecar to start, so this probe is frequent. The other is rare, because each starts a
        // process, and a node can have a hundred sidecars.
        startup_probe: Some(Probe { period_seconds: Some(1), failure_threshold: Some(60), ..runs() }),
        liveness_probe: Some(Probe { period_seconds: Some(30), failure_threshold: Some(3), ..runs() }),
        resources: Some(resources),
        security_context: Some(restricted(user)),
        termination_message_path: Some("/dev/termination-log".to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(mounts(request, before)),
        ..Default::default()
    })
}

fn environment(
    request: &Request,
    settings: &Settings,
    spec: &PodSpec,
    resources: &ResourceRequirements,
) -> Vec<EnvVar> {
    let level = request.log_level.unwrap_or(settings.log_level);
    let always = [
        variable(BROKER_URL_ENV, &settings.broker_url),
        variable(BROKER_CA_ENV, &settings.broker_ca),
        variable(LOG_LEVEL_ENV, &level.to_string()),
    ];
    let volume = request.spool.kind(spec).map(|kind| variable(SPOOL_VOLUME_ENV, &kind));
    let size = request.spool.size_limit(spec, resources);
    let size = size.map(|limit| variable(SPOOL_SIZE_LIMIT_ENV, &limit.to_string()));
    let bandwidth = settings.bandwidth_limit.map(|limit| variable(BANDWIDTH_LIMIT_ENV, &limit.to_string()));
    always.into_iter().chain(volume).chain(size).chain(bandwidth).collect()
}

/// Keeps newer CA bundles across restarts of the container.
pub(super) fn state_volume() -> Volume {
    Volume {
        name: UPLOADER_STATE_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Default::default()
    }
}

pub(super) fn grace_period(wanted: Option<i64>) -> i64 {
    wanted.unwrap_or_default().max(LEAST_GRACE_PERIOD)
}

/// The pod's token for the broker. The kubelet stops refreshing tokens of terminating pods, so a token must outlast the
/// grace period by far.
pub(super) fn token_volume(grace_period: i64) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(TOKEN_AUDIENCE.to_owned()),
        expiration_seconds: Some(grace_period.saturating_mul(6).clamp(3600, 86_400)),
        path: token_path().1.to_owned(),
    };
    Volume {
        name: UPLOADER_TOKEN_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o644),
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(token),
                ..Default::default()
            }]),
        }),
        ..Default::default()
    }
}

/// The sidecar's mounts, then those that others added at other paths.
fn mounts(request: &Request, before: Option<&Container>) -> Vec<VolumeMount> {
    let mut mounts = vec![
        VolumeMount {
            sub_path: request.spool.path.clone(),
            ..mount(&request.spool.volume, UPLOADER_SPOOL_PATH)
        },
        mount(UPLOADER_STATE_VOLUME, UPLOADER_STATE_PATH),
        VolumeMount { read_only: Some(true), ..mount(UPLOADER_TOKEN_VOLUME, token_path().0) },
    ];
    if request.loopback {
        mounts.push(credentials_mount(false));
    }
    let mut ours: Vec<_> = mounts.iter().map(|mount| mount.mount_path.clone()).collect();
    ours.push(UPLOADER_BINARY.to_owned());
    let theirs = before.and_then(|container| container.volume_mounts.as_ref()).into_iter().flatten();
    let beside = |mount: &&VolumeMount| ours.iter().all(|path| !overlap(&mount.mount_path, path));
    mounts.extend(theirs.filter(beside).cloned());
    mounts
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..Default::default() }
}

/// The volume in which the sidecar writes the token that other containers present to it.
pub(super) fn credentials_volume() -> Volume {
    let memory = EmptyDirVolumeSource {
        medium: Some("Memory".to_owned()),
        size_limit: Some(Quantity("64Ki".to_owned())),
    };
    Volume { name: UPLOADER_CREDENTIALS_VOLUME.to_owned(), empty_dir: Some(memory), ..Default::default() }
}

/// Its mount, writable in the sidecar and read-only in the other containers.
pub(super) fn credentials_mount(read_only: bool) -> VolumeMount {
    let (directory, _) = UPLOADER_CREDENTIALS_TOKEN_PATH.rsplit_once('/').expect("it is an absolute path");
    let read_only = read_only.then_some(true);
    VolumeMount { read_only, ..mount(UPLOADER_CREDENTIALS_VOLUME, directory) }
}

/// The environment variables by which AWS SDKs fetch credentials from the sidecar.
pub(super) fn credentials_variables() -> [EnvVar; 2] {
    let url = format!("http://127.0.0.1:{UPLOADER_CREDENTIALS_PORT}{CREDENTIALS_PATH}");
    [
        variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
        variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", UPLOADER_CREDENTIALS_TOKEN_PATH),
    ]
}

/// Whether one path is the other or contains it. A path that is not normalized counts as both.
fn overlap(theirs: &str, ours: &str) -> bool {
    let theirs = theirs.strip_suffix('/').unwrap_or(theirs);
    let plain = theirs.split('/').skip(1).all(|segment| !matches!(segment, "" | "." | ".."));
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    !plain || within(theirs, ours) || within(ours, theirs)
}

/// At least what pod security `restricted` demands.
fn restricted(user: User) -> SecurityContext {
    SecurityContext {
        run_as_user: Some(user.uid),
        run_as_group: Some(user.gid),
        run_as_non_root: Some(true),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..Default::default()
    }
}

/// Checks only that the process runs: a broken destination must never restart an uploader. The probe runs within the
/// container, where no flood of the pod's ports makes it fail.
fn runs() -> Probe {
    Probe {
        exec: Some(ExecAction { command: Some(UPLOADER_PROBE.map(str::to_owned).to_vec()) }),
        timeout_seconds: Some(10),
        success_threshold: Some(1),
        ..Default::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn token_path() -> (&'static str, &'static str) {
    UPLOADER_TOKEN_PATH.rsplit_once('/').expect("it is an absolute path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_mount_stays_unless_it_hides_something_of_ours() {
        for (theirs, hides) in [
            ("/var/run/secrets/workload-identity", false),
            ("/etc/ssl/certs", false),
            ("/recording-uploader-extras", false),
            (UPLOADER_BINARY, true),
            ("/recording-uploader/", true),
            ("/", true),
            ("//recording-uploader", true),
            ("/etc/../recording-uploader", true),
        ] {
            assert_eq!(overlap(theirs, UPLOADER_BINARY), hides, "{theirs}");
        }
        assert!(overlap(
            "/var/run/secrets/recordings.revenue.io/token",
            "/var/run/secrets/recordings.revenue.io"
        ));
        assert!(overlap("/var/run", "/var/run/secrets/recordings.revenue.io"));
    }
}
