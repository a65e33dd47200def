//! A client of one replica of the broker, connected from the pods' network.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use base64::Engine as _;
use jiff::Timestamp;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::support::{Tenant, get, kubectl, repository, wait_for};

const BROKER: &str = "recording-operator-broker.recording-operator.svc";
/// The cluster's network: dev/cluster/sandbox.py.
const NETWORK: &str = "/run/netns/recording-operator-dev";

const NAMESPACE: &str = "--namespace=recording-operator";

pub struct BrokerClient {
    pod: String,
    address: IpAddr,
    tls: Arc<ClientConfig>,
}

impl BrokerClient {
    pub fn open() -> Self {
        wait_for("a broker", String::new, || BrokerClient::all().into_iter().next())
    }

    /// A client of whichever replica the node's rules for the Service lead to.
    pub fn through_the_service() -> Self {
        let service = get(&[NAMESPACE, "service", "recording-operator-broker"]).unwrap();
        let address = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
        BrokerClient { pod: String::new(), address, tls: Arc::new(trusting().with_no_client_auth()) }
    }

    /// A client of each Ready replica.
    pub fn all() -> Vec<Self> {
        let selector = "--selector=app.kubernetes.io/component=broker";
        let pods = get(&[NAMESPACE, "pods", selector]).unwrap_or_default();
        let lives = |pod: &&Value| {
            pod["metadata"]["deletionTimestamp"].is_null()
                && pod["status"]["containerStatuses"][0]["ready"] == true
        };
        let tls = Arc::new(trusting().with_no_client_auth());
        let to = |pod: &Value| {
            let address = pod["status"]["podIP"].as_str()?.parse().ok()?;
            let pod = pod["metadata"]["name"].as_str()?.to_owned();
            Some(BrokerClient { pod, address, tls: tls.clone() })
        };
        pods["items"].as_array().into_iter().flatten().filter(lives).filter_map(to).collect()
    }

    /// The same with a client certificate of the cluster.
    pub fn with_certificate(&self, name: &str) -> Self {
        let pki = repository().join("target/dev/run/pki");
        let certificate = CertificateDer::from_pem_file(pki.join(format!("{name}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(pki.join(format!("{name}.key"))).unwrap();
        let tls = Arc::new(trusting().with_client_auth_cert(vec![certificate], key).unwrap());
        BrokerClient { pod: self.pod.clone(), address: self.address, tls }
    }

    /// A connection whose request is up to the test.
    pub fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let client = ClientConnection::new(self.tls.clone(), BROKER.try_into().unwrap()).unwrap();
        StreamOwned::new(client, connect_inside(self.address, 8443))
    }

    /// What a request with these header lines gets, but for the date.
    pub fn ask(&self, request: &str, headers: &[String]) -> String {
        let mut stream = self.connect();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        write!(stream, "{request} HTTP/1.1\r\nHost: {BROKER}\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        // Some ends of a connection are not announced.
        _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        answer.split_inclusive("\r\n").filter(|line| !line.to_lowercase().starts_with("date:")).collect()
    }

    pub fn credentials(&self, token: &str) -> String {
        self.ask("GET /v1/credentials", &[format!("Authorization: Bearer {token}")])
    }

    /// Causes and namespaces of what the replica refused since then, as its log has them. Of who is not known there is no
    /// namespace.
    pub fn refusals(&self, since: Timestamp) -> Vec<(String, String)> {
        let since = format!("--since-time={since}");
        let log = kubectl(&[NAMESPACE, "logs", &self.pod, &since]).expect_ok().text();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
        lines
            .filter(|line| line["message"] == "request refused")
            .map(|line| (text(&line, "denial"), text(&line, "namespace")))
            .collect()
    }

    /// The replica's count of requests that ended so.
    pub fn counted(&self, result: &str) -> u64 {
        let mut stream = connect_inside(self.address, 8080);
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let name = format!("recording_operator_broker_requests_total{{result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }
}

/// Trusts the broker's CA and nothing else.
pub fn trusting() -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let secret = get(&[NAMESPACE, "secret", "recording-operator-broker-tls"]).unwrap();
    let ca = secret["data"]["ca.crt"].as_str().unwrap();
    let ca = base64::engine::general_purpose::STANDARD.decode(ca).unwrap();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&ca) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    tls.with_root_certificates(roots)
}

/// A connection in the cluster's network, which the socket keeps though only one thread goes there to make it.
pub fn connect_inside(host: IpAddr, port: u16) -> TcpStream {
    inside(move || TcpStream::connect((host, port)).unwrap())
}

/// Does work in a thread that is in the cluster's network.
pub fn inside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = std::thread::spawn(move || {
        let network = File::open(NETWORK).unwrap();
        // SAFETY: an open descriptor; the thread ends with this.
        assert_eq!(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
        work()
    });
    done.join().unwrap()
}

impl Tenant {
    /// A token of the namespace's service account `name`.
    pub fn token(&self, name: &str, options: &[&str]) -> String {
        self.kubectl(&[&["create", "token", name], options].concat()).expect_ok().text().trim().to_owned()
    }

    /// A token such as the kubelet projects into the pod.
    pub fn pod_token(&self, service_account: &str, pod: &str) -> String {
        let uid = self.get(&["pod", pod]).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        let bound = [
            "--audience=recordings.revenue.io".to_owned(),
            "--bound-object-kind=Pod".to_owned(),
            format!("--bound-object-name={pod}"),
            format!("--bound-object-uid={uid}"),
        ];
        self.token(service_account, &bound.each_ref().map(String::as_str))
    }
}
