//! The broker over real TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;

use super::destination;
use super::steps::fail_next;
use crate::api::{DestinationDocument, REFUSED_KEY_HEADER};
use crate::serve::{Readiness, TlsDirectory, https};
use crate::uploader::broker::https::HttpsBroker;
use crate::uploader::broker::{Broker as _, BrokerReply};

/// What the server answers to the token `good`.
type Answer = Arc<Mutex<(StatusCode, String)>>;

struct Server {
    url: String,
    ca: String,
    answer: Answer,
    /// What the last request said of the version that it holds, and of waiting for another.
    held: Arc<Mutex<(Option<String>, Option<String>)>>,
    /// The session that the last request said AWS did not take.
    refused_key: Arc<Mutex<Option<String>>>,
    _directory: tempfile::TempDir,
}

/// A server whose certificate is its own CA.
async fn server() -> Server {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = made.cert.pem();
    server_with(&ca, &made.signing_key, ca.clone()).await
}

async fn server_with(certificate: &str, key: &rcgen::KeyPair, ca: String) -> Server {
    let directory = tempfile::tempdir().unwrap();
    for (name, pem) in [("tls.crt", certificate), ("tls.key", &key.serialize_pem()), ("ca.crt", &ca)] {
        fs::write(directory.path().join(name), pem).unwrap();
    }
    let answer = Answer::default();
    let answering = answer.clone();
    let held = Arc::<Mutex<(Option<String>, Option<String>)>>::default();
    let noting = held.clone();
    let refused_key = Arc::<Mutex<Option<String>>>::default();
    let noting_key = refused_key.clone();
    let app = axum::Router::new().fallback(async move |request: Request| {
        let header =
            |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if header("authorization").as_deref() != Some("Bearer good") {
            return (StatusCode::FORBIDDEN, String::new()).into_response();
        }
        let (status, body) = answering.lock().unwrap().clone();
        *noting_key.lock().unwrap() = header(REFUSED_KEY_HEADER);
        let tag = format!("\"{}\"", body.len());
        let held = (header("if-none-match"), header("prefer"));
        *noting.lock().unwrap() = held.clone();
        if held.0.as_ref() == Some(&tag) {
            return (StatusCode::NOT_MODIFIED, [("etag", tag)]).into_response();
        }
        (status, [("etag", tag)], body).into_response()
    });
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tls = TlsDirectory::new(directory.path());
    let listen = SocketAddr::from(([127, 0, 0, 1], free.port()));
    tokio::spawn(
        async move { https(listen, &tls, app, &Readiness::default(), std::future::pending()).await },
    );
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(listen).await.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Server {
        url: format!("https://localhost:{}", listen.port()),
        ca,
        answer,
        held,
        refused_key,
        _directory: directory,
    }
}

impl Server {
    fn tells(&self, status: StatusCode, body: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn tells_of_ca(&self, ca: &str) {
        let document = DestinationDocument { ca_bundle: ca.to_owned(), ..destination() };
        self.tells(StatusCode::OK, serde_json::to_string(&document).unwrap());
    }

    fn client(&self, ca: &str, state: &Path) -> HttpsBroker {
        HttpsBroker::new(&self.url, ca, state, state.join("token")).unwrap()
    }
}

fn state() -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join("token"), "good\n").unwrap();
    state
}

#[tokio::test]
async fn a_refusal_and_a_failure_are_not_the_same() {
    let (server, state) = (server().await, state());
    let client = server.client(&server.ca, state.path());
    server.tells_of_ca(&server.ca);
    assert!(
        matches!(client.destination().await, BrokerReply::Granted(document) if document.target == destination().target)
    );
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK] {
        server.tells(status, "{}");
        assert!(matches!(client.destination().await, BrokerReply::Unavailable(_)), "{status}");
        assert!(matches!(client.credentials(None).await, BrokerReply::Unavailable(_)), "{status}");
    }
    // The token is read for each request.
    fs::write(state.path().join("token"), "stale").unwrap();
    assert!(matches!(client.destination().await, BrokerReply::Refused));
    assert!(matches!(client.credentials(None).await, BrokerReply::Refused));
    fs::remove_file(state.path().join("token")).unwrap();
    assert!(matches!(client.credentials(None).await, BrokerReply::Unavailable(_)));
}

#[tokio::test]
async fn a_refusal_of_the_role_is_told_apart_and_no_other_is() {
    let (server, state) = (server().await, state());
    let client = server.client(&server.ca, state.path());
    for (body, expected) in [
        (r#"{"code":"AssumeRoleDenied","message":"m"}"#, Some("AccessDenied")),
        (r#"{"code":"STSRegionDisabled","message":"m"}"#, Some("RegionDisabledException")),
        (r#"{"code":"AccessDenied","message":"The request is refused."}"#, None),
        ("AssumeRoleDenied", None),
        ("", None),
    ] {
        server.tells(StatusCode::FORBIDDEN, body);
        let code = match client.credentials(None).await {
            BrokerReply::RoleRefused(code) => Some(code),
            BrokerReply::Refused => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(code, expected, "{body}");
        assert!(matches!(client.destination().await, BrokerReply::Refused), "{body}");
    }
}

#[tokio::test]
async fn the_session_that_aws_did_not_take_is_named_in_a_header() {
    let (server, state) = (server().await, state());
    let client = server.client(&server.ca, state.path());
    for refused in [Some("ASIAEXAMPLE"), None] {
        client.credentials(refused).await;
        assert_eq!(server.refused_key.lock().unwrap().as_deref(), refused);
    }
}

#[tokio::test]
async fn credentials_arrive_and_malformed_ones_are_not_shown() {
    let (server, state) = (server().await, state());
    let client = server.client(&server.ca, state.path());
    let document = r#"{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"s","Token":"t","Expiration":"2030-01-01T00:00:00Z"}"#;
    server.tells(StatusCode::OK, document);
    let told = client.credentials(None).await;
    assert!(matches!(told, BrokerReply::Granted(session) if session.access_key_id == "ASIAEXAMPLE"));
    server.tells(StatusCode::OK, r#"{"SecretAccessKey":"marker"}"#);
    let BrokerReply::Unavailable(why) = client.credentials(None).await else { panic!("malformed") };
    assert!(!why.contains("marker"), "{why}");
}

#[tokio::test]
async fn the_broker_tells_of_its_next_ca_and_the_sidecar_remembers_it_over_a_restart() {
    let (old, new, state) = (server().await, server().await, state());
    new.tells_of_ca(&new.ca);
    let stranger = new.client(&old.ca, state.path());
    assert!(
        matches!(stranger.destination().await, BrokerReply::Unavailable(_)),
        "trusted without being told"
    );

    let client = old.client(&old.ca, state.path());
    old.tells_of_ca("not a certificate");
    assert!(matches!(client.destination().await, BrokerReply::Granted(_)));
    old.tells_of_ca(&format!("{}{}", old.ca, new.ca));
    assert!(matches!(client.destination().await, BrokerReply::Granted(_)));
    assert!(matches!(client.destination().await, BrokerReply::Granted(_)), "the old one is still trusted");

    let restarted = new.client(&old.ca, state.path());
    assert!(matches!(restarted.destination().await, BrokerReply::Granted(_)));
    // The new bundle leaves the old CA out.
    let restarted = old.client(&old.ca, state.path());
    assert!(matches!(restarted.destination().await, BrokerReply::Unavailable(_)));
}

#[tokio::test]
async fn a_ca_bundle_is_trusted_only_with_a_ca_of_the_current_one() {
    let (old, new, state) = (server().await, server().await, state());
    let client = old.client(&old.ca, state.path());
    old.tells_of_ca(&new.ca);
    assert!(matches!(client.destination().await, BrokerReply::Granted(_)));
    assert!(matches!(client.destination().await, BrokerReply::Granted(_)), "the current one stays");
    assert!(!state.path().join("broker-ca.pem").exists(), "and stays over a restart");

    for bundle in [format!("{}{}", new.ca, old.ca), new.ca.clone()] {
        old.tells_of_ca(&bundle);
        assert!(matches!(client.destination().await, BrokerReply::Granted(_)));
        assert_eq!(fs::read_to_string(state.path().join("broker-ca.pem")).unwrap(), bundle);
    }
}

#[test]
fn the_ca_that_another_release_kept_is_still_trusted() {
    let state = state();
    let broker = || HttpsBroker::new("https://localhost", "none", state.path(), state.path().join("token"));
    assert!(broker().is_err(), "without a CA there is no broker");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/formats/0.2.0/broker-ca.pem");
    fs::copy(kept, state.path().join("broker-ca.pem")).unwrap();
    assert!(broker().is_ok());
}

#[tokio::test]
async fn a_ca_that_cannot_be_kept_is_trusted_and_kept_as_soon_as_possible() {
    for call in ["create a file", "write a file", "sync a file", "rename a file"] {
        let (old, new, state) = (server().await, server().await, state());
        let client = old.client(&old.ca, state.path());
        let restarted = || new.client(&old.ca, state.path());
        old.tells_of_ca(&format!("{}{}", old.ca, new.ca));
        new.tells_of_ca(&new.ca);
        fail_next(call, libc::ENOSPC);
        assert!(matches!(client.destination().await, BrokerReply::Granted(_)), "{call}");
        assert!(
            matches!(restarted().destination().await, BrokerReply::Unavailable(_)),
            "{call}: it was kept"
        );
        assert!(matches!(client.destination().await, BrokerReply::Granted(_)), "{call}");
        assert!(
            matches!(restarted().destination().await, BrokerReply::Granted(_)),
            "{call}: it was forgotten"
        );
    }
}

/// What the chart's cert-manager mode rests on: its CA is renewed with the key that it had.
#[tokio::test]
async fn a_ca_that_is_renewed_with_its_key_is_trusted_by_who_knows_it_from_before() {
    let authority = |key: &rcgen::KeyPair, until| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "CA");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        params.self_signed(key).unwrap().pem()
    };
    let key = || rcgen::KeyPair::generate().unwrap();
    let (kept, other, own, state) = (key(), key(), key(), state());
    let (before, renewed) = (authority(&kept, 2001), authority(&kept, 4000));
    let issuer = rcgen::Issuer::from_ca_cert_pem(&renewed, kept).unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let server = server_with(&params.signed_by(&own, &issuer).unwrap().pem(), &own, renewed).await;
    server.tells_of_ca(&server.ca);

    let stranger = server.client(&authority(&other, 4000), state.path());
    assert!(
        matches!(stranger.destination().await, BrokerReply::Unavailable(_)),
        "another key of the same name"
    );
    let client = server.client(&before, state.path());
    assert!(matches!(client.destination().await, BrokerReply::Granted(_)));
}

#[tokio::test]
async fn a_client_with_the_document_waits_for_a_change_unless_refused_before() {
    let (server, state) = (server().await, state());
    let client = server.client(&server.ca, state.path());
    let held = || server.held.lock().unwrap().clone();
    let bucket = async || match client.destination().await {
        BrokerReply::Granted(document) => document.target.bucket,
        other => panic!("{other:?}"),
    };
    server.tells_of_ca(&server.ca);
    let first = bucket().await;
    assert_eq!(held(), (None, None), "nothing to wait with");
    assert_eq!(bucket().await, first, "no news");
    assert!(held().0.is_some());
    assert_eq!(held().1.as_deref(), Some("wait=15"));

    let mut edited = DestinationDocument { ca_bundle: server.ca.clone(), ..destination() };
    edited.target.bucket = "quite-other-recordings".into();
    server.tells(StatusCode::OK, serde_json::to_string(&edited).unwrap());
    assert_eq!(bucket().await, "quite-other-recordings");

    fs::write(state.path().join("token"), "stale").unwrap();
    assert!(matches!(client.destination().await, BrokerReply::Refused));
    fs::write(state.path().join("token"), "good").unwrap();
    assert_eq!(bucket().await, "quite-other-recordings");
    assert_eq!(held(), (None, None), "or it would wait for news of what it was not to have");
}

/// A way to the server on which the first so many connections are closed at once. Its URL.
async fn way_that_closes(connections: usize, server: &Server) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = server.url.replace("https://localhost", "127.0.0.1");
    tokio::spawn(async move {
        for number in 0.. {
            let (mut near, _) = listener.accept().await.unwrap();
            if number < connections {
                continue;
            }
            let mut far = tokio::net::TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn a_connection_that_is_closed_by_chance_costs_no_answer() {
    let (server, state) = (server().await, state());
    server.tells_of_ca(&server.ca);
    for (closed, arrives) in [(0, true), (1, true), (2, false)] {
        let url = way_that_closes(closed, &server).await;
        let client = HttpsBroker::new(&url, &server.ca, state.path(), state.path().join("token")).unwrap();
        let told = client.destination().await;
        assert_eq!(matches!(told, BrokerReply::Granted(_)), arrives, "{closed} closed: {told:?}");
    }
}
