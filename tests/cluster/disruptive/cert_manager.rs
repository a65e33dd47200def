//! A real cert-manager makes the certificates of webhook and broker, while both are in use, and gives them back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::lifecycle::{PRESENT, Values, delivers};
use super::load::under_load;
use super::rotations::{AUTHORITY, LogCount, SERVERS, secret};
use super::{NAMESPACE, ready_since};
use crate::support::{Tenant, dev, get, kubectl, kubectl_with, wait_for};
use crate::{environment_or_skip, long_run_or_skip};

const MODE: &str = "--set=certificates=certManager";
/// The CA that the chart makes, and its Secret.
const OF_THE_CHART: &str = "recording-operator-ca";
const ROUNDS: usize = 5;

/// cert-manager beside the cluster. At the end the release is as it was, and nothing of cert-manager is left.
struct CertManager(Values);

impl CertManager {
    fn up() -> Self {
        let values = Values::of_release();
        let started = dev("dev.cert_manager", &["up"], "");
        let up = CertManager(values);
        started.expect_ok();
        up
    }

    fn takes_over(&self, more: &[&str]) {
        self.0.install(PRESENT, &[&[MODE], more].concat()).expect_ok();
    }

    fn gives_back(&self) {
        self.0.install(PRESENT, &[]).expect_ok();
    }
}

impl Drop for CertManager {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        if panicking {
            eprintln!("{}", described());
        }
        self.0.install(PRESENT, &[]);
        if panicking {
            // Who comes next finds pods that serve with what was given back.
            std::thread::sleep(Duration::from_secs(30));
        }
        dev("dev.cert_manager", &["down"], "");
        kubectl(&[NAMESPACE, "delete", "secret", OF_THE_CHART, "--ignore-not-found"]);
    }
}

/// What docs/operations.md says of switching without interruption.
#[test]
fn switching_to_cert_manager_and_back_interrupts_nothing() {
    environment_or_skip!();
    long_run_or_skip!();
    let tenant = Tenant::ready("handed-over");
    let since = ready_since(&tenant);
    let cert_manager = CertManager::up();
    let issuer = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "as-before"},
        "spec": {"ca": {"secretName": AUTHORITY}},
    });
    kubectl_with(&[NAMESPACE, "apply", "--filename=-"], &issuer.to_string()).expect_ok();
    let authority = secret(AUTHORITY)["tls.crt"].clone();
    under_load(&tenant, || {
        let (mut served, before) = (LogCount::by_servers(), certificates());
        cert_manager.takes_over(&[
            "--set=certManager.issuerRef.kind=Issuer",
            "--set=certManager.issuerRef.name=as-before",
        ]);
        wait_issued_after(&before);
        served.once_more();
        for server in SERVERS {
            let secret = get(&[NAMESPACE, "secret", &format!("{server}-tls")]).unwrap();
            let by = &secret["metadata"]["annotations"]["cert-manager.io/certificate-name"];
            assert_eq!(by, server, "cert-manager's");
        }
        let may = ["auth", "can-i", "update", "secrets", NAMESPACE];
        let controller = "--as=system:serviceaccount:recording-operator:recording-operator-controller";
        assert_eq!(kubectl(&[&may[..], &[controller]].concat()).text().trim(), "no");

        renewed_time_and_again(&mut served);
        delivers(&tenant, "handed-over");
        cert_manager.gives_back();
        delivers(&tenant, "given-back");
    });
    wait_given_to_sidecars(&tenant, &authority);
    assert_eq!(secret(AUTHORITY)["tls.crt"], authority, "it is the same CA all the time");
    // It is the controller's again to make what is missing.
    let lost = format!("{}-tls", SERVERS[0]);
    kubectl(&[NAMESPACE, "delete", "secret", &lost]).expect_ok();
    let made = || {
        let made = get(&[NAMESPACE, "secret", &lost])?;
        made["metadata"]["annotations"]["cert-manager.io/certificate-name"].is_null().then_some(())
    };
    wait_for("a certificate by the controller", String::new, made);
    assert_eq!(ready_since(&tenant), since);
}

#[test]
fn cert_manager_renews_certificates_and_ca_without_interruption() {
    environment_or_skip!();
    long_run_or_skip!();
    let tenant = Tenant::ready("renewed");
    tenant.start_recorder("former");
    let (cert_manager, before) = (CertManager::up(), certificates());
    let mut served = LogCount::by_servers();
    // Not under load: the CA is another one, which no client trusts beforehand.
    cert_manager.takes_over(&[]);
    wait_issued_after(&before);
    served.once_more();
    let authority = secret(OF_THE_CHART);
    wait_given_to_sidecars(&tenant, &authority["tls.crt"]);
    wait_trusted_by_the_api_server(&authority["tls.crt"]);
    tenant.shell("former", "echo former > /recordings/former.wav").expect_ok();

    under_load(&tenant, || {
        renewed_time_and_again(&mut served);

        let (before, mut known) = (certificates(), LogCount::by_sidecar(&tenant));
        renew(OF_THE_CHART);
        let another = || (secret(OF_THE_CHART)["tls.crt"] != authority["tls.crt"]).then_some(());
        wait_for("a CA that is renewed", described, another);
        wait_for("its end", described, settled);
        let renewed = secret(OF_THE_CHART);
        assert!(renewed["tls.key"] == authority["tls.key"], "it keeps its key");
        SERVERS.into_iter().for_each(renew);
        wait_issued_after(&before);
        served.once_more();
        known.once_more();
        wait_given_to_sidecars(&tenant, &renewed["tls.crt"]);
        wait_trusted_by_the_api_server(&renewed["tls.crt"]);
        delivers(&tenant, "renewed");
    });

    let before = certificates();
    cert_manager.gives_back();
    let written = || differ(&before).then_some(());
    wait_for("certificates by the controller", String::new, written);
    served.once_more();
    wait_given_to_sidecars(&tenant, &secret(AUTHORITY)["tls.crt"]);
    tenant.start_recorder("later");
    tenant.shell("later", "echo later > /recordings/later.wav").expect_ok();
    for key in ["former.wav", "later.wav"] {
        wait_for(key, || tenant.describe(), || tenant.object(key));
    }
}

/// By turns as `cmctl renew` asks for it, and by loss of the Secrets.
fn renewed_time_and_again(served: &mut LogCount) {
    for round in 0..ROUNDS {
        let before = certificates();
        if round % 2 == 0 {
            SERVERS.into_iter().for_each(renew);
        } else {
            let secrets = SERVERS.map(|server| format!("secret/{server}-tls"));
            kubectl(&[NAMESPACE, "delete", &secrets[0], &secrets[1]]).expect_ok();
        }
        wait_issued_after(&before);
        served.once_more();
    }
}

/// Has cert-manager reissue a Certificate.
fn renew(certificate: &str) {
    let condition =
        json!({"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by a test"});
    let patch = json!([{"op": "add", "path": "/status/conditions/-", "value": condition}]);
    let patch = format!("--patch={patch}");
    let certificate = format!("certificate.cert-manager.io/{certificate}");
    kubectl(&[NAMESPACE, "patch", &certificate, "--subresource=status", "--type=json", &patch]).expect_ok();
}

/// Those of webhook and broker; `None` where there is none.
fn certificates() -> [Option<Value>; 2] {
    SERVERS.map(|server| {
        let secret = get(&[NAMESPACE, "secret", &format!("{server}-tls")])?;
        Some(secret["data"]["tls.crt"].clone())
    })
}

fn differ(before: &[Option<Value>; 2]) -> bool {
    certificates().iter().zip(before).all(|(now, before)| now.is_some() && now != before)
}

/// Waits until cert-manager has issued others and is done with it.
#[track_caller]
fn wait_issued_after(before: &[Option<Value>; 2]) {
    let issued = || differ(before).then(settled).flatten();
    wait_for("certificates by cert-manager", described, issued);
}

/// Whether cert-manager has nothing left to do.
fn settled() -> Option<()> {
    let certificates = get(&[NAMESPACE, "certificates.cert-manager.io"])?;
    let certificates = certificates["items"].as_array()?;
    let is_settled = |certificate: &Value| match certificate["status"]["conditions"].as_array() {
        Some(conditions) => {
            conditions.len() == 1 && conditions[0]["type"] == "Ready" && conditions[0]["status"] == "True"
        }
        None => false,
    };
    (!certificates.is_empty() && certificates.iter().all(is_settled)).then_some(())
}

/// Waits until every replica of the webhook gives new sidecars that CA.
#[track_caller]
fn wait_given_to_sidecars(tenant: &Tenant, authority: &str) {
    let namespace = format!("--namespace={}", tenant.namespace);
    let pod = tenant.recorder("asked").to_string();
    let given = || {
        let create = ["create", &namespace, "--dry-run=server", "--output=json", "--filename=-"];
        let done = kubectl_with(&create, &pod);
        let pod: Value = done.ok.then(|| serde_json::from_slice(&done.stdout).unwrap())?;
        let containers = pod["spec"]["initContainers"].as_array()?;
        let mut variables = containers.iter().filter_map(|it| it["env"].as_array()).flatten();
        let authorities = variables.find(|it| it["name"] == "RECORDINGS_BROKER_CA")?["value"].clone();
        Some(authorities.as_str()?.to_owned())
    };
    // Whichever replica answers.
    let by_all = || (0..10).all(|_| given().is_some_and(|it| it.contains(authority.trim()))).then_some(());
    wait_for("sidecars that are given the CA", || format!("{:?}, not {authority}", given()), by_all);
}

/// Waits until the API server knows the webhook by that CA.
#[track_caller]
fn wait_trusted_by_the_api_server(authority: &str) {
    let trusted = || {
        let configuration = get(&["mutatingwebhookconfiguration", "recording-operator"])?;
        let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str()?.to_owned();
        String::from_utf8(STANDARD.decode(bundle).ok()?).ok()
    };
    let is_trusted = || trusted()?.contains(authority.trim()).then_some(());
    wait_for("the CA injector", || format!("{:?}, not {authority}", trusted()), is_trusted);
}

fn described() -> String {
    kubectl(&[NAMESPACE, "describe", "certificates,certificaterequests,issuers"]).text()
}
