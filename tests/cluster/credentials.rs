//! Credentials for AWS SDKs in the pod's other containers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::{Done, Tenant, dev, get, wait_for};

/// Clients in five languages, each of which puts one object.
struct Clients(Value);

impl Clients {
    fn built() -> Self {
        let text = dev("dev.sdks", &[], "").expect_ok().text();
        Clients(serde_json::from_str(text.lines().last().unwrap()).unwrap())
    }

    /// A recorder pod in which they can run: the interpreters and libraries are this machine's.
    fn pod(&self, tenant: &Tenant) -> Value {
        let mut pod = tenant.recorder("recorder");
        pod["metadata"]["annotations"]["recordings.revenue.io/credentials"] = json!("loopback");
        for (number, path) in self.0["paths"].as_array().unwrap().iter().enumerate() {
            let name = format!("host-{number}");
            let mount = json!({"name": name, "mountPath": path, "readOnly": true});
            pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(mount);
            let volume = json!({"name": name, "hostPath": {"path": path}});
            pod["spec"]["volumes"].as_array_mut().unwrap().push(volume);
        }
        // What a pod on AWS would not need to say.
        let broker =
            get(&["--namespace=recording-operator", "deployment", "recording-operator-broker"]).unwrap();
        let arguments = broker["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        let endpoint = arguments
            .iter()
            .find_map(|argument| argument.as_str()?.strip_prefix("--aws-endpoint-url="))
            .unwrap();
        let mut variables =
            BTreeMap::from([("AWS_REGION", json!("us-east-1")), ("AWS_ENDPOINT_URL", json!(endpoint))]);
        // The stand-in's certificate is by the CA that every namespace is told of.
        let ca = json!({"name": "ca", "mountPath": "/ca"});
        pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(ca);
        let ca = json!({"name": "ca", "configMap": {"name": "kube-root-ca.crt"}});
        pod["spec"]["volumes"].as_array_mut().unwrap().push(ca);
        for name in ["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            variables.insert(name, json!("/ca/ca.crt"));
        }
        let own = self.0["environment"].as_object().unwrap();
        variables.extend(own.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let variables = variables.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
        pod["spec"]["containers"][0]["env"] = variables.collect();
        pod
    }

    fn names(&self) -> Vec<&str> {
        self.0["commands"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn put(&self, tenant: &Tenant, client: &str, key: &str) -> Done {
        let command = self.0["commands"][client].as_array().unwrap().iter().map(|argument| {
            argument.as_str().unwrap().replace("{bucket}", &tenant.bucket).replace("{key}", key)
        });
        let command: Vec<_> = command.collect();
        let mut arguments = vec!["exec", "recorder", "--container=recorder", "--"];
        arguments.extend(command.iter().map(String::as_str));
        tenant.kubectl(&arguments)
    }
}

#[test]
fn stock_sdks_use_the_pods_session_until_its_destination_is_suspended() {
    environment_or_skip!();
    let clients = Clients::built();
    let tenant = Tenant::new("sdk");
    tenant.apply_secret(&tenant.external_id);
    tenant.apply_destination("acme", json!({"prefix": "calls/"}));
    tenant.wait_ready("acme");
    tenant.start(&clients.pod(&tenant));
    assert_eq!(clients.names(), ["Go", "JavaScript", "Rust", "aws CLI", "boto3"]);
    for client in clients.names() {
        let key = format!("calls/by-{}", client.replace(' ', "-"));
        clients.put(&tenant, client, &key).expect_ok();
        assert!(tenant.object(&key).is_some(), "{client}");
        // The session is bounded as the sidecar's is.
        let outside = clients.put(&tenant, client, "elsewhere/object");
        let said = format!("{}{}", outside.text(), outside.stderr);
        assert!(!outside.ok && said.contains("AccessDenied"), "{client}: {said}");
    }
    // The token is what lets a container in.
    let url = "http://127.0.0.1:19096/v1/credentials";
    let ask = |header: &str| tenant.shell("recorder", &format!("wget -q -O - {header} {url} >/dev/null"));
    assert!(ask("--header \"Authorization: $(cat $AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)\"").ok);
    assert!(!ask("").ok && !ask("--header 'Authorization: wrong'").ok);

    tenant.apply_destination("acme", json!({"prefix": "calls/", "suspend": true}));
    for client in clients.names() {
        let refused = || {
            let put = clients.put(&tenant, client, "calls/suspended");
            (!put.ok).then(|| format!("{}{}", put.text(), put.stderr))
        };
        let said = wait_for(&format!("{client} without credentials"), || tenant.describe(), refused);
        assert!(!said.contains("panicked"), "{client}: {said}");
    }
    assert_eq!(tenant.object("calls/suspended"), None);
}

#[test]
fn a_pod_that_does_not_ask_for_credentials_offers_none() {
    environment_or_skip!();
    let tenant = Tenant::ready("nosdk");
    tenant.start_recorder("recorder");
    let said =
        tenant.shell("recorder", "env; wget -q -O - http://127.0.0.1:19096/v1/credentials; ls /var/run");
    assert!(
        !said.text().contains("AWS_") && !said.text().contains("recordings.revenue.io"),
        "{}",
        said.text()
    );
    // The same question where the port is served, as a sign that it could have been answered.
    assert!(tenant.shell("recorder", "wget -q -O - http://127.0.0.1:19095/healthz").ok);
}
