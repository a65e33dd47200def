//! The loop of the sidecar: sees files, sends what is due, and drains at the end.

mod drain;
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

use self::outcome::Deliveries;
use self::scan::{Disk, Scan, Seen};
use crate::api::DeliveryReport;
use crate::domain::delivery::{Leftover, Sighting, termination_message};
use crate::printable::printable;
use crate::uploader::broker::Broker;
use crate::uploader::broker::destination::DestinationState;
use crate::uploader::broker::report::ReportFeed;
use crate::uploader::metrics::UploaderMetrics;
use crate::uploader::spool::blocking::blocking;
use crate::uploader::spool::disk_usage::DiskUsage;
use crate::uploader::spool::journal;
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
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    NotRequested,
    /// The spool is walked once more, or again after so many walks failed.
    Walking(u32),
    /// What was found is being sent.
    Sending,
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
        }
    }

    /// What a report would say, second by second.
    pub fn report_feed(&self) -> ReportFeed {
        self.report.subscribe()
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

    fn update_metrics(&self) {
        let Deliveries { ledger, metrics, quarantined, last_upload, .. } = &self.deliveries;
        let pending = ledger.pending();
        metrics.set_pending(&pending, SystemTime::now());
        metrics.set_left_open(self.context.uploads_left_open.get());
        let Some(quarantined) = *quarantined else { return };
        metrics.set_quarantined_files(quarantined);
        self.report.send_replace(Some(DeliveryReport {
            pending_files: pending.files as u64,
            oldest_pending_time: pending.oldest.and_then(|oldest| oldest.try_into().ok()),
            pending_bytes: pending.bytes,
            quarantined,
            volume_used_percent: self.disk.used_percent,
            last_upload_time: *last_upload,
            ..DeliveryReport::default()
        }));
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
                (unread, _) => unread.as_ref().map(|path| printable(&path.to_string_lossy()).into_owned()),
            },
            quarantined: metrics.quarantined_so_far(),
            left_open: self.context.uploads_left_open.get(),
            volume: self.context.spool.volume().kind.clone(),
        }
    }
}
