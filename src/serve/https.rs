//! HTTPS with a certificate that is replaced while it is in use.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;

use super::connections::{Admission, LARGEST_BUFFER};
use super::error::Error;
use super::health::Readiness;
use super::tls::{POLL, TlsDirectory, UnusableCertificate};

/// Open connections. An idle one takes some 40 KiB.
const CONNECTIONS: usize = 1000;

#[derive(Clone, Copy)]
struct Timeouts {
    /// For the handshake, and again for the first request.
    first_request: Duration,
    /// Between two requests.
    idle: Duration,
    /// For one request, with its body and the answer.
    request: Duration,
    /// For clients to connect to another replica, after SIGTERM.
    reconnect: Duration,
}

const TIMEOUTS: Timeouts = Timeouts {
    first_request: Duration::from_secs(10),
    // The API server's HTTP client, Go's, closes an idle connection after 90 s. If the server closed it first, a call just
    // sent on it would fail.
    idle: Duration::from_secs(120),
    request: Duration::from_secs(30),
    reconnect: Duration::from_secs(5),
};
/// Time for the requests in flight after that. With `reconnect` and the chart's preStop it fits into
/// terminationGracePeriodSeconds.
const DRAIN: Duration = Duration::from_secs(20);

/// Serves `app` over TLS until `shutdown` ends, then asks clients to reconnect elsewhere and finishes the requests in flight.
/// Waits for the certificate, which the controller may have to create first, and loads a new one within seconds.
pub async fn https(
    listen: SocketAddr,
    tls: &TlsDirectory,
    app: Router,
    readiness: &Readiness,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    serve(listen, tls, app, readiness, shutdown, TIMEOUTS).await
}

async fn serve(
    listen: SocketAddr,
    tls: &TlsDirectory,
    app: Router,
    readiness: &Readiness,
    shutdown: impl Future<Output = ()>,
    timeouts: Timeouts,
) -> Result<(), Error> {
    tokio::pin!(shutdown);
    let ready = readiness.part("certificate");
    let (certificate, config) = tokio::select! {
        first = first_certificate(tls) => first,
        () = &mut shutdown => return Ok(()),
    };
    let config = RustlsConfig::from_config(config);
    ready.done();

    let handle = Handle::new();
    let acceptor = RustlsAcceptor::new(config.clone())
        .handshake_timeout(timeouts.first_request)
        .acceptor(Admission::new(CONNECTIONS, timeouts.request));
    let mut server = axum_server::bind(listen)
        .handle(handle.clone())
        .acceptor(acceptor)
        .first_request_timeout(timeouts.first_request)
        .http1_only();
    server.http_builder().http1().header_read_timeout(timeouts.idle).max_buf_size(LARGEST_BUFFER);
    let draining = Arc::new(AtomicBool::new(false));
    let app = app
        .layer(middleware::from_fn(move |request, next| in_time(timeouts.request, request, next)))
        .layer(middleware::map_response_with_state(draining.clone(), close_while_draining));
    let serving = server.serve(app.into_make_service_with_connect_info::<SocketAddr>());
    tokio::pin!(serving);
    let reconnected = async {
        shutdown.await;
        draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(timeouts.reconnect).await;
    };
    tokio::select! {
        result = &mut serving => return result.map_err(|source| Error { listen: listen.to_string(), source }),
        never = follow(tls, certificate, &config) => match never {},
        () = reconnected => handle.graceful_shutdown(Some(DRAIN)),
    }
    serving.await.map_err(|source| Error { listen: listen.to_string(), source })
}

/// Waits for a usable certificate, and logs that at once and then every minute.
async fn first_certificate(tls: &TlsDirectory) -> (Vec<u8>, Arc<ServerConfig>) {
    let mut logged = None;
    loop {
        match load(tls).await {
            Ok(loaded) => return loaded,
            Err(error) if logged.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(60)) => {
                tracing::info!(%error, "waiting for the certificate, which the controller writes when it starts");
                logged = Some(Instant::now());
            }
            Err(_) => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn load(tls: &TlsDirectory) -> Result<(Vec<u8>, Arc<ServerConfig>), UnusableCertificate> {
    let certificate = tls.certificate().await?;
    let config = tls.server_config(&certificate).await?;
    Ok((certificate, config))
}

/// Loads new certificates. Contents are compared, because Kubernetes replaces links and not files.
async fn follow(tls: &TlsDirectory, mut served: Vec<u8>, config: &RustlsConfig) -> Infallible {
    let mut reported = false;
    loop {
        tokio::time::sleep(POLL).await;
        let changed = async {
            match tls.certificate().await? {
                certificate if certificate == served => Ok(None),
                _ => load(tls).await.map(Some),
            }
        };
        match changed.await {
            Ok(None) => reported = false,
            Ok(Some((certificate, new))) => {
                config.reload_from_config(new);
                served = certificate;
                tracing::info!("serving with a new certificate");
            }
            Err(error) if !reported => {
                tracing::warn!(%error, "reading the certificate failed; serving with the previous one");
                reported = true;
            }
            Err(_) => {}
        }
    }
}

/// Answers 408 to a client that sends its request too slowly, which ends the request.
async fn in_time(time: Duration, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(time, next.run(request)).await;
    answer.unwrap_or_else(|_| (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response())
}

/// Asks the client to close the connection with this answer. If the server closed it later, while it is idle, a request may just
/// have been sent on it: that request would fail, and the API server does not repeat calls to webhooks.
async fn close_while_draining(State(draining): State<Arc<AtomicBool>>, mut answer: Response) -> Response {
    if draining.load(Ordering::Relaxed) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::path::Path;

    use axum::routing::get;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use tokio::sync::oneshot;

    use super::*;

    const NAME: &str = "broker.test.svc";

    /// Writes a new self-signed certificate into the directory and returns it.
    fn write_certificate(directory: &Path) -> String {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        std::fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
        made.cert.pem()
    }

    /// A connection, trusting that certificate only.
    fn connect(
        address: SocketAddr,
        trusted: &str,
    ) -> io::Result<StreamOwned<ClientConnection, std::net::TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let client = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
        Ok(StreamOwned::new(client, std::net::TcpStream::connect(address)?))
    }

    /// One request on a connection of its own.
    fn ask(address: SocketAddr, trusted: &str, path: &str) -> io::Result<String> {
        let mut stream = connect(address, trusted)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.rsplit("\r\n").next().unwrap_or_default().to_owned())
    }

    /// Asks until the answer is the one expected.
    async fn until_answered(address: SocketAddr, trusted: &str) -> String {
        for _ in 0..100 {
            let trusted = trusted.to_owned();
            let asked = tokio::task::spawn_blocking(move || ask(address, &trusted, "/")).await.unwrap();
            if let Ok(answer) = asked {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no answer within ten seconds");
    }

    #[tokio::test]
    async fn it_waits_for_a_certificate_follows_it_and_finishes_what_was_asked() {
        let directory = tempfile::tempdir().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let app = Router::new().route("/", get(async || "served")).route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_secs(1)).await;
                "finished"
            }),
        );
        let readiness = Readiness::default();
        let tls = TlsDirectory::new(directory.path());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn({
            let readiness = readiness.clone();
            async move {
                let shutdown = async { drop(stopped.await) };
                let timeouts = Timeouts { reconnect: Duration::ZERO, ..TIMEOUTS };
                serve(free, &tls, app, &readiness, shutdown, timeouts).await
            }
        });

        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(std::net::TcpStream::connect(free).is_err(), "nothing to serve with yet");
        let first = write_certificate(directory.path());
        assert_eq!(until_answered(free, &first).await, "served");

        let second = write_certificate(directory.path());
        assert_eq!(until_answered(free, &second).await, "served");
        assert!(tokio::task::spawn_blocking(move || ask(free, &first, "/")).await.unwrap().is_err());

        let slow = tokio::task::spawn_blocking(move || ask(free, &second, "/slow"));
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.send(()).unwrap();
        assert_eq!(slow.await.unwrap().unwrap(), "finished");
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn after_sigterm_each_answer_asks_its_client_to_close_the_connection() {
        let directory = tempfile::tempdir().unwrap();
        let trusted = write_certificate(directory.path());
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let app = Router::new().route("/", get(async || "served"));
        let tls = TlsDirectory::new(directory.path());
        let (stop, stopped) = oneshot::channel::<()>();
        let timeouts = Timeouts { reconnect: Duration::from_secs(2), ..TIMEOUTS };
        let serving = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            serve(free, &tls, app, &Readiness::default(), shutdown, timeouts).await
        });
        until_answered(free, &trusted).await;

        // Two that were kept open, and one that comes while the server ends.
        let (told, telling) = oneshot::channel::<()>();
        let clients = tokio::task::spawn_blocking(move || {
            let ask = |stream: &mut StreamOwned<_, _>| {
                write!(stream, "GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").unwrap();
                let mut answer = [0; 1024];
                let length = stream.read(&mut answer).unwrap();
                String::from_utf8_lossy(&answer[..length]).into_owned()
            };
            let closes = |answer: &str| answer.to_lowercase().contains("\r\nconnection: close\r\n");
            let mut kept = [connect(free, &trusted).unwrap(), connect(free, &trusted).unwrap()];
            for stream in &mut kept {
                assert!(!closes(&ask(stream)), "while it serves");
            }
            told.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(500));
            let fresh = connect(free, &trusted).unwrap();
            for mut stream in kept.into_iter().chain([fresh]) {
                let answer = ask(&mut stream);
                assert!(answer.starts_with("HTTP/1.1 200") && closes(&answer), "{answer}");
                assert_eq!(stream.read(&mut [0; 16]).unwrap_or_default(), 0, "and then it is closed");
            }
        });
        telling.await.unwrap();
        stop.send(()).unwrap();
        clients.await.unwrap();
        serving.await.unwrap().unwrap();
        assert!(std::net::TcpStream::connect(free).is_err(), "ended");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn slow_or_oversized_clients_are_cut_off_and_delay_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let trusted = write_certificate(directory.path());
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let app = Router::new()
            .route("/", get(async || "served").post(async |body: String| format!("read {}", body.len())));
        let tls = TlsDirectory::new(directory.path());
        let time = Duration::from_secs(1);
        let timeouts = Timeouts { first_request: time, idle: 2 * time, request: time, ..TIMEOUTS };
        tokio::spawn(async move {
            serve(free, &tls, app, &Readiness::default(), std::future::pending(), timeouts).await
        });
        until_answered(free, &trusted).await;

        let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n";
        let headers = |number| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(number));
        let header = |bytes| format!("GET / HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", "b".repeat(bytes));
        let too_much = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n";
        // What each sends at once, what it then sends byte by byte, and how its answer begins.
        let clients = [
            ("a body in time", format!("{post}body"), "", "HTTP/1.1 200"),
            ("a slow body", post.to_owned(), "bod", "HTTP/1.1 408"),
            ("no request", String::new(), "", ""),
            ("a slow head", String::new(), "GET / HTTP/1.1", ""),
            ("many headers", headers(90), "", "HTTP/1.1 200"),
            ("too many headers", headers(101), "", too_much),
            ("a large header", header(LARGEST_BUFFER / 2), "", "HTTP/1.1 200"),
            ("too large a header", header(2 * LARGEST_BUFFER), "", too_much),
            // 20,000 refusals of 100 bytes and more: far beyond what the sockets hold.
            (
                "answers that nobody reads",
                "GET /none HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000),
                "",
                "HTTP/1.1 404",
            ),
            ("no second request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "", "HTTP/1.1 200"),
        ];
        let asked = clients.map(|(what, at_once, slowly, expected)| {
            let trusted = trusted.clone();
            tokio::task::spawn_blocking(move || {
                let mut stream = connect(free, &trusted).unwrap();
                let mut answer = Vec::new();
                let mut talk = || {
                    stream.write_all(at_once.as_bytes())?;
                    for byte in slowly.bytes() {
                        std::thread::sleep(Duration::from_millis(400));
                        stream.write_all(&[byte])?;
                    }
                    // To its end: the server closes the connection.
                    stream.read_to_end(&mut answer)
                };
                _ = talk();
                _ = stream.read_to_end(&mut answer);
                let answer = String::from_utf8_lossy(&answer).into_owned();
                assert!(
                    answer.starts_with(expected) && answer.is_empty() == expected.is_empty(),
                    "{what}: {answer}"
                );
            })
        });
        for _ in 0..5 {
            let trusted = trusted.clone();
            let other = tokio::task::spawn_blocking(move || ask(free, &trusted, "/"));
            assert_eq!(other.await.unwrap().unwrap(), "served");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for asked in asked {
            asked.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_key_of_another_certificate_is_no_certificate_to_serve_with() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_certificate(ours.path());
        write_certificate(other.path());
        let tls = TlsDirectory::new(ours.path());
        assert!(load(&tls).await.is_ok());
        std::fs::copy(other.path().join("tls.key"), ours.path().join("tls.key")).unwrap();
        let refused = load(&tls).await.unwrap_err().to_string();
        assert!(refused.contains("do not serve together"), "{refused}");
    }
}
