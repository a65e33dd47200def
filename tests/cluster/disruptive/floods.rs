//! Floods of every port from many addresses, and who is served meanwhile.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};

use super::NAMESPACE;
use super::load::under_load;
use crate::broker_client::{inside, trusting};
use crate::environment_or_skip;
use crate::support::{Tenant, get};

/// Longer than the kubelet takes to restart a container whose probes fail.
const TIME: Duration = Duration::from_secs(90);
/// Addresses that the test's network has for nobody else.
const SOURCES: &str = "10.99.0.0/16";
const ADDRESSES: usize = 1000;
/// Connections that are open to one port at a time.
const OPEN: usize = 1200;

#[test]
fn floods_of_every_port_restart_no_pod() {
    environment_or_skip!();
    let tenant = Tenant::ready("flooded");
    // Its own pod, `recorder`, is flooded as well while it asks for credentials.
    under_load(&tenant, || {
        let before = restarts(&tenant);
        let hello = hello();
        let ports = ports(&tenant);
        assert!(ports.len() >= 8, "{ports:?}");
        let opened = inside(move || flood(&ports, &hello));
        println!("{opened} connections");
        assert!(opened > 10_000, "{opened} connections are no flood");
        assert_eq!(restarts(&tenant), before);
    });
}

/// The first message of a handshake with the broker.
fn hello() -> Vec<u8> {
    let name = "recording-operator-broker.recording-operator.svc".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(trusting().with_no_client_auth()), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

fn pods(tenant: &Tenant) -> Vec<Value> {
    let of_tenant = format!("--namespace={}", tenant.namespace);
    let listed = [NAMESPACE, of_tenant.as_str()].map(|namespace| get(&[namespace, "pods"]).unwrap());
    listed.iter().flat_map(|pods| pods["items"].as_array().unwrap().clone()).collect()
}

/// Every port that a container names.
fn ports(tenant: &Tenant) -> Vec<SocketAddr> {
    let containers = |pod: &Value, kind: &str| pod["spec"][kind].as_array().cloned().unwrap_or_default();
    let ports = |pod: &Value| {
        let all = [containers(pod, "containers"), containers(pod, "initContainers")].concat();
        let address = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
        let ports = all.iter().flat_map(|it| it["ports"].as_array().cloned().unwrap_or_default());
        ports
            .map(|port| SocketAddr::new(address, port["containerPort"].as_u64().unwrap() as u16))
            .collect::<Vec<_>>()
    };
    pods(tenant).iter().flat_map(ports).collect()
}

/// How often each container was restarted, by pod.
fn restarts(tenant: &Tenant) -> Vec<(String, Vec<Value>)> {
    let counts = |pod: &Value| {
        let of = |kind: &str| pod["status"][kind].as_array().cloned().unwrap_or_default();
        let all = [of("containerStatuses"), of("initContainerStatuses")].concat();
        (pod["metadata"]["name"].to_string(), all.iter().map(|it| it["restartCount"].clone()).collect())
    };
    pods(tenant).iter().map(counts).collect()
}

/// Floods all ports at once, in the network of the thread, and returns how many connections were opened.
fn flood(ports: &[SocketAddr], hello: &[u8]) -> usize {
    let route = |verb: &str| Command::new("ip").args(["route", verb, "local", SOURCES, "dev", "lo"]).status();
    assert!(route("replace").unwrap().success());
    let until = Instant::now() + TIME;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let floods = ports.iter().map(|port| flood_one(*port, hello, until));
    let opened = runtime.block_on(futures::future::join_all(floods)).iter().sum();
    drop(runtime);
    _ = route("delete");
    opened
}

/// Some connections say nothing, some begin a handshake.
async fn flood_one(port: SocketAddr, hello: &[u8], until: Instant) -> usize {
    let (mut open, mut opened) = (VecDeque::new(), 0);
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        let connected =
            tokio::time::timeout(Duration::from_secs(1), connect_from(number % ADDRESSES, port)).await;
        if let Ok(Ok(stream)) = connected {
            if number % 2 == 0 {
                _ = stream.try_write(hello);
            }
            opened += 1;
            open.push_back(stream);
            if open.len() > OPEN {
                open.pop_front();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    opened
}

async fn connect_from(source: usize, port: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([10, 99, (source / 250) as u8, (source % 250 + 1) as u8], 0).into())?;
    socket.connect(port).await
}
