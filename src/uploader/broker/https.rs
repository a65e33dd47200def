//! The operator's broker, over HTTPS, with this pod's token.

use std::cell::{Cell, RefCell};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::http::request;
use hyper::{Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::uploader::storage::{Broker, Told};
use crate::uploader::spool::syscalls::replace;
use crate::api::{CREDENTIALS_PATH, DESTINATION_PATH, DeliveryReport, DestinationDocument, REPORT_PATH};
use crate::secret::SessionCredentials;
use crate::serve::{connector, with_causes};

/// Time for one request and its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time that the broker may let a question wait until there is news.
const WAIT: Duration = Duration::from_secs(15);
/// More than any answer of the broker's, in bytes.
const LARGEST_ANSWER: usize = 1 << 20;
/// In the state directory: the CA certificates that the broker said to trust from then on.
const NEWER_CA: &str = "broker-ca.pem";

type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The broker behind a URL.
pub struct HttpsBroker {
    url: String,
    token: PathBuf,
    newer_ca: PathBuf,
    trusted: RefCell<Trusted>,
    /// Whether what is trusted outlives the container.
    is_kept: Cell<bool>,
    held: RefCell<Option<Held>>,
}

/// What the broker said last of the destination.
struct Held {
    tag: HeaderValue,
    document: DestinationDocument,
}

struct Trusted {
    ca: String,
    client: HttpsClient,
}

/// No certificate authority to know the broker by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no usable CA certificate in PEM form")]
pub struct NoCA;

impl HttpsBroker {
    /// The broker at `url`. It is known by the CA it told of last, kept in the directory `state`, else by `ca` (PEM).
    pub fn new(url: &str, ca: &str, state: &Path, token: PathBuf) -> Result<Self, NoCA> {
        let newer_ca = state.join(NEWER_CA);
        let newer = std::fs::read_to_string(&newer_ca).ok().and_then(|ca| Trusted::new(ca).ok());
        let trusted = match newer {
            Some(newer) => newer,
            None => Trusted::new(ca.to_owned())?,
        };
        Ok(HttpsBroker {
            url: url.trim_end_matches('/').to_owned(),
            token,
            newer_ca,
            trusted: RefCell::new(trusted),
            is_kept: Cell::new(true),
            held: RefCell::default(),
        })
    }

    /// Asks for what is at `path`, the version of that `tag` being known.
    async fn get(&self, path: &str, tag: Option<HeaderValue>) -> Told<Response<Bytes>> {
        let mut request = Request::get(format!("{}{path}", self.url));
        let mut timeout = TIMEOUT;
        if let Some(tag) = tag {
            let prefer = format!("wait={}", WAIT.as_secs());
            request = request.header(header::IF_NONE_MATCH, tag).header("prefer", prefer);
            timeout += WAIT;
        }
        self.send(request, Bytes::new(), timeout).await
    }

    async fn send(&self, request: request::Builder, body: Bytes, timeout: Duration) -> Told<Response<Bytes>> {
        match tokio::time::timeout(timeout, self.try_send(request, body)).await {
            Ok(Ok(told)) => told,
            Ok(Err(why)) => Told::Unavailable(why),
            Err(_) => Told::Unavailable(format!("no answer within {} s", timeout.as_secs())),
        }
    }

    async fn try_send(
        &self,
        request: request::Builder,
        body: Bytes,
    ) -> Result<Told<Response<Bytes>>, String> {
        // Read for each request: the kubelet replaces it.
        let token = tokio::fs::read_to_string(&self.token).await.map(SecretString::from);
        let token = token.map_err(|error| format!("the pod's token {}: {error}", self.token.display()))?;
        let bearer = SecretString::from(format!("Bearer {}", token.expose_secret().trim()));
        let mut bearer = HeaderValue::from_str(bearer.expose_secret())
            .map_err(|_| format!("the pod's token {} is not a token", self.token.display()))?;
        bearer.set_sensitive(true);
        let request = request.header(header::AUTHORIZATION, bearer);
        let request = request.body(Full::new(body)).map_err(|error| format!("{}: {error}", self.url))?;
        let client = self.trusted.borrow().client.clone();
        // Once more where the connection failed: a broker that is being replaced closes those that it kept open.
        let response = match client.request(request.clone()).await {
            Err(_) => client.request(request).await,
            answered => answered,
        };
        let response = response.map_err(|error| with_causes(&error))?;
        match response.status() {
            StatusCode::OK | StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT => {
                let (head, body) = response.into_parts();
                let body = Limited::new(body, LARGEST_ANSWER).collect().await;
                let body = body.map_err(|_| "the answer broke off".to_owned())?.to_bytes();
                Ok(Told::Granted(Response::from_parts(head, body)))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(Told::Refused),
            status => Ok(Told::Unavailable(format!("it answered {status}"))),
        }
    }

    /// Trusts other CA certificates from now on, also after a restart of the container.
    fn trust(&self, ca: &str) {
        let are_news = self.trusted.borrow().ca != ca;
        if are_news {
            match Trusted::new(ca.to_owned()) {
                Ok(trusted) => *self.trusted.borrow_mut() = trusted,
                Err(error) => {
                    return tracing::warn!(%error, "The broker told of a CA bundle that cannot be used");
                }
            }
        } else if self.is_kept.get() {
            return;
        }
        // Again and again if need be: without it a restarted container might not know the broker.
        let kept = replace(&self.newer_ca, ca, Permissions::from_mode(0o600));
        self.is_kept.set(kept.is_ok());
        match kept {
            Ok(()) => tracing::info!("The broker has other CA certificates"),
            Err(error) if are_news => {
                let path = self.newer_ca.display();
                tracing::warn!(%error, %path, "The broker's newer CA certificates cannot be kept over a restart yet");
            }
            Err(_) => {}
        }
    }
}

impl Broker for HttpsBroker {
    async fn destination(&self) -> Told<DestinationDocument> {
        // What was held before a refusal is news after it, though it is the same.
        let held = self.held.take();
        let answer = match self.get(DESTINATION_PATH, held.as_ref().map(|held| held.tag.clone())).await {
            Told::Granted(answer) => answer,
            Told::Refused => return Told::Refused,
            Told::Unavailable(why) => return Told::Unavailable(why),
        };
        let document = match (answer.status(), held) {
            (StatusCode::NOT_MODIFIED, Some(held)) => held.document,
            _ => match serde_json::from_slice(answer.body()) {
                Ok(document) => document,
                Err(error) => {
                    return Told::Unavailable(format!("its answer is not a destination: {error}"));
                }
            },
        };
        self.trust(&document.ca_bundle);
        let tag = answer.headers().get(header::ETAG).cloned();
        *self.held.borrow_mut() = tag.map(|tag| Held { tag, document: document.clone() });
        Told::Granted(document)
    }

    async fn credentials(&self) -> Told<SessionCredentials> {
        match self.get(CREDENTIALS_PATH, None).await {
            Told::Granted(answer) => match SessionCredentials::from_container_json(answer.body()) {
                Ok(credentials) => Told::Granted(credentials),
                Err(error) => Told::Unavailable(format!("its answer is {error}")),
            },
            Told::Refused => Told::Refused,
            Told::Unavailable(why) => Told::Unavailable(why),
        }
    }

    async fn report(&self, report: &DeliveryReport) -> Told<()> {
        let body = serde_json::to_vec(report).expect("numbers and times serialize");
        let request = Request::post(format!("{}{REPORT_PATH}", self.url));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.send(request, body.into(), TIMEOUT).await.map(|_| ())
    }
}

impl Trusted {
    fn new(ca: String) -> Result<Self, NoCA> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.map_err(|_| NoCA)?).map_err(|_| NoCA)?;
        }
        if roots.is_empty() {
            return Err(NoCA);
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build(connector(roots));
        Ok(Trusted { ca, client })
    }
}
