//! A broker and an S3 that do as they are told, and a sidecar between them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};

use super::destination;
use crate::api::{
    Answer, Crc64Nvme, DeliveryReport, DeliveryState, DestinationDocument, Head, Refusal, Silence,
};
use crate::secret::SessionCredentials;
use crate::uploader::deliver::Works;
use crate::uploader::driver::Driver;
use crate::uploader::follow::follow;
use crate::uploader::gate::Word;
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::ports::{Broker, Bucket, Storage, Told};
use crate::uploader::report::Reporter;
use crate::uploader::session::Sessions;
use crate::uploader::spool::Spool;

/// What the next put comes to.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is carried out; the answer carries no checksum.
    NoChecksum,
    /// It is carried out, and the answer lost.
    AnswerLost,
    /// It is carried out with other bytes than were sent, and granted as if they were ours.
    Garbled,
    /// It never arrives.
    RequestLost,
    /// It is refused.
    Refused(u16, &'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub has_checksum: bool,
}

/// Everything outside the sidecar.
#[derive(Default)]
pub struct Outside {
    pub objects: BTreeMap<String, Object>,
    /// Of the coming puts, and of the coming heads.
    pub put_faults: VecDeque<Fault>,
    pub head_faults: VecDeque<(u16, &'static str)>,
    /// Calls in the order in which they came, such as `PUT calls/a.wav`.
    pub calls: Vec<String>,
    /// What the broker says; `None`: it refuses.
    pub destination: Option<DestinationDocument>,
    pub sessions: u32,
    pub reports: Vec<DeliveryReport>,
    pub reports_refused: bool,
    /// Done once in the middle of the next put.
    pub during_put: Option<Box<dyn FnOnce()>>,
}

pub type World = Rc<RefCell<Outside>>;

struct FakeBroker(World);

impl Broker for FakeBroker {
    async fn destination(&self) -> Told<DestinationDocument> {
        self.0.borrow().destination.clone().map_or(Told::Refused, Told::Granted)
    }

    async fn credentials(&self) -> Told<SessionCredentials> {
        let mut outside = self.0.borrow_mut();
        outside.sessions += 1;
        Told::Granted(SessionCredentials {
            access_key_id: format!("ASIA{}", outside.sessions),
            secret_access_key: "secret".into(),
            session_token: "token".into(),
            expiration: Timestamp::now() + Duration::from_secs(3600),
        })
    }

    async fn report(&self, report: &DeliveryReport) -> Told<()> {
        let mut outside = self.0.borrow_mut();
        if outside.reports_refused {
            return Told::Refused;
        }
        outside.reports.push(report.clone());
        Told::Granted(())
    }
}

struct FakeStorage(World);

impl Storage for FakeStorage {
    type Bucket = FakeBucket;

    fn bucket(&self, _: &DestinationDocument, _: &SessionCredentials) -> FakeBucket {
        FakeBucket(self.0.clone())
    }
}

struct FakeBucket(World);

fn refused<T>(status: u16, code: &str) -> Answer<T> {
    Answer::Refused(Refusal { status, code: code.to_owned(), ..Refusal::default() })
}

impl Bucket for FakeBucket {
    async fn put_if_absent(
        &self,
        key: &str,
        mut file: File,
        size: u64,
        crc64nvme: Crc64Nvme,
    ) -> Answer<Option<Crc64Nvme>> {
        let mut bytes = Vec::new();
        if let Some(act) = self.0.borrow_mut().during_put.take() {
            act();
        }
        file.read_to_end(&mut bytes).unwrap();
        tokio::task::yield_now().await;
        let mut outside = self.0.borrow_mut();
        outside.calls.push(format!("PUT {key}"));
        let fault = outside.put_faults.pop_front();
        match fault {
            Some(Fault::RequestLost) => return Answer::Silent(Silence::Timeout),
            Some(Fault::Refused(status, code)) => return refused(status, code),
            Some(Fault::Garbled) => bytes = b"other".to_vec(),
            _ if bytes.len() as u64 != size || Crc64Nvme::of(&bytes) != crc64nvme => {
                return refused(400, "BadDigest");
            }
            _ => {}
        }
        if outside.objects.contains_key(key) {
            return refused(412, "PreconditionFailed");
        }
        outside.objects.insert(key.to_owned(), Object { bytes, has_checksum: true });
        match fault {
            Some(Fault::AnswerLost) => Answer::Silent(Silence::Connection),
            Some(Fault::NoChecksum | Fault::Garbled) => Answer::Granted(None),
            _ => Answer::Granted(Some(crc64nvme)),
        }
    }

    async fn head(&self, key: &str) -> Answer<Head> {
        let mut outside = self.0.borrow_mut();
        outside.calls.push(format!("HEAD {key}"));
        if let Some((status, code)) = outside.head_faults.pop_front() {
            return refused(status, code);
        }
        match outside.objects.get(key) {
            Some(object) => Answer::Granted(Head {
                crc64nvme: object.has_checksum.then(|| Crc64Nvme::of(&object.bytes)),
                size: object.bytes.len() as u64,
            }),
            // Without ListBucket.
            None => refused(403, ""),
        }
    }

    async fn read_back(&self, key: &str) -> Answer<Crc64Nvme> {
        let mut outside = self.0.borrow_mut();
        outside.calls.push(format!("GET {key}"));
        outside
            .objects
            .get(key)
            .map_or(refused(403, "AccessDenied"), |object| Answer::Granted(Crc64Nvme::of(&object.bytes)))
    }
}

/// A spool with a sidecar, begun by [`Bench::start`].
pub struct Bench {
    directory: tempfile::TempDir,
    pub world: World,
    shutdown: Option<oneshot::Sender<()>>,
    driver: Option<JoinHandle<()>>,
}

impl Bench {
    /// An active destination, an empty bucket, an empty spool.
    pub fn new() -> Self {
        let outside = Outside { destination: Some(destination()), ..Outside::default() };
        let bench = Bench {
            directory: tempfile::tempdir().unwrap(),
            world: Rc::new(RefCell::new(outside)),
            shutdown: None,
            driver: None,
        };
        fs::create_dir(bench.path("")).unwrap();
        fs::write(bench.directory.path().join("termination-log"), "").unwrap();
        bench
    }

    /// Runs a test in which the sidecar may be started.
    pub async fn run<T>(test: impl AsyncFnOnce(Bench) -> T) -> T {
        LocalSet::new().run_until(test(Bench::new())).await
    }

    /// Starts the sidecar.
    pub fn start(&mut self) {
        let (heard, word) = watch::channel(Word::Unheard);
        let (shutdown, told) = oneshot::channel();
        let broker = Rc::new(FakeBroker(self.world.clone()));
        let works = Works {
            spool: Spool::new(self.path("")),
            sessions: Sessions::new(broker.clone(), FakeStorage(self.world.clone())),
        };
        let metrics = UploaderMetrics::register(&mut Registry::default());
        let driver = Driver::new(works, metrics, self.directory.path().join("termination-log"));
        let reporter = Reporter::new(broker.clone(), driver.standing());
        self.shutdown = Some(shutdown);
        self.driver = Some(tokio::task::spawn_local(async move {
            let told = async move {
                // A dropped sender is no order.
                if told.await.is_err() {
                    std::future::pending().await
                }
            };
            tokio::select! {
                never = follow(&*broker, heard) => match never {},
                () = async {
                    tokio::select! {
                        () = driver.drive(word, told) => {}
                        never = reporter.follow() => match never {},
                    }
                    reporter.finish().await;
                } => {}
            }
        }));
    }

    /// A path in the spool.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("spool").join(name)
    }

    /// Writes a recording as a recorder should.
    pub fn record(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let part = path.with_extension("part");
        fs::write(&part, content).unwrap();
        fs::rename(part, path).unwrap();
    }

    /// Waits, in the clock's own time, until something is so.
    pub async fn until(&self, what: &str, holds: impl Fn(&Bench) -> bool) {
        for _ in 0..100_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what} did not come about; calls: {:?}", self.world.borrow().calls);
    }

    /// Waits until an object with this content is in the bucket and the file has left the spool.
    pub async fn until_delivered(&self, name: &str, content: &str) {
        let key = format!("calls/{name}");
        self.until(name, |bench| {
            bench.object(&key).as_deref() == Some(content) && !bench.path(name).exists()
        })
        .await;
    }

    /// Lets so much of the clock's time pass.
    pub async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Asks the sidecar to end, and says whether it did within ten minutes of the clock's time.
    pub async fn drains(&mut self) -> bool {
        self.shutdown.take().unwrap().send(()).unwrap();
        let driver = self.driver.take().unwrap();
        tokio::time::timeout(Duration::from_secs(600), driver).await.map(Result::unwrap).is_ok()
    }

    /// Ends the sidecar as `kill -9` would.
    pub async fn kill(&mut self) {
        let driver = self.driver.take().unwrap();
        driver.abort();
        assert!(driver.await.unwrap_err().is_cancelled());
    }

    pub fn object(&self, key: &str) -> Option<String> {
        let outside = self.world.borrow();
        outside.objects.get(key).map(|object| String::from_utf8(object.bytes.clone()).unwrap())
    }

    pub fn calls(&self) -> Vec<String> {
        self.world.borrow().calls.clone()
    }

    pub fn pause(&self, reason: &str) {
        let paused = DestinationDocument {
            state: DeliveryState::Paused,
            reason: Some(reason.into()),
            ..destination()
        };
        self.world.borrow_mut().destination = Some(paused);
    }

    pub fn resume(&self) {
        self.world.borrow_mut().destination = Some(destination());
    }

    pub fn termination_message(&self) -> String {
        fs::read_to_string(self.directory.path().join("termination-log")).unwrap()
    }
}
