//! New certificates and new CAs for webhook and broker, while both are in use.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, Issuer, KeyPair};
use serde_json::{Value, json};

use super::load::under_load;
use super::{NAMESPACE, Stopped};
use crate::environment_or_skip;
use crate::support::{Tenant, get, is_long, kubectl, wait_for};

pub const AUTHORITY: &str = "recording-operator-webhook-ca";
pub const SERVERS: [&str; 2] = ["recording-operator-webhook", "recording-operator-broker"];
const SERVER_PODS: &str = "--selector=app.kubernetes.io/component in (webhook,broker)";

#[test]
fn certificates_and_ca_are_replaced_under_load_without_a_failure() {
    environment_or_skip!();
    let rounds = if is_long() { 50 } else { 5 };
    let tenant = Tenant::ready("rotated");
    under_load(&tenant, || {
        let (mut served, mut count) = (LogCount::by_servers(), LogCount::by_sidecar(&tenant));
        for round in 1..=rounds {
            let successor = authority_made(8);
            let stopped = Stopped::controller();
            let mut authority = secret(AUTHORITY);
            for server in SERVERS {
                write(&format!("{server}-tls"), &server_made(&authority, server, 61));
            }
            served.once_more();
            let before = certificates();
            let bundle = format!("{}{}", authority["ca.crt"], successor["tls.crt"]);
            authority.insert("ca.crt".into(), bundle);
            write(AUTHORITY, &authority);
            drop(stopped);
            wait_for("certificates in time before the old ones end", none, || all_differ(&before));
            served.once_more();
            // Who knows the new CA before it signs needs no other way to learn of it.
            count.once_more();

            let before = certificates();
            let stopped = Stopped::controller();
            authority = secret(AUTHORITY);
            authority.insert("next.crt".into(), successor["tls.crt"].clone());
            authority.insert("next.key".into(), successor["tls.key"].clone());
            write(AUTHORITY, &authority);
            drop(stopped);
            wait_for("certificates by the new CA", none, || all_differ(&before));
            assert_eq!(secret(AUTHORITY)["tls.crt"], successor["tls.crt"]);
            served.once_more();

            let fresh = format!("recorder-{round}");
            tenant.start_recorder(&fresh);
            let key = format!("{round}.wav");
            tenant.shell(&fresh, &format!("echo {round} > /recordings/{key}")).expect_ok();
            wait_for("a recording under the new CA", || tenant.describe(), || tenant.object(&key));
            tenant.kubectl(&["delete", "pod", &fresh, "--wait=false"]).expect_ok();
        }
        // The broker to which the sidecar is connected ends, so it must trust the newest CA to go on.
        let broker = "deployment/recording-operator-broker";
        kubectl(&[NAMESPACE, "rollout", "restart", broker]).expect_ok();
        kubectl(&[NAMESPACE, "rollout", "status", "--timeout=180s", broker]).expect_ok();
        tenant.shell("recorder", "echo last > /recordings/last.wav").expect_ok();
        wait_for("a recording of the first sidecar", || tenant.describe(), || tenant.object("last.wav"));
    });
    forget_former_authorities();
}

/// How often a line was logged, by each process that should log it.
pub struct LogCount {
    line: &'static str,
    logs: Box<dyn Fn() -> Vec<String>>,
    expected: Vec<usize>,
}

impl LogCount {
    fn new(line: &'static str, logs: impl Fn() -> Vec<String> + 'static) -> Self {
        let mut count = LogCount { line, logs: Box::new(logs), expected: vec![] };
        count.expected = count.counts();
        count
    }

    /// Webhook and broker, of a certificate that they took up.
    pub fn by_servers() -> Self {
        let pods = || {
            let pods = get(&[NAMESPACE, "pods", SERVER_PODS]).unwrap();
            let names = pods["items"].as_array().unwrap().iter().map(|pod| &pod["metadata"]["name"]);
            names.map(|name| format!("pod/{}", name.as_str().unwrap())).collect::<Vec<_>>()
        };
        // Those of a rollout before may still be ending.
        let pods =
            wait_for("two pods each", || format!("{:?}", pods()), || Some(pods()).filter(|it| it.len() == 4));
        let logs = move || pods.iter().map(|pod| kubectl(&[NAMESPACE, "logs", pod]).text()).collect();
        LogCount::new("serving with a new certificate", logs)
    }

    /// The sidecar of the recorder, of CAs that it trusts.
    pub fn by_sidecar(tenant: &Tenant) -> Self {
        let namespace = format!("--namespace={}", tenant.namespace);
        let logs =
            move || vec![kubectl(&[&namespace, "logs", "recorder", "--container=recording-uploader"]).text()];
        LogCount::new("The broker has other CA certificates", logs)
    }

    fn counts(&self) -> Vec<usize> {
        (self.logs)().iter().map(|log| log.matches(self.line).count()).collect()
    }

    /// Waits until each has said it once more.
    pub fn once_more(&mut self) {
        sync();
        let said = || {
            let counts = self.counts();
            counts.iter().zip(&self.expected).all(|(said, before)| said > before).then_some(counts)
        };
        let described = || format!("{:?} after {:?}", self.counts(), self.expected);
        self.expected = wait_for(self.line, described, said);
    }
}

/// Has the kubelet update the Secrets of webhook and broker, as it does when a pod changes; its own interval may take a
/// minute or more.
fn sync() {
    let now = format!("test/synced={}", Timestamp::now().as_millisecond());
    kubectl(&[NAMESPACE, "annotate", "pods", SERVER_PODS, "--overwrite", &now]).expect_ok();
}

/// The texts of a Secret. Nothing shows them.
pub fn secret(name: &str) -> BTreeMap<String, String> {
    let secret = get(&[NAMESPACE, "secret", name]).expect("the Secret is there");
    let text = |value: &Value| String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
    secret["data"].as_object().unwrap().iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

pub fn write(name: &str, texts: &BTreeMap<String, String>) {
    let patch = json!({"stringData": texts}).to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, patch).unwrap();
    let file = format!("--patch-file={}", file.path().display());
    kubectl(&[NAMESPACE, "patch", "secret", name, "--type=merge", &file]).expect_ok();
}

fn certificates() -> [String; 2] {
    SERVERS.map(|server| secret(&format!("{server}-tls")).remove("tls.crt").unwrap())
}

fn all_differ(before: &[String; 2]) -> Option<()> {
    certificates().iter().zip(before).all(|(now, before)| now != before).then_some(())
}

fn none() -> String {
    "others".into()
}

fn day(from_now: i64) -> (i32, u8, u8) {
    let date = (Timestamp::now() + SignedDuration::from_hours(24 * from_now))
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    (date.year().into(), date.month() as u8, date.day() as u8)
}

fn params(age: i64, life: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let ((year, month, from), (last_year, last_month, until)) = (day(-age), day(life - age));
    params.not_before = rcgen::date_time_ymd(year, month, from);
    params.not_after = rcgen::date_time_ymd(last_year, last_month, until);
    params
}

/// A CA that was made so many days ago.
fn authority_made(days: i64) -> BTreeMap<String, String> {
    let mut params = params(days, 3650);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let name = format!("recording-operator CA {}", Timestamp::now().as_millisecond());
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    keyed(params.self_signed(&key).unwrap(), &key)
}

/// A server's certificate by that CA, made so many days ago, for ninety.
pub fn server_made(
    authority: &BTreeMap<String, String>,
    server: &str,
    days: i64,
) -> BTreeMap<String, String> {
    let signer = KeyPair::from_pem(&authority["tls.key"]).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority["tls.crt"], signer).unwrap();
    let mut params = params(days, 90);
    for suffix in ["", ".recording-operator.svc", ".recording-operator.svc.cluster.local"] {
        let name = format!("{server}{suffix}");
        params.subject_alt_names.push(rcgen::SanType::DnsName(name.try_into().unwrap()));
    }
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    keyed(params.signed_by(&key, &issuer).unwrap(), &key)
}

fn keyed(certificate: rcgen::Certificate, key: &KeyPair) -> BTreeMap<String, String> {
    BTreeMap::from([("tls.crt".into(), certificate.pem()), ("tls.key".into(), key.serialize_pem())])
}

/// Nothing is signed by them any longer.
fn forget_former_authorities() {
    let mut authority = secret(AUTHORITY);
    authority.insert("ca.crt".into(), authority["tls.crt"].clone());
    write(AUTHORITY, &authority);
    super::restart_controller();
}
