//! Who gets credentials from the broker: real tokens, before the real API server. One way in, and every way beside it.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::broker_client::BrokerClient;
use crate::environment_or_skip;
use crate::support::{Tenant, repository, wait_for};

/// After a revocation new credentials are issued for no longer than this, while the API server answers.
const REVOKED_WITHIN: Duration = Duration::from_secs(60);

impl Tenant {
    fn end(&self, pod: &str) {
        self.kubectl(&["delete", "pod", pod, "--grace-period=1"]).expect_ok();
    }
}

/// A token with other claims, under the signature that it had.
fn edited(token: &str, edit: impl FnOnce(&mut Value)) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let mut claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    edit(&mut claims);
    [parts[0], &URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2]].join(".")
}

/// The same under the signature that the API server would give it.
fn signed(token: &str) -> String {
    let key = repository().join("target/dev/run/pki/service-account.key");
    let key = any_ecdsa_type(&PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
    let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
    let (claims, _) = token.rsplit_once('.').unwrap();
    // Two numbers in ASN.1; a token has them side by side, in 32 bytes each (RFC 7518, section 3.4).
    let der = signer.sign(claims.as_bytes()).unwrap();
    let (first, second) = der[4..].split_at(der[3].into());
    let mut signature = [0; 64];
    for (number, place) in [first, &second[2..]].into_iter().zip(signature.chunks_mut(32)) {
        let number = &number[number.len().saturating_sub(32)..];
        place[32 - number.len()..].copy_from_slice(number);
    }
    format!("{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn only_the_token_of_a_live_injected_pod_is_accepted() {
    environment_or_skip!();
    let (broker, began) = (BrokerClient::open(), Timestamp::now());
    let tenant = Tenant::ready("broker");
    tenant.start_recorder("recorder");
    tenant.start_recorder("leaver");
    let granted = |token: &str, what: &str| {
        let answer = broker.credentials(token);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("AccessKeyId"), "{what}: refused");
    };
    let good = tenant.pod_token("default", "recorder");
    granted(&good, "the pod's own token");
    let refusal = broker.ask("GET /v1/credentials", &[]);
    assert!(refusal.starts_with("HTTP/1.1 403"), "{refusal}");
    // What the log must say, in order; the answers do not.
    let causes = RefCell::new(vec![("no token".to_owned(), "NoToken")]);
    let is_refused = |answer: &str, what: &str, cause: &'static str| {
        assert!(answer == refusal, "{what}: {}", answer.split(' ').nth(1).unwrap_or_default());
        causes.borrow_mut().push((what.to_owned(), cause));
    };
    let refused = |token: &str, what: &str, cause| is_refused(&broker.credentials(token), what, cause);

    // Tokens.
    let own = ["--audience=recordings.revenue.io"];
    refused(&tenant.token("default", &own), "bound to no pod", "NotBoundToAPod");
    refused(&tenant.token("default", &[]), "the API server's audience", "WrongAudience");
    let elsewhere = ["--audience=sts.amazonaws.com"];
    refused(&tenant.token("default", &elsewhere), "another audience", "WrongAudience");
    let uid = tenant.get(&["pod", "recorder"]).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let elsewhere =
        ["--bound-object-kind=Pod", "--bound-object-name=recorder", &format!("--bound-object-uid={uid}")];
    refused(&tenant.token("default", &elsewhere), "the pod's, for the API server", "WrongAudience");
    let secret = ["--bound-object-kind=Secret", "--bound-object-name=acme-external-id"];
    let bound = tenant.token("default", &[&own[..], &secret[..]].concat());
    refused(&bound, "bound to a Secret", "NotBoundToAPod");
    let node = tenant.get(&["pod", "recorder"]).unwrap()["spec"]["nodeName"].as_str().unwrap().to_owned();
    let node = ["--bound-object-kind=Node", &format!("--bound-object-name={node}")];
    let bound = tenant.token("default", &[&own[..], &node[..]].concat());
    refused(&bound, "bound to the pod's node", "NotBoundToAPod");
    let kubelet = broker.with_certificate("kubelet");
    is_refused(&kubelet.ask("GET /v1/credentials", &[]), "the node's certificate", "NoToken");

    // The API server's own, but for what it says.
    granted(&signed(&good), "signed once more");
    let ended = |seconds: i64| {
        signed(&edited(&good, |claims| claims["exp"] = json!(Timestamp::now().as_second() - seconds)))
    };
    // The API server gives a minute, we five, as our clock may be wrong.
    refused(&ended(120), "expired, by the API server's clock", "NotAuthenticated");
    refused(&ended(600), "expired, by any clock", "Expired");
    let issuer = edited(&good, |claims| claims["iss"] = json!("https://elsewhere.example"));
    refused(&signed(&issuer), "another cluster's", "NotAuthenticated");
    let of = |pod: &str| edited(&good, |claims| claims["kubernetes.io"]["pod"]["name"] = json!(pod));
    refused(&of("leaver"), "a forged claim", "NotAuthenticated");
    refused(&signed(&of("leaver")), "another pod's name", "NotAuthenticated");
    let (claims, signature) = good.rsplit_once('.').unwrap();
    let forged =
        format!("{claims}.{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]);
    refused(&forged, "a forged signature", "NotAuthenticated");
    refused(claims, "no signature", "NotAJWT");
    refused("", "an empty token", "MalformedToken");
    let bearer = format!("Authorization: Bearer {good}");
    for (what, cause, request, headers) in [
        ("two tokens", "SeveralTokens", "GET /v1/credentials", vec![bearer.clone(); 2]),
        (
            "not a bearer token",
            "MalformedToken",
            "GET /v1/credentials",
            vec![format!("Authorization: Basic {good}")],
        ),
        ("the token in another header", "NoToken", "GET /v1/credentials", vec![format!("X-{bearer}")]),
        ("the token in the path", "NoToken", &format!("GET /v1/credentials?token={good}"), vec![]),
        ("another path", "UnknownRequest", "GET /v1/credentials/", vec![bearer.clone()]),
        ("another pod's path", "UnknownRequest", "GET /v1/credentials/other", vec![bearer.clone()]),
        (
            "another method",
            "UnknownRequest",
            "POST /v1/credentials",
            vec![bearer.clone(), "Content-Length: 0".into()],
        ),
        ("metrics", "UnknownRequest", "GET /metrics", vec![bearer.clone()]),
    ] {
        is_refused(&broker.ask(request, &headers), what, cause);
    }

    // Pods.
    let mut plain = tenant.recorder("plain");
    plain["metadata"]["labels"] = json!({});
    tenant.start(&plain);
    let what = "a pod of the same service account, not injected";
    refused(&tenant.pod_token("default", "plain"), what, "NotInjected");
    let mut done = tenant.recorder("done");
    done["spec"]["restartPolicy"] = json!("Never");
    done["spec"]["containers"][0]["command"] = json!(["true"]);
    tenant.apply(&done).expect_ok();
    let finished = || (tenant.get(&["pod", "done"])?["status"]["phase"] == "Succeeded").then_some(());
    wait_for("a pod that has ended", || tenant.describe(), finished);
    refused(&tenant.pod_token("default", "done"), "a pod that has ended", "PodFinished");

    // What the broker has just let in, and must not any longer within a minute.
    let now_refused = |token: &str, since: Instant, what: &str, cause| {
        let answered = || Some(broker.credentials(token)).filter(|answer| *answer == refusal);
        is_refused(&wait_for(what, || tenant.describe(), answered), what, cause);
        assert!(since.elapsed() < REVOKED_WITHIN, "{what}: after {:?}", since.elapsed());
    };
    let left = tenant.pod_token("default", "leaver");
    granted(&good, "until the pod ends");
    granted(&left, "until the pod ends");
    for pod in ["recorder", "leaver"] {
        tenant.end(pod);
    }
    let ended = Instant::now();
    tenant.start_recorder("recorder");
    now_refused(&left, ended, "a deleted pod", "NotAuthenticated");
    now_refused(&good, ended, "a pod created anew under the same name", "NotAuthenticated");
    granted(&tenant.pod_token("default", "recorder"), "the new pod");

    // Destinations.
    tenant.kubectl(&["create", "serviceaccount", "recorder"]).expect_ok();
    tenant.apply_destination("acme", json!({"serviceAccountNames": ["recorder"]}));
    tenant.wait_ready("acme");
    let what = "a service account that the destination does not name";
    refused(&tenant.pod_token("default", "recorder"), what, "ServiceAccountNotAllowed");
    let mut named = tenant.recorder("named");
    named["spec"]["serviceAccountName"] = json!("recorder");
    tenant.start(&named);
    let token = tenant.pod_token("recorder", "named");
    granted(&token, "one that it names");
    tenant.apply_destination("acme", json!({"serviceAccountNames": ["recorder"], "suspend": true}));
    now_refused(&token, Instant::now(), "suspension", "DestinationSuspended");
    tenant.apply_destination("acme", json!({"serviceAccountNames": ["recorder"]}));
    tenant.wait_ready("acme");
    granted(&token, "resumed");
    tenant.customer(&["trust-open"]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");
    now_refused(&token, Instant::now(), "a role that lets anybody in", "DestinationNotReady");
    tenant.customer(&["trust-closed", "--external-id", &tenant.external_id]).expect_ok();
    tenant.revalidate("acme");
    tenant.wait_ready("acme");
    granted(&token, "as before");
    tenant.kubectl(&["delete", "recordingdestination", "acme"]).expect_ok();
    now_refused(&token, Instant::now(), "a destination that is gone", "DestinationNotFound");

    let refusals = broker.refusals(began);
    let ours =
        refusals.iter().filter(|(_, namespace)| namespace.is_empty() || *namespace == tenant.namespace);
    let mut said = ours.map(|(cause, _)| cause);
    for (what, cause) in causes.take() {
        assert!(said.any(|said| said == cause), "{what}: the log does not say {cause}: {refusals:?}");
    }
}

#[test]
fn a_pod_never_gets_another_namespaces_destination_of_the_same_name() {
    environment_or_skip!();
    let broker = BrokerClient::open();
    let (rich, poor) = (Tenant::ready("rich"), Tenant::new("poor"));
    rich.start_recorder("recorder");
    // Here `acme` exists, and is not Ready: there is no Secret.
    poor.apply_destination("acme", json!({}));
    poor.start_recorder("recorder");
    let answer = broker.credentials(&poor.pod_token("default", "recorder"));
    assert!(answer.starts_with("HTTP/1.1 403"), "it was let in");
    let answer = broker.credentials(&rich.pod_token("default", "recorder"));
    assert!(
        answer.contains(&rich.role_arn().split(':').nth(4).unwrap().to_owned()),
        "the account of its own role"
    );
    // The later claim to a role and its External ID.
    let thief = Tenant::new("thief");
    thief.apply_secret(&rich.external_id);
    thief.apply_destination("acme", json!({"bucket": rich.bucket, "roleARN": rich.role_arn()}));
    thief.wait_reason("acme", "False", "DestinationConflict");
    thief.start_recorder("recorder");
    let answer = broker.credentials(&thief.pod_token("default", "recorder"));
    assert!(answer.starts_with("HTTP/1.1 403"), "it was let in");
    let document = broker.ask(
        "GET /v1/destination",
        &[format!("Authorization: Bearer {}", poor.pod_token("default", "recorder"))],
    );
    assert!(document.contains(&poor.bucket) && !document.contains(&rich.bucket), "{document}");
}
