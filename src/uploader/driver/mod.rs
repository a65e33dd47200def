//! The loop of the sidecar: sees files, sends what is due, and drains at the end.

mod drain;
mod failures;
mod outcome;
mod scan;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch::{self, Receiver};
use tokio::time::Instant;

use self::failures::{FailureLogs, SpoolTrouble};
use self::outcome::Deliveries;
use self::scan::{Disk, Scan, Seen};
use crate::api::{DeliveryReport, DestinationDocument, SpoolFault, UploaderPhase};
use crate::domain::delivery::{
    Leftover, Sighting, reported_outage, termination_message, termination_message_without_spool,
};
use crate::printable::printable;
use crate::uploader::broker::Broker;
use crate::uploader::broker::destination::DestinationState;
use crate::uploader::broker::report::ReportFeed;
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::queue::Pending;
use crate::uploader::spool::Lock;
use crate::uploader::spool::blocking::blocking;
use crate::uploader::spool::disk_usage::DiskUsage;
use crate::uploader::spool::journal;
use crate::uploader::spool::lock::{self, Wait};
use crate::uploader::spool::syscalls::leave_message;
use crate::uploader::spool::watcher::{SpooledFile, stat};
use crate::uploader::storage::Storage;
use crate::uploader::transfer::context::TransferContext;
use crate::uploader::transfer::deliver::deliver;
use crate::uploader::transfer::job::Job;
use crate::uploader::transfer::outcome::Outcome;

/// Time between two rounds of metrics and, while draining, termination messages.
const TICK: Duration = Duration::from_secs(1);
/// Walks that may fail after the process was asked to end, before it goes without what they did not find.
const LAST_WALKS: u32 = 3;
/// For how long another uploader may hold the lock before that is reported: a rolling update hands a spool over in seconds.
const HAND_OVER: Duration = Duration::from_secs(60);
/// Names in the termination message.
const EXAMPLES: usize = 10;

/// A recording that was worked on, how that ended, and how long it took.
type Attempt = (Job, Outcome, Duration);

pub struct Driver<B, S: Storage> {
    context: Rc<TransferContext<B, S>>,
    deliveries: Deliveries,
    scan: Scan,
    disk: Disk,
    in_flight: FuturesUnordered<LocalBoxFuture<'static, Attempt>>,
    report: watch::Sender<Option<DeliveryReport>>,
    termination_log: PathBuf,
    drain: Drain,
    /// Why the lock is waited for, and since when.
    waits: Option<(Wait, Instant)>,
    /// Where recordings went last.
    last_destination: Option<Rc<DestinationDocument>>,
    /// Since when no usable answer has come.
    outage: Option<Instant>,
    failures: FailureLogs,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    NotRequested,
    /// The spool is walked once more, or again after so many walks failed.
    Walking(u32),
    /// What was found is being sent.
    Sending,
    /// Nothing more is done.
    Ended,
}

impl<B: Broker + 'static, S: Storage + 'static> Driver<B, S> {
    pub fn new(context: TransferContext<B, S>, metrics: UploaderMetrics, termination_log: PathBuf) -> Self {
        Driver {
            scan: Scan::new(&context.spool),
            disk: Disk::new(&context.spool),
            context: Rc::new(context),
            deliveries: Deliveries::new(metrics),
            in_flight: FuturesUnordered::new(),
            report: watch::Sender::new(None),
            termination_log,
            drain: Drain::NotRequested,
            waits: None,
            last_destination: None,
            outage: None,
            failures: FailureLogs::default(),
        }
    }

    /// What a report would say, second by second.
    pub fn report_feed(&self) -> ReportFeed {
        self.report.subscribe()
    }

    /// Waits for the lock of the spool. `None`: `shutdown` came before, which the termination message then says.
    pub async fn lock_spool(&mut self, shutdown: impl Future<Output = ()>) -> Option<Lock> {
        let (spool, began) = (self.context.spool.clone(), Instant::now());
        let lock = lock::acquire(&spool, shutdown, |wait| {
            self.waits = Some((wait, began));
            self.update_metrics();
        });
        let lock = lock.await;
        if lock.is_none() {
            self.drain = Drain::Ended;
            let reason = match self.waits {
                Some((Wait::Failed(_), _)) => "SpoolUnusable",
                _ => "SpoolInUse",
            };
            leave_message(&self.termination_log, &termination_message_without_spool(reason));
            self.update_metrics();
        } else {
            self.waits = None;
        }
        lock
    }

    /// Sends what appears in the spool until `shutdown`, and then until nothing is left.
    pub async fn drive(
        &mut self,
        mut destination: Receiver<DestinationState>,
        shutdown: impl Future<Output = ()>,
    ) {
        self.enter_journalled_recordings().await;
        let mut shutdown = pin!(shutdown);
        let mut tick = tokio::time::interval(TICK);
        while !self.is_drained() {
            self.send_what_is_due();
            let due = self.next_due();
            tokio::select! {
                seen = self.scan.next() => self.note_seen(seen),
                usage = self.disk.check_end() => self.note_usage(usage),
                Some((job, outcome, took)) = self.in_flight.next() => self.deliveries.conclude(job, outcome, took),
                Ok(()) = destination.changed() => self.note_destination(destination.borrow_and_update().clone()),
                () = self.context.concurrency.freed() => {}
                () = tokio::time::sleep_until(due) => {}
                _ = tick.tick() => self.tick(),
                () = &mut shutdown, if self.drain == Drain::NotRequested => self.begin_to_drain(),
            }
        }
        self.drain = Drain::Ended;
        self.update_metrics();
        self.write_termination_message();
    }

    /// Recordings whose uploads an earlier process has not ended: the uploads go on, or are aborted if the recordings are
    /// gone.
    async fn enter_journalled_recordings(&mut self) {
        let paths = journal::recordings(&self.context.spool).await;
        let paths = paths.inspect_err(|error| tracing::warn!(%error, "cannot read the journals"));
        let now = Instant::now();
        for path in paths.unwrap_or_default() {
            let root = self.context.spool.root().to_owned();
            let there = blocking({
                let path = path.clone();
                move || stat(&root, path, Sighting::Found)
            });
            let gone = || SpooledFile { path, sighting: Sighting::Found, size: 0, since: SystemTime::now() };
            self.deliveries.ledger.enter(there.await.ok().flatten().unwrap_or_else(gone), now);
        }
    }

    fn send_what_is_due(&mut self) {
        let now = Instant::now();
        let Deliveries { ledger, breaker, .. } = &mut self.deliveries;
        let concurrency = &self.context.concurrency;
        concurrency.forget_due();
        while let Some(closed) = breaker.closed(now)
            && let Some(mut job) = ledger.take_due(concurrency, &closed, now)
        {
            breaker.sent(job.standing(), now, rand::random());
            let admission = concurrency.admit(job.size_class);
            let context = self.context.clone();
            self.in_flight.push(Box::pin(async move {
                let outcome = deliver(&context, &closed.destination, admission, &mut job).await;
                (job, outcome, now.elapsed())
            }));
        }
        concurrency.wake_part();
    }

    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let Deliveries { ledger, breaker, .. } = &self.deliveries;
        let concurrency = &self.context.concurrency;
        breaker.closed(now).and_then(|closed| ledger.next_due(concurrency, &closed)).unwrap_or(now + TICK)
    }

    fn note_destination(&mut self, state: DestinationState) {
        self.context.sessions.request_renewal();
        if let DestinationState::Active(destination) = &state
            && self.last_destination.replace(destination.clone()).is_some_and(|last| last != *destination)
        {
            self.deliveries.ledger.forget_refusals();
        }
        // A transfer to another destination ends with the call that is under way.
        self.context.destination.replace(match &state {
            DestinationState::Active(destination) => Some(destination.clone()),
            DestinationState::Unknown | DestinationState::Paused(_) => None,
        });
        self.deliveries.breaker.follow(state);
    }

    fn note_seen(&mut self, seen: Seen) {
        let now = Instant::now();
        match seen {
            Seen::File(file) => self.deliveries.ledger.enter(file, now),
            Seen::Gone(path) => self.deliveries.ledger.forget(&path, now),
            Seen::InProgress(path) => self.context.companions.note_in_progress(path),
            Seen::Walk { files, in_progress, quarantined } => {
                for path in in_progress {
                    self.context.companions.note_in_progress(path);
                }
                for file in files {
                    self.deliveries.ledger.enter(file, now);
                }
                if quarantined.is_some() {
                    self.deliveries.ledger.has_walked();
                    self.context.companions.note_walk();
                }
                self.deliveries.quarantined = quarantined.or(self.deliveries.quarantined);
                self.drain_after_walk(now);
            }
        }
    }

    fn drain_after_walk(&mut self, now: Instant) {
        if let Drain::Walking(failed) = self.drain
            && !self.scan.is_walking()
        {
            if self.scan.unread.is_some() && failed < LAST_WALKS {
                self.drain = Drain::Walking(failed + 1);
                self.scan.walk_again_at(now);
            } else {
                self.drain = Drain::Sending;
            }
        }
    }

    fn note_usage(&mut self, usage: io::Result<DiskUsage>) {
        let Ok(usage) = usage else { return };
        self.deliveries.metrics.volume.note(&usage);
        self.disk.note(&usage);
    }

    fn tick(&mut self) {
        self.update_metrics();
        let now = Instant::now();
        self.disk.check_if_due(now);
        self.scan.walk_if_due(now);
        if self.drain != Drain::NotRequested {
            self.write_termination_message();
        }
    }

    fn update_metrics(&mut self) {
        let now = Instant::now();
        let pending = self.deliveries.ledger.pending();
        let outage = self.deliveries.outage(&pending);
        self.outage = outage.and(self.outage.or(Some(now)));
        let trouble = self.spool_trouble();
        let is_told = |trouble: &SpoolTrouble<'_>| {
            let waited = self.waits.as_ref().map_or(HAND_OVER, |(_, since)| now - *since);
            trouble.fault != SpoolFault::InUse || waited >= HAND_OVER || self.drain == Drain::Ended
        };
        let spool = trouble.as_ref().filter(|trouble| is_told(trouble)).map(|trouble| trouble.fault);
        let Deliveries { metrics, quarantined, last_upload, .. } = &self.deliveries;
        // Before the first walk has ended nothing is known of the spool.
        let is_known = quarantined.is_some();
        metrics.set_spool_usable((is_known || spool.is_some()).then_some(spool.is_none()));
        let is_counted = is_known && spool.is_none() || pending.files > 0;
        metrics.set_pending(is_counted.then_some(&pending), SystemTime::now());
        metrics.set_not_removed(pending.not_unlinked);
        metrics.set_refused(self.deliveries.refused_files(&pending));
        metrics.set_left_open(self.context.uploads_left_open.get());
        if let Some(quarantined) = *quarantined {
            metrics.set_quarantined_files(quarantined);
        }
        if is_known || spool.is_some() {
            let report = DeliveryReport {
                pending_files: pending.files as u64,
                oldest_pending_time: pending.oldest.and_then(|oldest| oldest.try_into().ok()),
                pending_bytes: pending.bytes,
                not_removed: pending.not_unlinked as u64,
                quarantined: quarantined.unwrap_or_default(),
                volume_used_percent: self.disk.used_percent,
                last_upload_time: *last_upload,
                spool,
                refusal: self.deliveries.refusal(&pending),
                unanswered: reported_outage(outage, self.outage.map_or(Duration::ZERO, |since| now - since)),
                phase: self.phase(&pending),
                ..DeliveryReport::default()
            };
            self.report.send_replace(Some(report));
        }
        let mut failures = std::mem::take(&mut self.failures);
        failures.write(self.spool_trouble().as_ref(), &self.deliveries, now);
        self.failures = failures;
    }

    /// Why the spool, or a directory in it, cannot be used.
    fn spool_trouble(&self) -> Option<SpoolTrouble<'_>> {
        let root = self.context.spool.root();
        let (fault, directory, error) = match (&self.waits, &self.scan.unread) {
            (Some((Wait::InUse, _)), _) => (SpoolFault::InUse, root.to_owned(), None),
            (Some((Wait::Failed(error), _)), _) => (SpoolFault::Unusable, root.to_owned(), Some(error)),
            (None, Some((directory, error))) => (SpoolFault::Unusable, root.join(directory), Some(error)),
            (None, None) => return None,
        };
        Some(SpoolTrouble { fault, directory, error, is_locked: self.waits.is_none() })
    }

    /// An end in which nothing is left to send is no draining.
    fn phase(&self, pending: &Pending) -> UploaderPhase {
        let has_drained =
            self.report.borrow().as_ref().is_some_and(|last| last.phase == UploaderPhase::Draining);
        match self.drain {
            Drain::Ended => UploaderPhase::Ended,
            Drain::Walking(_) | Drain::Sending if pending.files > 0 || has_drained => UploaderPhase::Draining,
            _ => UploaderPhase::Running,
        }
    }

    fn begin_to_drain(&mut self) {
        tracing::info!("sending what is in the spool, then ending");
        self.drain = Drain::Walking(0);
        self.context.sessions.request_renewal();
        if let Some(bandwidth) = &self.context.bandwidth {
            bandwidth.lift();
        }
        self.context.pod_ends.set(true);
        self.deliveries.breaker.pod_ends();
        self.deliveries.ledger.make_all_due(Instant::now());
        self.scan.walk(PathBuf::new());
        self.update_metrics();
    }

    fn is_drained(&self) -> bool {
        self.drain == Drain::Sending
            && self.in_flight.is_empty()
            && !self.scan.is_walking()
            && (self.deliveries.ledger.unverified().next().is_none() || self.leaves_the_rest())
    }

    /// Written again and again, as the process is not told when the grace period ends.
    fn write_termination_message(&self) {
        leave_message(&self.termination_log, &termination_message(&self.leftover()));
    }

    /// What is still in the spool.
    pub fn leftover(&self) -> Leftover {
        let Deliveries { ledger, breaker, metrics, quarantined, .. } = &self.deliveries;
        let pending = ledger.pending();
        let examples =
            ledger.unverified().take(EXAMPLES).map(|path| printable(&path.to_string_lossy()).into_owned());
        Leftover {
            pending: pending.files,
            pending_bytes: pending.bytes,
            examples: examples.collect(),
            cause: breaker
                .why_not()
                .map(str::to_owned)
                .or_else(|| ledger.cause())
                .map(|cause| printable(&cause).into_owned()),
            not_unlinked: pending.not_unlinked,
            in_progress: self.scan.in_progress,
            // Before the first walk has ended, nothing is known of any directory.
            unread: match (&self.scan.unread, quarantined) {
                (None, None) => Some(String::new()),
                (unread, _) => {
                    unread.as_ref().map(|(path, _)| printable(&path.to_string_lossy()).into_owned())
                }
            },
            quarantined: metrics.quarantined_so_far(),
            left_open: self.context.uploads_left_open.get(),
            volume: self.context.spool.volume().kind.clone(),
        }
    }
}
