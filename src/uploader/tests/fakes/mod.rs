//! A spool with a sidecar, between a broker and an S3 that do as a test asks.

mod outside;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt as _;
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};

pub use self::outside::{FakeBroker, Fault, Object, Outside, World};

use self::outside::FakeStorage;
use super::destination;
use crate::api::{DeliveryState, DestinationDocument};
use crate::domain::delivery::Sizes;
use crate::uploader::broker::destination::{DestinationState, follow};
use crate::uploader::broker::report::Reporter;
use crate::uploader::broker::session::Sessions;
use crate::uploader::driver::Driver;
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::spool::Spool;
use crate::uploader::spool::volume::SpoolVolume;
use crate::uploader::transfer::bandwidth::BandwidthLimit;
use crate::uploader::transfer::context::TransferContext;

/// Recordings of more than 20 bytes go in parts of 10.
const SIZES: Sizes = Sizes { whole: 20, part: 10 };

/// A spool with a sidecar, begun by [`Bench::start`].
pub struct Bench {
    directory: tempfile::TempDir,
    pub world: World,
    pub sizes: Sizes,
    pub bandwidth: Option<BandwidthLimit>,
    /// Kind of the spool's volume.
    pub volume: Option<&'static str>,
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
            sizes: SIZES,
            bandwidth: None,
            volume: None,
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
        let (sender, state) = watch::channel(DestinationState::Unknown);
        let (shutdown, told) = oneshot::channel();
        let broker = Rc::new(FakeBroker(self.world.clone()));
        let sessions = Sessions::new(broker.clone(), FakeStorage(self.world.clone()));
        let volume = SpoolVolume { kind: self.volume.map(str::to_owned), size_limit: None };
        let mut context = TransferContext::new(Spool::new(self.path("")).on(volume), sessions);
        context.sizes = self.sizes;
        context.bandwidth = self.bandwidth.clone();
        let metrics = UploaderMetrics::register(&mut Registry::default());
        let mut driver = Driver::new(context, metrics, self.directory.path().join("termination-log"));
        let reporter = Reporter::new(broker.clone(), driver.report_feed());
        self.shutdown = Some(shutdown);
        self.driver = Some(tokio::task::spawn_local(async move {
            let told = async move {
                // A dropped sender is no order.
                if told.await.is_err() {
                    std::future::pending().await
                }
            };
            let told = told.shared();
            tokio::select! {
                never = follow(&*broker, sender, told.clone()) => match never {},
                () = async {
                    let told = told.shared();
                    let drive = async {
                        if let Some(_lock) = driver.lock_spool(told.clone()).await {
                            driver.drive(state, told).await;
                        }
                    };
                    tokio::select! {
                        () = drive => {}
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

    /// Asks the sidecar to end, and says whether it did within ten minutes of the clock's time. After that it is killed.
    pub async fn drains(&mut self) -> bool {
        self.shutdown.take().unwrap().send(()).unwrap();
        let mut driver = self.driver.take().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(600), &mut driver).await;
        if ended.is_err() {
            driver.abort();
            // With it goes the lock of the spool.
            assert!(driver.await.unwrap_err().is_cancelled());
        }
        ended.map(Result::unwrap).is_ok()
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

    /// The calls made since this was asked last, without the prefix of their keys.
    pub fn news(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.world.borrow_mut().calls);
        calls.into_iter().map(|call| call.replace(" calls/", " ")).collect()
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
