//! The chart's life: the release before, an upgrade, a rollback, an uninstall, and what outlives each.

use std::process::Command;

use serde_json::{Value, json};

use super::load::under_load;
use super::{NAMESPACE, ready_since};
use crate::support::{Done, Tenant, get, kubectl, kubectl_with, repository, setting, wait_for};
use crate::{environment_or_skip, long_run_or_skip};

const RELEASE: &str = "recording-operator";
/// As it was packaged when it was released.
const BEFORE: &str = "tests/fixtures/recording-operator-0.1.0.tgz";
pub const PRESENT: &str = "charts/recording-operator";
const CRD: &str = "recordingdestinations.recordings.revenue.io";

fn helm(arguments: &[&str]) -> Done {
    let mut command = Command::new(repository().join("target/dev/bin/helm"));
    command.args(arguments).arg(NAMESPACE).current_dir(repository());
    command.env("KUBECONFIG", setting("KUBECONFIG").unwrap()).output().unwrap().into()
}

/// The values that the release was installed with, and the present chart under them again at the end.
pub struct Values(tempfile::NamedTempFile);

impl Values {
    pub fn of_release() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let values = helm(&["get", "values", RELEASE, "--output=yaml"]).expect_ok().text();
        std::fs::write(&file, values).unwrap();
        Values(file)
    }

    pub fn install(&self, chart: &str, more: &[&str]) -> Done {
        let values = format!("--values={}", self.0.path().display());
        let usual =
            ["upgrade", "--install", RELEASE, chart, "--reset-values", &values, "--wait", "--timeout=3m"];
        helm(&[&usual[..], more].concat())
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        self.install(PRESENT, &[]);
    }
}

/// The running sidecar delivers, and so does that of a new pod.
pub fn delivers(tenant: &Tenant, when: &str) {
    let fresh = format!("recorder-{when}");
    tenant.start_recorder(&fresh);
    for pod in ["recorder", &fresh] {
        let key = format!("{when}-{pod}.wav");
        tenant.shell(pod, &format!("echo {when} > /recordings/{key}")).expect_ok();
        wait_for(&format!("{key} {when}"), || tenant.describe(), || tenant.object(&key));
    }
    tenant.kubectl(&["delete", "pod", &fresh, "--wait=false"]).expect_ok();
}

/// As the controller is labelled.
fn chart_version() -> Value {
    let deployment = get(&[NAMESPACE, "deployment", "recording-operator-controller"]);
    deployment.map_or(Value::Null, |it| it["metadata"]["labels"]["helm.sh/chart"].clone())
}

/// The schema of the tenants' resource, as a chart brings it: a directory, or an archive of one.
fn schema_of(chart: &str) -> Value {
    let file = "files/crds/recordingdestinations.yaml";
    let text = if chart == BEFORE {
        let mut tar = Command::new("tar");
        tar.args(["-xzOf", BEFORE, &format!("recording-operator/{file}")]).current_dir(repository());
        Done::from(tar.output().unwrap()).expect_ok().text()
    } else {
        std::fs::read_to_string(repository().join(chart).join(file)).unwrap()
    };
    // By way of kubectl, which writes numbers as the API server does.
    let create = ["create", "--dry-run=client", "--output=json", "--filename=-"];
    let crd: Value = serde_json::from_slice(&kubectl_with(&create, &text).expect_ok().stdout).unwrap();
    crd["spec"]["versions"][0]["schema"].clone()
}

/// The same, as the API server has it.
fn schema() -> Value {
    get(&["customresourcedefinition", CRD]).unwrap()["spec"]["versions"][0]["schema"].clone()
}

#[test]
fn install_upgrade_rollback_and_uninstall_keep_the_tenants_objects() {
    environment_or_skip!();
    long_run_or_skip!();
    let tenant = Tenant::ready("lived");
    let since = ready_since(&tenant);
    tenant.start_recorder("recorder");
    delivers(&tenant, "first");
    let values = Values::of_release();

    helm(&["uninstall", RELEASE, "--wait"]).expect_ok();
    assert_eq!(chart_version(), Value::Null);
    let left = kubectl(&[
        "get",
        "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,\
         mutatingwebhookconfigurations",
        "--selector=app.kubernetes.io/instance=recording-operator",
        "--output=name",
    ]);
    assert_eq!(left.expect_ok().text(), "", "nothing of ours is left");
    assert!(get(&["customresourcedefinition", CRD]).is_some());
    assert_eq!(ready_since(&tenant), since, "the destination and its status are kept");

    values.install(BEFORE, &[]).expect_ok();
    assert_eq!(chart_version(), "recording-operator-0.1.0");
    assert_ne!(schema_of(BEFORE), schema_of(PRESENT));
    assert!(schema() == schema_of(BEFORE), "the CRD is that of before");
    delivers(&tenant, "before");

    values.install(PRESENT, &[]).expect_ok();
    let present = chart_version();
    assert_ne!(present, "recording-operator-0.1.0");
    assert!(schema() == schema_of(PRESENT), "the CRD is upgraded with the chart");
    delivers(&tenant, "upgraded");
    helm(&["test", RELEASE, "--timeout=60s"]).expect_ok();

    helm(&["rollback", RELEASE, "1", "--wait", "--timeout=3m"]).expect_ok();
    assert_eq!(chart_version(), "recording-operator-0.1.0");
    assert!(schema() == schema_of(BEFORE), "and goes back with it");
    delivers(&tenant, "back");

    assert_eq!(ready_since(&tenant), since, "no proof was lost");
    let destination = tenant.get(&["recordingdestination", "acme"]).unwrap();
    assert_eq!(destination["metadata"]["generation"], json!(1), "nobody edited it");

    let listed = format!("--set=rbac.namespaces={{{}}}", tenant.namespace);
    values.install(PRESENT, &["--set=rbac.secrets=namespaced", &listed]).expect_ok();
    assert_eq!(chart_version(), present);
    for account in ["controller", "broker"] {
        let account = format!("--as=system:serviceaccount:recording-operator:recording-operator-{account}");
        let may = |namespace: &str| {
            let namespace = format!("--namespace={namespace}");
            kubectl(&["auth", "can-i", "get", "secrets", &account, &namespace]).text().trim().to_owned()
        };
        assert_eq!((may(&tenant.namespace), may("default")), ("yes".into(), "no".into()), "{account}");
    }
    let before = destination["status"]["lastValidationTime"].clone();
    tenant.revalidate("acme");
    let validated = || {
        let now = tenant.get(&["recordingdestination", "acme"]).unwrap();
        (now["status"]["lastValidationTime"] != before).then_some(())
    };
    wait_for("a validation with these rights", || tenant.describe(), validated);
    delivers(&tenant, "namespaced");
}

/// The same image by its full name, which policy and webhook take for another one.
const NEXT_IMAGE: &str = "--set=image.repository=docker.io/library/recording-operator";

#[test]
fn an_image_upgrade_keeps_serving_pods_with_the_previous_sidecar() {
    environment_or_skip!();
    let tenant = Tenant::ready("upgraded");
    let held = tenant.start_held(tenant.recorder("held"));
    let before = sidecar_image(&tenant.get(&["pod", "held"]).unwrap());
    let values = Values::of_release();

    under_load(&tenant, || drop(values.install(PRESENT, &[NEXT_IMAGE]).expect_ok()));
    // The webhook before answers until it has ended.
    let namespace = format!("--namespace={}", tenant.namespace);
    let create = ["create", &namespace, "--dry-run=server", "--output=json", "--filename=-"];
    let injected = || {
        let shown = kubectl_with(&create, &tenant.recorder("fresh").to_string()).expect_ok();
        let image = sidecar_image(&serde_json::from_slice(&shown.stdout).unwrap());
        (image != before).then_some(())
    };
    wait_for("the next image in new pods", || before.clone(), injected);
    tenant.start_recorder("fresh");
    let next = sidecar_image(&tenant.get(&["pod", "fresh"]).unwrap());
    let admitted = admitted_images();
    for image in [&before, &next] {
        assert!(admitted.contains(&format!("'{image}'")), "{image} is not in {admitted}");
    }
    assert_eq!(sidecar_image(&tenant.get(&["pod", "recorder"]).unwrap()), before);
    for pod in ["recorder", "fresh"] {
        tenant.shell(pod, &format!("echo {pod} > /recordings/{pod}.wav")).expect_ok();
        wait_for(pod, || tenant.describe(), || tenant.object(&format!("{pod}.wav")));
    }
    // Neither an edit of the pod before nor its end is held up.
    tenant.kubectl(&["label", "pod", "held", "edited=after"]).expect_ok();
    tenant.kubectl(&["delete", "pod", "held", "--wait=false"]).expect_ok();
    held.release().expect_ok();
    wait_for("its end", || tenant.describe(), || tenant.get(&["pod", "held"]).is_none().then_some(()));

    // The way back: by an upgrade to the chart before, which admits what the webhook that runs injects.
    let back = Tenant::ready("back");
    under_load(&back, || drop(values.install(PRESENT, &[]).expect_ok()));
    let admitted = admitted_images();
    for image in [&before, &next] {
        assert!(admitted.contains(&format!("'{image}'")), "{image} is not in {admitted}");
    }
}

fn sidecar_image(pod: &Value) -> String {
    let containers = pod["spec"]["initContainers"].as_array().expect("it was injected");
    let sidecar = containers.iter().find(|container| container["name"] == "recording-uploader");
    sidecar.expect("it was injected")["image"].as_str().unwrap().to_owned()
}

/// As the policy on new pods has them.
fn admitted_images() -> String {
    let policy = get(&["validatingadmissionpolicy", "recording-operator-sidecar"]).unwrap();
    let variables = policy["spec"]["variables"].as_array().unwrap();
    let images = variables.iter().find(|variable| variable["name"] == "images");
    images.unwrap()["expression"].as_str().unwrap().to_owned()
}
