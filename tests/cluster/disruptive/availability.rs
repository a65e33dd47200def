//! What changes of the operator's own pods cost those who use it.

use std::time::Duration;

use super::NAMESPACE;
use super::load::under_load;
use crate::environment_or_skip;
use crate::support::{Tenant, kubectl};

#[test]
fn while_broker_and_webhook_are_replaced_no_request_for_credentials_and_no_admission_fails() {
    environment_or_skip!();
    let tenant = Tenant::ready("rolled");
    let deployments = ["deployment/recording-operator-broker", "deployment/recording-operator-webhook"];
    under_load(&tenant, || {
        kubectl(&[&[NAMESPACE, "rollout", "restart"][..], &deployments].concat()).expect_ok();
        for deployment in deployments {
            kubectl(&[NAMESPACE, "rollout", "status", "--timeout=180s", deployment]).expect_ok();
        }
        // The old pods are still on their way out.
        std::thread::sleep(Duration::from_secs(10));
    });
}
