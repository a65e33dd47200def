//! The calls of the operator to the API server and to AWS, from their logs: all of them, in order.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::Value;

use crate::support::{Tenant, repository, wait_for};

const CONTROLLER: &str = "system:serviceaccount:recording-operator:recording-operator-controller";

/// What the controller wrote since the log was opened.
pub struct ControllerWrites(Mutex<Tail>);

/// Reads what is appended to the API server's audit log, across rotations.
struct Tail {
    file: File,
    unread: Vec<u8>,
    writes: Vec<Value>,
}

/// A status of a destination, as it was written.
#[derive(Clone)]
pub struct Written {
    /// When, in UTC.
    pub time: String,
    /// The destination with it.
    pub object: Value,
}

impl Written {
    /// Value and reason of a condition; both empty where it has none.
    pub fn condition(&self, kind: &str) -> (&str, &str) {
        let conditions = self.object["status"]["conditions"].as_array();
        let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
        let text = |field: &str| found.and_then(|condition| condition[field].as_str()).unwrap_or_default();
        (text("status"), text("reason"))
    }

    /// Result and reason of a check.
    pub fn check(&self, name: &str) -> (&str, &str) {
        let checks = self.object["status"]["checks"].as_array();
        let found = checks.into_iter().flatten().find(|check| check["name"] == name);
        let text = |field: &str| found.and_then(|check| check[field].as_str()).unwrap_or_default();
        (text("result"), text("reason"))
    }
}

impl ControllerWrites {
    pub fn from_now() -> Self {
        let mut file = File::open(audit_log()).unwrap();
        file.seek(std::io::SeekFrom::End(0)).unwrap();
        ControllerWrites(Mutex::new(Tail { file, unread: Vec::new(), writes: Vec::new() }))
    }

    /// All in a namespace that were carried out, Events too.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Value> {
        let mut tail = self.0.lock().unwrap();
        tail.read();
        tail.writes.iter().filter(|write| write["objectRef"]["namespace"] == namespace).cloned().collect()
    }

    /// The statuses written to a destination, in order.
    pub fn statuses(&self, namespace: &str, name: &str) -> Vec<Written> {
        let writes = self.in_namespace(namespace).into_iter().filter(|write| {
            let of = &write["objectRef"];
            of["resource"] == "recordingdestinations" && of["subresource"] == "status" && of["name"] == name
        });
        let written = writes.map(|mut write| Written {
            time: write["stageTimestamp"].as_str().unwrap().to_owned(),
            object: write["responseObject"].take(),
        });
        written.collect()
    }

    /// Waits for a status that is as wanted. It need not be the last.
    #[track_caller]
    pub fn wait_for(&self, tenant: &Tenant, what: &str, wanted: impl Fn(&Written) -> bool) -> Written {
        wait_for(
            what,
            || tenant.describe(),
            || self.statuses(&tenant.namespace, "acme").into_iter().find(&wanted),
        )
    }
}

impl Tail {
    fn read(&mut self) {
        self.file.read_to_end(&mut self.unread).unwrap();
        let now = std::fs::metadata(audit_log());
        if now.is_ok_and(|now| now.ino() != self.file.metadata().unwrap().ino()) {
            self.file = File::open(audit_log()).unwrap();
            self.file.read_to_end(&mut self.unread).unwrap();
        }
        let end = self.unread.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let whole: Vec<u8> = self.unread.drain(..end).collect();
        let writes = lines_with(&whole, CONTROLLER).filter(|entry| {
            let reads = ["get", "list", "watch"].iter().any(|verb| entry["verb"] == *verb);
            !reads && entry["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300)
        });
        self.writes.extend(writes);
    }
}

/// Calls to AWS that a customer's account was told of, but those of its own administrator.
pub fn aws_calls(account: &str) -> Vec<Value> {
    let log = std::fs::read(repository().join("target/dev/run/aws/access.jsonl")).unwrap();
    lines_with(&log, account).filter(|call| call["caller"] != "root").collect()
}

pub fn audit_log() -> PathBuf {
    repository().join("target/dev/run/audit.log")
}

fn lines_with(log: &[u8], word: &str) -> impl Iterator<Item = Value> {
    let text = std::str::from_utf8(log).unwrap();
    text.lines().filter(move |line| line.contains(word)).map(|line| serde_json::from_str(line).unwrap())
}
