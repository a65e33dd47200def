mod floods;
mod https;

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::https::{TIMEOUTS, Timeouts, load, pods_within, serve};
use super::roster::Limits;
use super::*;

const LIMITS: Limits = Limits { strangers: 1000, answered: 0, api_servers: 1000, pods: 1000 };
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
    Ok(StreamOwned::new(client(trusted), std::net::TcpStream::connect(address)?))
}

fn client(trusted: &str) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
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
