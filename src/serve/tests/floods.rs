//! Floods from many addresses: all of 127.0.0.0/8 is ours.

use std::task::{Context, Waker};
use std::time::Instant;

use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::super::connections::{Admission, Counted};
use super::*;
use crate::telemetry::Metrics;

async fn connect_from(source: usize, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 1, (source / 250) as u8, (source % 250 + 1) as u8], 0).into())?;
    tokio::time::timeout(Duration::from_secs(5), socket.connect(address)).await?
}

/// Serves until the test ends: `/` for anybody, and `/pod`, which a pod's token would open.
async fn served() -> (SocketAddr, String, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write_certificate(directory.path());
    let address = free_address();
    let app = Router::new().route("/", get(async || "served")).route(
        "/pod",
        get(async |caller: Caller| {
            caller.is_pod("calls", "recorder");
            "served"
        }),
    );
    let tls = TlsDirectory::new(directory.path());
    tokio::spawn(async move {
        let configured = (TIMEOUTS, LIMITS);
        serve(address, &tls, app, &Readiness::default(), std::future::pending(), configured).await
    });
    until_answered(address, &trusted).await;
    (address, trusted, directory)
}

/// A pod that keeps its connection; for each message it makes a request and returns how long that took.
fn pod(address: SocketAddr, trusted: &str) -> impl FnMut() -> Duration + Send + use<> {
    let mut stream = connect(address, trusted).unwrap();
    move || {
        let began = Instant::now();
        write!(stream, "GET /pod HTTP/1.1\r\nHost: {NAME}\r\n\r\n").unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).ends_with("served"));
        began.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_a_scrape_outlast_a_flood_of_new_ones_and_of_other_scrapes() {
    let admission =
        Admission::new(Limits { strangers: 4, answered: 4, api_servers: 0, pods: 0 }, TIMEOUTS.request);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut flood = Vec::new();
    let mut connected = async |source| {
        flood.push(connect_from(source, address).await.unwrap());
        admission.count(listener.accept().await.unwrap().0).unwrap()
    };
    let scrape = connected(0).await;
    let answering = scrape.caller().is_answered();
    let mut others = Vec::new();
    for source in 1..50 {
        let other = connected(source).await;
        others.push((other.caller().is_answered(), other));
        others.push((connected(source).await.caller().is_answered(), connected(source).await));
    }
    let is_open = |counted: &Counted| {
        let ending = counted.ending();
        ending.check(&Context::from_waker(Waker::noop())).is_ok()
    };
    assert!(is_open(&scrape));
    drop(answering);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for source in 100..110 {
        others.push((connected(source).await.caller().is_answered(), connected(source).await));
    }
    assert!(others.iter().filter(|(_, other)| is_open(other)).count() <= 8);
}

async fn newcomer(address: SocketAddr, trusted: &str) -> Duration {
    let (began, trusted) = (Instant::now(), trusted.to_owned());
    let asked = tokio::task::spawn_blocking(move || ask(address, &trusted, "/")).await.unwrap();
    assert_eq!(asked.unwrap(), "served");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_a_thousand_addresses_keep_no_newcomer_out() {
    let (address, trusted, _directory) = served().await;
    let mut pod = pod(address, &trusted);
    pod();
    let mut idle = Vec::new();
    for source in 0..1200 {
        idle.push(connect_from(source, address).await.unwrap());
    }
    for _ in 0..20 {
        let took = newcomer(address, &trusted).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    // As many again from 64 addresses, of which each makes room for itself.
    for source in 0..1200 {
        idle.push(connect_from(source % 64, address).await.unwrap());
    }
    newcomer(address, &trusted).await;
    tokio::task::spawn_blocking(pod).await.unwrap();
    let mut closed = 0;
    for stream in &mut idle {
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0; 1])).await;
        closed += usize::from(read.is_ok());
    }
    assert!((1400..=1500).contains(&closed), "{closed} of 2,400 made room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_delays_no_pod_and_no_newcomer_for_long() {
    let (address, trusted, _directory) = served().await;
    let mut pod = pod(address, &trusted);
    pod();
    let mut hello = Vec::new();
    client(&trusted).write_tls(&mut hello).unwrap();
    // 64 addresses, each with connections that stop after their first message, and with ones that go on to the end.
    let floods: Vec<_> = (0..64)
        .map(|source| {
            let (hello, trusted) = (hello.clone(), trusted.clone());
            tokio::spawn(async move {
                let mut open = std::collections::VecDeque::new();
                loop {
                    let Ok(mut stream) = connect_from(source, address).await else { continue };
                    if source % 8 != 0 {
                        _ = stream.write_all(&hello).await;
                    } else if complete(&mut stream, client(&trusted)).await.is_err() {
                        continue;
                    }
                    open.push_back(stream);
                    if open.len() > 40 {
                        open.pop_front();
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = tokio::task::spawn_blocking(move || {
        let asked: Vec<_> = (0..50).map(|_| pod()).collect();
        asked.into_iter().max().unwrap()
    });
    let slowest = asked.await.unwrap();
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    for _ in 0..5 {
        let took = newcomer(address, &trusted).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    floods.iter().for_each(|flood| flood.abort());
}

/// The client's side of a handshake.
async fn complete(stream: &mut TcpStream, mut client: ClientConnection) -> io::Result<()> {
    while client.is_handshaking() || client.wants_write() {
        let mut written = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut written)?;
        }
        stream.write_all(&written).await?;
        if client.is_handshaking() {
            let mut read = [0; 4096];
            let length = stream.read(&mut read).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            client.read_tls(&mut &read[..length])?;
            client.process_new_packets().map_err(io::Error::other)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_the_metrics_port_stops_no_scrape_and_no_probe() {
    let address = free_address();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("probe.sock");
    tokio::spawn({
        let socket = socket.clone();
        async move {
            let metrics = Metrics::new(Registry::default());
            tokio::join!(
                health(address, metrics, Readiness::default()),
                probes(Some(&socket), Readiness::default())
            )
        }
    });
    while connect_from(0, address).await.is_err() || !socket.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut idle = Vec::new();
    for number in 0..1000 {
        idle.push(connect_from(number % 300, address).await.unwrap());
    }
    for source in [1, 500] {
        let mut scrape = connect_from(source, address).await.unwrap();
        scrape.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        scrape.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("# EOF\n\r\n0\r\n\r\n"), "{answer}");
    }
    let probed = tokio::task::spawn_blocking(move || probe(&socket, Probe::Ready)).await.unwrap();
    assert!(probed.is_ok(), "{probed:?}");
}

#[test]
fn connections_of_pods_fit_into_the_containers_memory() {
    for (memory, pods) in [
        (None, 10_000),
        (Some(0), 200),
        (Some(128 << 20), 238),
        (Some(256 << 20), 3_515),
        (Some(512 << 20), 10_068),
    ] {
        assert_eq!(pods_within(memory), pods, "{memory:?}");
    }
}
