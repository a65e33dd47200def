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

use crate::api::{
    CREDENTIALS_PATH, DESTINATION_PATH, DeliveryReport, DestinationDocument, REFUSED_KEY_HEADER, REPORT_PATH,
};
use crate::secret::SessionCredentials;
use crate::serve::{connector, with_causes};
use crate::uploader::broker::{Broker, BrokerReply};
use crate::uploader::spool::syscalls::replace;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for which the broker may hold a request until the destination changes.
const LONG_POLL: Duration = Duration::from_secs(15);
/// Bytes; more than any answer of the broker.
const LARGEST_ANSWER: usize = 1 << 20;
/// File in the state directory with the newest CA bundle that the broker sent.
const NEWER_CA: &str = "broker-ca.pem";

type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The broker behind a URL.
pub struct HttpsBroker {
    url: String,
    token: PathBuf,
    newer_ca: PathBuf,
    trusted: RefCell<Trusted>,
    /// Whether the trusted CA bundle outlives the container.
    is_kept: Cell<bool>,
    /// The last CA bundle that was not trusted.
    refused_ca: RefCell<String>,
    cached: RefCell<Option<CachedDestination>>,
}

/// The broker's last answer about the destination.
struct CachedDestination {
    etag: HeaderValue,
    document: DestinationDocument,
}

struct Trusted {
    ca: String,
    /// Of the CAs: a CA that is renewed with its key stays the same one.
    public_keys: Vec<Vec<u8>>,
    client: HttpsClient,
}

/// No certificate authority to know the broker by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no usable CA certificate in PEM form")]
pub struct NoCA;

impl HttpsBroker {
    /// The broker at `url`. It is authenticated by the newest CA bundle that it sent, kept in the directory `state`, else
    /// by `ca` (PEM).
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
            refused_ca: RefCell::default(),
            cached: RefCell::default(),
        })
    }

    /// Gets the destination. With an `etag` the broker holds the request until there is another version.
    async fn get_destination(&self, etag: Option<HeaderValue>) -> BrokerReply<Response<Bytes>> {
        let mut request = Request::get(format!("{}{DESTINATION_PATH}", self.url));
        let mut timeout = TIMEOUT;
        if let Some(etag) = etag {
            let prefer = format!("wait={}", LONG_POLL.as_secs());
            request = request.header(header::IF_NONE_MATCH, etag).header("prefer", prefer);
            timeout += LONG_POLL;
        }
        self.send(request, Bytes::new(), timeout).await
    }

    async fn send(
        &self,
        request: request::Builder,
        body: Bytes,
        timeout: Duration,
    ) -> BrokerReply<Response<Bytes>> {
        match tokio::time::timeout(timeout, self.try_send(request, body)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(why)) => BrokerReply::Unavailable(why),
            Err(_) => BrokerReply::Unavailable(format!("no answer within {} s", timeout.as_secs())),
        }
    }

    async fn try_send(
        &self,
        request: request::Builder,
        body: Bytes,
    ) -> Result<BrokerReply<Response<Bytes>>, String> {
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
                Ok(BrokerReply::Granted(Response::from_parts(head, body)))
            }
            StatusCode::FORBIDDEN => {
                let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
                let code = body.ok().and_then(|body| refused_role(&body.to_bytes()));
                Ok(code.map_or(BrokerReply::Refused, BrokerReply::RoleRefused))
            }
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => Ok(BrokerReply::Refused),
            status => Ok(BrokerReply::Unavailable(format!("it answered {status}"))),
        }
    }

    /// Trusts another CA bundle from now on, also after a restart of the container, if it has a key of the current one. That
    /// guards against accidents, such as a broker of another release or a wrong Secret: whoever has taken a broker over can
    /// send old and new together.
    fn trust(&self, ca: &str) {
        let is_new = self.trusted.borrow().ca != ca;
        if is_new {
            let trusted = match Trusted::new(ca.to_owned()) {
                Ok(trusted) if trusted.overlaps(&self.trusted.borrow()) => Ok(trusted),
                Ok(_) => Err("it has no CA of the current bundle, so it is not trusted: \
                    publish old and new CA together first"
                    .to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match trusted {
                Ok(trusted) => *self.trusted.borrow_mut() = trusted,
                Err(error) => {
                    // The broker sends it with every answer.
                    if self.refused_ca.replace(ca.to_owned()) != ca {
                        tracing::warn!(error, "the broker sent a CA bundle that cannot be used");
                    }
                    return;
                }
            }
        } else if self.is_kept.get() {
            return;
        }
        // Tried again until it succeeds: without it a restarted container might not know the broker.
        let kept = replace(&self.newer_ca, ca, Permissions::from_mode(0o600));
        self.is_kept.set(kept.is_ok());
        match kept {
            Ok(()) => tracing::info!("the broker has a new CA bundle"),
            Err(error) if is_new => {
                let path = self.newer_ca.display();
                tracing::warn!(%error, %path, "cannot keep the broker's new CA bundle over a restart yet");
            }
            Err(_) => {}
        }
    }
}

impl Broker for HttpsBroker {
    async fn destination(&self) -> BrokerReply<DestinationDocument> {
        // After a refusal the same destination is a change.
        let cached = self.cached.take();
        let etag = cached.as_ref().map(|cached| cached.etag.clone());
        let answer = match self.get_destination(etag).await {
            BrokerReply::Granted(answer) => answer,
            BrokerReply::Refused | BrokerReply::RoleRefused(_) => return BrokerReply::Refused,
            BrokerReply::Unavailable(why) => return BrokerReply::Unavailable(why),
        };
        let document = match (answer.status(), cached) {
            (StatusCode::NOT_MODIFIED, Some(cached)) => cached.document,
            _ => match serde_json::from_slice(answer.body()) {
                Ok(document) => document,
                Err(error) => {
                    return BrokerReply::Unavailable(format!("its answer is not a destination: {error}"));
                }
            },
        };
        self.trust(&document.ca_bundle);
        let etag = answer.headers().get(header::ETAG).cloned();
        *self.cached.borrow_mut() = etag.map(|etag| CachedDestination { etag, document: document.clone() });
        BrokerReply::Granted(document)
    }

    async fn credentials(&self, refused: Option<&str>) -> BrokerReply<SessionCredentials> {
        let mut request = Request::get(format!("{}{CREDENTIALS_PATH}", self.url));
        if let Some(refused) = refused {
            request = request.header(REFUSED_KEY_HEADER, refused);
        }
        match self.send(request, Bytes::new(), TIMEOUT).await {
            BrokerReply::Granted(answer) => match SessionCredentials::from_container_json(answer.body()) {
                Ok(credentials) => BrokerReply::Granted(credentials),
                Err(error) => BrokerReply::Unavailable(format!("its answer is {error}")),
            },
            BrokerReply::Refused => BrokerReply::Refused,
            BrokerReply::RoleRefused(code) => BrokerReply::RoleRefused(code),
            BrokerReply::Unavailable(why) => BrokerReply::Unavailable(why),
        }
    }

    async fn report(&self, report: &DeliveryReport) -> BrokerReply<()> {
        let body = serde_json::to_vec(report).expect("numbers and times serialize");
        let request = Request::post(format!("{}{REPORT_PATH}", self.url));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.send(request, body.into(), TIMEOUT).await.map(|_| ())
    }
}

/// Why there is no session of the role, if a refusal of the broker says that: AWS's code, or the broker's own reason where it
/// has no External ID to send. Any other refusal is the same for all.
fn refused_role(body: &[u8]) -> Option<&'static str> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    match body.get("code")?.as_str()? {
        "AssumeRoleDenied" => Some("AccessDenied"),
        "STSRegionDisabled" => Some("RegionDisabledException"),
        "ExternalIDUnusable" => Some("ExternalIDUnusable"),
        "ExternalIDNotProved" => Some("ExternalIDNotProved"),
        _ => None,
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
        let public_keys = roots.roots.iter().map(|root| root.subject_public_key_info.to_vec()).collect();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build(connector(roots));
        Ok(Trusted { ca, public_keys, client })
    }

    fn overlaps(&self, other: &Trusted) -> bool {
        self.public_keys.iter().any(|key| other.public_keys.contains(key))
    }
}
