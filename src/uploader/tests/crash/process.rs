//! One spool, one bucket, and the processes that carry from the one to the other.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::s3::{Bucket, Buckets, Fault};
use crate::api::{Answer, Crc64Nvme, DestinationDocument, Endpoint, Head, Part};
use crate::aws::{Body, ObjectStore};
use crate::domain::delivery::{Journal, Sizes};
use crate::secret::SessionCredentials;
use crate::uploader::broker::destination::{DestinationState, follow};
use crate::uploader::broker::session::Sessions;
use crate::uploader::driver::Driver;
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::spool::Spool;
use crate::uploader::spool::lock;
use crate::uploader::storage::{self, S3, Storage};
use crate::uploader::tests::destination;
use crate::uploader::tests::fakes::{FakeBroker, World};
use crate::uploader::tests::steps::{PLAN, step, steps};
use crate::uploader::transfer::context::TransferContext;

const SPOOL: &str = "RECORDING_UPLOADER_TEST_SPOOL";
const ENDPOINT: &str = "RECORDING_UPLOADER_TEST_ENDPOINT";
const BUCKET: &str = "RECORDING_UPLOADER_TEST_BUCKET";
const WAY: &str = "RECORDING_UPLOADER_TEST_WAY";

/// Bytes of a part.
pub const PART: usize = 1000;

/// How a recording goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
pub enum Way {
    Small,
    Streamed,
    InParts,
}

impl Way {
    pub const ALL: [Way; 3] = [Way::Small, Way::Streamed, Way::InParts];

    fn sizes(self) -> Sizes {
        let whole = if self == Way::InParts { 10 * PART as u64 } else { 10 << 20 };
        Sizes { whole, part: PART as u64 }
    }

    pub fn content(self) -> Vec<u8> {
        let size = match self {
            Way::Small => 1000,
            Way::Streamed => 600_000,
            Way::InParts => 40 * PART - 1,
        };
        (0..size).map(|position: usize| (position % 251) as u8).collect()
    }

    /// Requests of a delivery in which nothing goes wrong, its companion's included.
    pub fn requests(self) -> usize {
        if self == Way::InParts { 43 } else { 2 }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Drained,
    Killed,
}

/// A spool with a recording and its companion, and an empty bucket.
pub struct Trial<'a> {
    directory: tempfile::TempDir,
    address: SocketAddr,
    buckets: &'a Buckets,
    name: String,
    way: Way,
    recordings: [(&'static str, Vec<u8>); 2],
}

impl<'a> Trial<'a> {
    pub fn new(address: SocketAddr, buckets: &'a Buckets, way: Way) -> Self {
        static TRIALS: AtomicUsize = AtomicUsize::new(0);
        let name = format!("bucket-{}", TRIALS.fetch_add(1, Ordering::Relaxed));
        let recordings = [("2026/11/a.wav", way.content()), ("2026/11/a.json", b"{}".to_vec())];
        let trial =
            Trial { directory: tempfile::tempdir().unwrap(), address, buckets, name, way, recordings };
        for (name, content) in &trial.recordings {
            let path = trial.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            // Long ago, so that it is quiet.
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        }
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Parts that the journals of the spool say have arrived.
    pub fn journalled_parts(&self) -> usize {
        let journals = fs::read_dir(self.path(".recording-uploader/journal")).into_iter().flatten();
        let paths = journals.filter_map(|entry| Some(entry.ok()?.path()));
        // One that is being replaced has its successor beside it.
        let whole = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let texts = whole.filter_map(|path| fs::read_to_string(path).ok());
        texts
            .map(|text| serde_json::from_str::<Journal>(&text).map_or(0, |journal| journal.parts.len()))
            .sum()
    }

    pub fn bucket<T>(&self, look: impl FnOnce(&mut Bucket) -> T) -> T {
        look(self.buckets.lock().unwrap().entry(self.name.clone()).or_default())
    }

    /// Decides what goes wrong with which request.
    pub fn plan(&self, plan: BTreeMap<usize, Fault>) {
        self.bucket(|bucket| bucket.plan = plan);
    }

    /// Runs an uploader until it ends.
    pub fn run(&self, plan: &str) -> Ended {
        self.output(plan).0
    }

    /// The calls of an uploader to which nothing happens.
    pub fn steps(&self) -> Vec<String> {
        let (ended, output) = self.output("none@0");
        assert_eq!(ended, Ended::Drained);
        self.assert_delivered("nothing happened");
        output.lines().filter_map(|line| line.strip_prefix("step: ")).map(str::to_owned).collect()
    }

    fn output(&self, plan: &str) -> (Ended, String) {
        let child = "uploader::tests::crash::process::child";
        let output = Command::new(std::env::current_exe().unwrap())
            .args([child, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(SPOOL, self.directory.path())
            .env(ENDPOINT, format!("http://{}", self.address))
            .env(BUCKET, &self.name)
            .env(WAY, self.way.to_string())
            .env(PLAN, plan)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ended = match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Ended::Drained,
            (_, Some(libc::SIGKILL)) => Ended::Killed,
            other => panic!("{plan}: {other:?} {text} {}", String::from_utf8_lossy(&output.stderr)),
        };
        (ended, text)
    }

    /// Each recording is in the spool, or on its way out of it, or in the bucket, byte for byte.
    pub fn assert_nothing_lost(&self, label: &str) {
        let spooled = files(self.directory.path());
        for (name, content) in &self.recordings {
            let arrived = self.bucket(|bucket| bucket.objects.get(&format!("calls/{name}")).cloned());
            let is_there =
                spooled.values().any(|spooled| spooled == content) || arrived.as_ref() == Some(content);
            assert!(is_there, "{name} is nowhere: {label}; the spool has {:?}", spooled.keys());
        }
    }

    /// An uploader to which nothing happens brings what is left: the bucket has each recording once, the spool none,
    /// and S3 keeps no upload that was not told of.
    pub fn assert_delivered(&self, label: &str) {
        assert_eq!(self.run("none@0"), Ended::Drained, "{label}");
        let expected: BTreeMap<String, Vec<u8>> = self
            .recordings
            .iter()
            .map(|(name, content)| (format!("calls/{name}"), content.clone()))
            .collect();
        self.bucket(|bucket| {
            assert!(
                bucket.objects == expected,
                "{label}: {:?}, {:#?}",
                bucket.objects.keys(),
                bucket.requests
            );
        });
        let left = files(self.directory.path());
        let left: Vec<_> = left.keys().filter(|path| !path.ends_with("lock")).collect();
        assert!(left.is_empty(), "{label}: {left:?}");
    }
}

/// All files below a directory.
fn files(below: &Path) -> HashMap<PathBuf, Vec<u8>> {
    let mut found = HashMap::new();
    for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// The uploader, as it runs in a pod but for its broker, asked to end as soon as nothing is left.
#[test]
#[ignore = "it is run by the others, as a process of its own"]
fn child() {
    let Some(spool) = std::env::var_os(SPOOL) else { return };
    let way: Way = std::env::var(WAY).unwrap().parse().unwrap();
    let world = World::default();
    let mut to = destination();
    to.target.bucket = std::env::var(BUCKET).unwrap();
    to.endpoint = std::env::var(ENDPOINT).ok().map(|url| Endpoint { url, ca_bundle: None });
    world.borrow_mut().destination = Some(to);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (sender, state) = watch::channel(DestinationState::Unknown);
        let broker = Rc::new(FakeBroker(world));
        let mut context =
            TransferContext::new(Spool::new(spool.into()), Sessions::new(broker.clone(), Stepped::default()));
        context.sizes = way.sizes();
        // A spool that cannot be had keeps it waiting for no longer.
        let timeout = tokio::time::sleep(Duration::from_secs(3));
        let lock = lock::acquire(&context.spool, timeout, |_| {}).await;
        if lock.is_none() {
            return;
        }
        let mut driver =
            Driver::new(context, UploaderMetrics::register(&mut Registry::default()), "/dev/null".into());
        tokio::select! {
            () = driver.drive(state, std::future::ready(())) => {}
            never = follow(&*broker, sender, std::future::pending()) => match never {},
        }
        drop(lock);
    });
    for call in steps() {
        println!("step: {call}");
    }
}

/// Amazon S3, with a step before and after each call.
#[derive(Default)]
struct Stepped(S3);

struct SteppedBucket(ObjectStore);

impl Storage for Stepped {
    type Bucket = SteppedBucket;

    fn bucket(&self, destination: &DestinationDocument, session: &SessionCredentials) -> SteppedBucket {
        SteppedBucket(self.0.bucket(destination, session))
    }
}

async fn stepped<T>(asked: &'static str, answered: &'static str, call: impl Future<Output = T>) -> T {
    let _ = step(asked);
    let answer = call.await;
    let _ = step(answered);
    answer
}

impl storage::Bucket for SteppedBucket {
    async fn put_if_absent(&self, key: &str, body: Body, crc64nvme: Crc64Nvme) -> Answer<Option<Crc64Nvme>> {
        stepped("S3 is asked to put", "S3 answered a put", self.0.put_if_absent(key, body, crc64nvme)).await
    }

    async fn create_multipart(&self, key: &str) -> Answer<String> {
        stepped("S3 is asked for an upload", "S3 gave an upload", self.0.create_multipart(key)).await
    }

    async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: i32,
        body: Body,
        crc64nvme: Crc64Nvme,
    ) -> Answer<Part> {
        let call = self.0.upload_part(key, upload_id, number, body, crc64nvme);
        stepped("S3 is asked to take a part", "S3 answered a part", call).await
    }

    async fn complete_multipart(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[Part],
        crc64nvme: Crc64Nvme,
    ) -> Answer<Option<Crc64Nvme>> {
        let call = self.0.complete_multipart(key, upload_id, parts, crc64nvme);
        stepped("S3 is asked to complete", "S3 completed", call).await
    }

    async fn abort_multipart(&self, key: &str, upload_id: &str) -> Answer {
        stepped("S3 is asked to abort", "S3 aborted", self.0.abort_multipart(key, upload_id)).await
    }

    async fn head(&self, key: &str) -> Answer<Head> {
        stepped("S3 is asked for a head", "S3 answered a head", self.0.head(key)).await
    }

    async fn read_back(&self, key: &str) -> Answer<Crc64Nvme> {
        stepped("S3 is asked for the bytes", "S3 gave the bytes", self.0.read_back(key)).await
    }
}
