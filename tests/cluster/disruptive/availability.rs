//! What changes of the operator's own pods cost those who use it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::json;

use super::NAMESPACE;
use crate::environment_or_skip;
use crate::support::{Tenant, kubectl, kubectl_with};

/// In a pod whose sidecar offers credentials: asks for them until told to end, and counts.
const ASK: &str = r#"
    cd /tmp; asked=0; failed=0; rm -f end
    while [ ! -e end ]; do
        header="Authorization: $(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")"
        wget -q -O /dev/null --header "$header" "$AWS_CONTAINER_CREDENTIALS_FULL_URI" || failed=$((failed + 1))
        asked=$((asked + 1))
        sleep 0.05
    done
    echo "$asked $failed"
"#;

#[test]
fn while_broker_and_webhook_are_replaced_no_request_for_credentials_and_no_admission_fails() {
    environment_or_skip!();
    let tenant = Tenant::ready("rolled");
    let mut pod = tenant.recorder("recorder");
    pod["metadata"]["annotations"]["recordings.revenue.io/credentials"] = json!("loopback");
    pod["spec"]["containers"][0]["volumeMounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "tmp", "mountPath": "/tmp"}));
    pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "tmp", "emptyDir": {}}));
    tenant.apply(&pod).expect_ok();
    tenant.kubectl(&["wait", "--for=condition=Ready", "--timeout=90s", "pod/recorder"]).expect_ok();

    let (ended, admitted) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let credentials = scope.spawn(|| tenant.shell("recorder", ASK));
        let admissions = scope.spawn(|| {
            let namespace = format!("--namespace={}", tenant.namespace);
            let another = tenant.recorder("another").to_string();
            while !ended.load(SeqCst) {
                kubectl_with(&["create", &namespace, "--dry-run=server", "--filename=-"], &another)
                    .expect_ok();
                admitted.fetch_add(1, SeqCst);
            }
        });
        std::thread::sleep(Duration::from_secs(2));
        let deployments = ["deployment/recording-operator-broker", "deployment/recording-operator-webhook"];
        let rolled = std::panic::catch_unwind(|| {
            kubectl(&[&[NAMESPACE, "rollout", "restart"][..], &deployments].concat()).expect_ok();
            for deployment in deployments {
                kubectl(&[NAMESPACE, "rollout", "status", "--timeout=180s", deployment]).expect_ok();
            }
            // The old pods are still on their way out.
            std::thread::sleep(Duration::from_secs(10));
        });
        ended.store(true, SeqCst);
        tenant.shell("recorder", "touch /tmp/end").expect_ok();
        let counts = credentials.join().unwrap().expect_ok().text();
        admissions.join().unwrap();
        assert!(rolled.is_ok());
        let (asked, failed) = counts.trim().split_once(' ').unwrap();
        println!("{asked} requests for credentials, {failed} failed; {} admissions", admitted.load(SeqCst));
        assert!(asked.parse::<u32>().unwrap() > 50 && admitted.load(SeqCst) > 20, "{counts}");
        assert_eq!(failed, "0", "of {asked}");
    });
}
