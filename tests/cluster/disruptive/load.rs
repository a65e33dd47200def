//! Those who use broker and webhook without a pause, and what they got.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::json;

use crate::support::{Tenant, kubectl_with};

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

/// Does the work while the pod `recorder` asks for credentials and others are admitted, of which none may fail.
pub fn under_load(tenant: &Tenant, work: impl FnOnce()) {
    let mut pod = tenant.recorder("recorder");
    pod["metadata"]["annotations"]["recordings.revenue.io/credentials"] = json!("loopback");
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.push(json!({"name": "tmp", "mountPath": "/tmp"}));
    pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "tmp", "emptyDir": {}}));
    tenant.start(&pod);

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
        let worked = catch_unwind(AssertUnwindSafe(work));
        ended.store(true, SeqCst);
        tenant.shell("recorder", "touch /tmp/end").expect_ok();
        let counts = credentials.join().unwrap().expect_ok().text();
        let admissions = admissions.join();
        worked.and(admissions).unwrap_or_else(|panic| resume_unwind(panic));
        let (asked, failed) = counts.trim().split_once(' ').unwrap();
        println!("{asked} requests for credentials, {failed} failed; {} admissions", admitted.load(SeqCst));
        assert!(asked.parse::<u32>().unwrap() > 50 && admitted.load(SeqCst) > 20, "{counts}");
        assert_eq!(failed, "0", "of {asked}");
    });
}
