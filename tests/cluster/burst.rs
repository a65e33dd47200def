//! Many requests at once, at the real broker.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use crate::broker_client::BrokerClient;
use crate::environment_or_skip;
use crate::logs::aws_calls;
use crate::support::Tenant;

/// To each of the two replicas, which accept eight of one pod.
const CONNECTIONS: usize = 5;
/// Over each of these.
const REQUESTS: usize = 100;

/// Asks for credentials over one connection, again and again; tells how often it got them.
fn ask_on(broker: &BrokerClient, token: &str) -> usize {
    let mut stream = BufReader::new(broker.connect());
    let mut served = 0;
    for _ in 0..REQUESTS {
        let request =
            format!("GET /v1/credentials HTTP/1.1\r\nHost: broker\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let begins = head.len();
            assert!(stream.read_line(&mut head).unwrap() > 0, "the connection ended after {served} answers");
            let line = head[begins..].to_lowercase();
            length = line.strip_prefix("content-length:").map_or(length, |it| it.trim().parse().unwrap());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        served += usize::from(head.starts_with("HTTP/1.1 200 ") && !body.is_empty());
    }
    served
}

#[test]
fn a_thousand_requests_at_once_cost_one_assume_role_per_replica() {
    environment_or_skip!();
    let tenant = Tenant::ready("burst");
    let assumed = || aws_calls(&tenant.account).iter().filter(|call| call["action"] == "AssumeRole").count();
    // The controller's; its next are due in an hour.
    let before = assumed();
    tenant.start_recorder("recorder");
    let token = tenant.pod_token("default", "recorder");
    let brokers = BrokerClient::all();
    let served: usize = std::thread::scope(|threads| {
        let to_each = brokers.iter().flat_map(|broker| [broker; CONNECTIONS]);
        let callers: Vec<_> = to_each.map(|broker| threads.spawn(|| ask_on(broker, &token))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!((brokers.len(), served), (2, 1000), "replicas, and requests served");
    assert_eq!(assumed() - before, brokers.len(), "one at each replica");
}
