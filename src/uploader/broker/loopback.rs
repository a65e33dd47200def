//! The credentials listener on loopback: stock AWS SDKs in the pod's other containers get the session of the pod.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::api::{CREDENTIALS_PATH, UPLOADER_CREDENTIALS_PORT, UPLOADER_CREDENTIALS_TOKEN_PATH};
use crate::uploader::broker::{Broker, BrokerReply};
use crate::uploader::spool::syscalls::replace;

/// Callers that wait at the same time. SDKs ask every quarter of an hour or so.
const WAITING: usize = 64;
/// Time for a connection's first request, and between its requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// The credentials document, or a status and a sentence.
type Reply = Result<SecretString, (StatusCode, &'static str)>;

/// Open, but not yet answering.
pub struct Listener {
    server: axum_server::Server<SocketAddr>,
    routes: Router,
    asked: mpsc::Receiver<oneshot::Sender<Reply>>,
}

/// The listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CannotListen {
    /// The port is taken.
    #[error(
        "port {UPLOADER_CREDENTIALS_PORT} on loopback, where the pod's containers ask for credentials: {0}; no other container of the pod may use it"
    )]
    Port(io::Error),
    /// The token could not be written.
    #[error("the token for the pod's containers, {path}: {error}")]
    Token {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
}

#[derive(Clone)]
struct LoopbackState {
    token: Arc<[u8; 32]>,
    ask: mpsc::Sender<oneshot::Sender<Reply>>,
}

impl Listener {
    /// Opens it if the pod has the directory in which its containers find the token: the webhook mounts it where the
    /// pod's annotation asks for it. When this returns, callers are held until [`Listener::answer`].
    pub fn open() -> Result<Option<Self>, CannotListen> {
        let path = Path::new(UPLOADER_CREDENTIALS_TOKEN_PATH);
        if !path.parent().is_some_and(Path::is_dir) {
            return Ok(None);
        }
        Self::at((Ipv4Addr::LOCALHOST, UPLOADER_CREDENTIALS_PORT).into(), path).map(Some)
    }

    fn at(address: SocketAddr, path: &Path) -> Result<Self, CannotListen> {
        let socket = TcpListener::bind(address).map_err(CannotListen::Port)?;
        let mut server = axum_server::from_tcp(socket).map_err(CannotListen::Port)?.http1_only();
        server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT).max_buf_size(16 * 1024);
        // A new one at each start: SDKs read the file whenever they ask.
        let token = SecretString::from(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let written = replace(path, token.expose_secret(), Permissions::from_mode(0o644));
        written.map_err(|error| CannotListen::Token { path: path.to_owned(), error })?;
        let (ask, asked) = mpsc::channel(WAITING);
        let state = LoopbackState { token: Arc::new(Sha256::digest(token.expose_secret()).into()), ask };
        let routes = Router::new().route(CREDENTIALS_PATH, get(credentials)).with_state(state);
        Ok(Listener { server, routes, asked })
    }

    /// Passes on the broker's answer of that moment. All callers that wait share one answer.
    pub async fn answer<B: Broker>(self, broker: &B) -> io::Result<Infallible> {
        let Listener { server, routes, mut asked } = self;
        let answers = async {
            while let Some(first) = asked.recv().await {
                let reply =
                    reply(broker.credentials(None).await.map(|session| session.to_container_json(None)));
                _ = first.send(reply.clone());
                while let Ok(other) = asked.try_recv() {
                    _ = other.send(reply.clone());
                }
            }
        };
        tokio::select! {
            served = server.serve(routes.into_make_service()) => served?,
            () = answers => {}
        }
        Err(io::Error::other("the credentials listener ended"))
    }
}

fn reply(reply: BrokerReply<SecretString>) -> Reply {
    match reply {
        BrokerReply::Granted(document) => Ok(document),
        BrokerReply::Refused | BrokerReply::RoleRefused(_) => Err((
            StatusCode::FORBIDDEN,
            "There are no credentials for this pod now: its destination is not Ready, or is not for this pod. kubectl \
             describe recordingdestination says why.",
        )),
        BrokerReply::Unavailable(_) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, "The operator's broker cannot be reached. Try again."))
        }
    }
}

async fn credentials(State(state): State<LoopbackState>, request: HeaderMap) -> Response {
    let shown = request.get(AUTHORIZATION).map(|value| value.as_bytes().trim_ascii()).unwrap_or_default();
    // Compared by hash, so that the time it takes reveals nothing of the token.
    if <[u8; 32]>::from(Sha256::digest(shown)) != *state.token {
        let problem =
            "The Authorization header is not the content of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE.";
        return respond(Err((StatusCode::UNAUTHORIZED, problem)));
    }
    let (reply, answer) = oneshot::channel();
    let full = Err((StatusCode::SERVICE_UNAVAILABLE, "Too many requests are waiting. Try again."));
    match state.ask.try_send(reply) {
        Ok(()) => respond(answer.await.unwrap_or(full)),
        Err(_) => respond(full),
    }
}

/// An error has the fields that SDKs show to their users.
fn respond(reply: Reply) -> Response {
    let (status, body) = match reply {
        Ok(document) => (StatusCode::OK, document.expose_secret().to_owned()),
        Err((status, message)) => {
            let code = status.canonical_reason().unwrap_or_default();
            (status, serde_json::json!({"code": code, "message": message}).to_string())
        }
    };
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DeliveryReport, DestinationDocument};
    use crate::secret::SessionCredentials;

    struct FixedReply(fn() -> BrokerReply<SessionCredentials>);

    impl Broker for FixedReply {
        async fn destination(&self) -> BrokerReply<DestinationDocument> {
            BrokerReply::Refused
        }
        async fn credentials(&self, _: Option<&str>) -> BrokerReply<SessionCredentials> {
            (self.0)()
        }
        async fn report(&self, _: &DeliveryReport) -> BrokerReply<()> {
            BrokerReply::Refused
        }
    }

    fn session() -> BrokerReply<SessionCredentials> {
        BrokerReply::Granted(SessionCredentials {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: "secret".into(),
            session_token: "token".into(),
            expiration: "2030-01-01T00:00:00Z".parse().unwrap(),
        })
    }

    /// Asks over a real socket; the answer whole, as text. `{TOKEN}` in the request stands for the content of the file.
    async fn ask(broker: FixedReply, request: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = Listener::at(free, &path).unwrap();
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o777,
            0o644,
            "for containers of any user"
        );
        let request = request.replace("{TOKEN}", &std::fs::read_to_string(&path).unwrap());
        let asked = async {
            let mut stream = tokio::net::TcpStream::connect(free).await.unwrap();
            stream
                .write_all(format!("{request}Host: x\r\nConnection: close\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::select! {
            ended = listener.answer(&broker) => panic!("{ended:?}"),
            answer = asked => answer,
        }
    }

    #[tokio::test]
    async fn who_shows_the_token_gets_what_the_broker_gives_and_others_get_nothing() {
        let granted =
            ask(FixedReply(session), "GET /v1/credentials HTTP/1.1\r\nAuthorization: {TOKEN}\r\n").await;
        assert!(granted.starts_with("HTTP/1.1 200") && granted.contains("ASIAEXAMPLE"), "{granted}");
        for refused in [
            "GET /v1/credentials HTTP/1.1\r\n",
            "GET /v1/credentials HTTP/1.1\r\nAuthorization: \r\n",
            "GET /v1/credentials HTTP/1.1\r\nAuthorization: {TOKEN}x\r\n",
            "GET /v1/credentials HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n",
            "GET /v1/credentials HTTP/1.1\r\nX-Authorization: {TOKEN}\r\n",
        ] {
            let answer = ask(FixedReply(session), refused).await;
            assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("ASIA"), "{refused}: {answer}");
        }
        for (request, status) in [
            ("POST /v1/credentials HTTP/1.1\r\nAuthorization: {TOKEN}\r\n", "405"),
            ("GET /v1/destination HTTP/1.1\r\nAuthorization: {TOKEN}\r\n", "404"),
        ] {
            let answer = ask(FixedReply(session), request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        }
    }

    #[tokio::test]
    async fn what_the_broker_does_not_give_is_told_apart_from_a_broker_that_is_away() {
        let asked = "GET /v1/credentials HTTP/1.1\r\nAuthorization: {TOKEN}\r\n";
        let refused = ask(FixedReply(|| BrokerReply::Refused), asked).await;
        assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("not Ready"), "{refused}");
        let away = ask(FixedReply(|| BrokerReply::Unavailable("why".into())), asked).await;
        assert!(away.starts_with("HTTP/1.1 503") && away.contains("Try again"), "{away}");
    }
}
