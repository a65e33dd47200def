//! The operator's own HTTPS server with nothing behind it but /healthz: what `python3 -m dev.bench tenants` compares the
//! answers of broker and webhook with.

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::routing::any;
use recording_operator::serve::{self, Readiness, TlsDirectory};
use recording_operator::telemetry;

/// Takes the address to listen on, and the directory of the certificate.
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(directory)) = (arguments.next(), arguments.next()) else {
        eprintln!("healthz ADDRESS DIRECTORY");
        return ExitCode::FAILURE;
    };
    let listen: SocketAddr = listen.parse().expect("the first argument is an address with its port");
    let app = Router::new().route("/healthz", any(async || "ok\n"));
    let serve = async {
        serve::https(listen, &TlsDirectory::new(directory), app, &Readiness::default(), telemetry::shutdown())
            .await
    };
    telemetry::run("healthz", serve)
}
