//! Health over a Unix socket within the pod, and the probe that asks it from within the container. Whoever floods the pod's
//! ports from the network cannot make a probe fail.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::error::Error;
use super::health::Readiness;

/// Time for the whole probe: less than the kubelet waits for it.
const TIMEOUT: Duration = Duration::from_secs(8);
const LARGEST_ANSWER: u64 = 4096;

/// What a probe asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The process runs.
    Alive,
    /// The process serves.
    Ready,
}

/// A probe failed.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    #[error("{socket}: {source}; the process does not run, or has not started to serve")]
    NoAnswer { socket: String, source: io::Error },
    #[error("{0}")]
    NotReady(String),
}

/// Answers probes on a socket, if there is to be one, for as long as it is polled. A socket that an earlier process left
/// there is replaced.
pub async fn probes(socket: Option<&Path>, readiness: Readiness) -> Result<(), Error> {
    let Some(socket) = socket else { return std::future::pending().await };
    let served = async {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let server = axum_server::from_unix(UnixListener::bind(socket)?)?.http1_only();
        server.serve(readiness.routes().into_make_service()).await
    };
    served.await.map_err(|source| Error { listen: socket.display().to_string(), source })
}

/// Asks the process that serves the socket.
pub fn probe(socket: &Path, asked: Probe) -> Result<(), Unhealthy> {
    let answer = ask(socket, asked);
    let answer =
        answer.map_err(|source| Unhealthy::NoAnswer { socket: socket.display().to_string(), source })?;
    match answer.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(Unhealthy::NotReady(answer.rsplit("\r\n").next().unwrap_or_default().trim().to_owned())),
    }
}

fn ask(socket: &Path, asked: Probe) -> io::Result<String> {
    let path = match asked {
        Probe::Alive => "/healthz",
        Probe::Ready => "/readyz",
    };
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LARGEST_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(socket: &Path, asked: Probe) -> Result<(), String> {
        let socket = socket.to_owned();
        let probed = tokio::task::spawn_blocking(move || probe(&socket, asked)).await.unwrap();
        probed.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_probe_asks_over_a_socket_and_a_restart_replaces_it() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("probe.sock");
        assert!(ask(&socket, Probe::Alive).await.unwrap_err().contains("does not run"));
        for _ in 0..2 {
            let readiness = Readiness::default();
            let part = readiness.part("destinations");
            let serving = tokio::spawn({
                let socket = socket.clone();
                async move { probes(Some(&socket), readiness).await }
            });
            while ask(&socket, Probe::Alive).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(ask(&socket, Probe::Ready).await, Err("waiting for destinations".to_owned()));
            part.done();
            assert_eq!(ask(&socket, Probe::Ready).await, Ok(()));
            serving.abort();
            _ = serving.await;
            assert!(socket.exists() && ask(&socket, Probe::Alive).await.is_err(), "as after a kill");
        }
    }
}
