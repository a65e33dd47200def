//! The sidecar's metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::uploader::queue::Pending;
use crate::uploader::spool::disk_usage::VolumeMetrics;

/// `recording_uploader_…`
#[derive(Clone, Debug)]
pub struct UploaderMetrics {
    pending_files: Gauge,
    pending_bytes: Gauge,
    oldest_pending_seconds: Gauge<f64, AtomicU64>,
    uploaded: Counter,
    uploaded_bytes: Counter,
    quarantined: Counter,
    uploads_left_open: Counter,
    quarantined_files: Gauge,
    delivery_seconds: Histogram,
    retries: Counter,
    pub volume: VolumeMetrics,
}

impl UploaderMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = UploaderMetrics {
            pending_files: Gauge::default(),
            pending_bytes: Gauge::default(),
            oldest_pending_seconds: Gauge::default(),
            uploaded: Counter::default(),
            uploaded_bytes: Counter::default(),
            quarantined: Counter::default(),
            uploads_left_open: Counter::default(),
            retries: Counter::default(),
            quarantined_files: Gauge::default(),
            // 0.1 s, a small file at once, to 15 hours, a destination that was long not Ready.
            delivery_seconds: Histogram::new(exponential_buckets(0.1, 3.0, 13)),
            volume: VolumeMetrics::register(registry),
        };
        let registry = registry.sub_registry_with_prefix("recording_uploader");
        registry.register(
            "pending_files",
            "Recordings in the spool, not uploaded and verified",
            metrics.pending_files.clone(),
        );
        registry.register(
            "pending_bytes",
            "Size of the recordings in the spool, not uploaded and verified",
            metrics.pending_bytes.clone(),
        );
        registry.register(
            "oldest_pending_seconds",
            "Time since the oldest recording in the spool that is not uploaded came there or changed; 0 without any",
            metrics.oldest_pending_seconds.clone(),
        );
        registry.register("uploaded", "Recordings uploaded, verified and unlinked", metrics.uploaded.clone());
        registry.register(
            "uploaded_bytes",
            "Size of the recordings uploaded, verified and unlinked",
            metrics.uploaded_bytes.clone(),
        );
        registry.register("quarantined", "Files moved to quarantine", metrics.quarantined.clone());
        registry.register(
            "uploads_left_open",
            "Uploads in parts that may be left in the bucket",
            metrics.uploads_left_open.clone(),
        );
        registry.register(
            "quarantined_files",
            "Files in quarantine now, those of earlier processes too",
            metrics.quarantined_files.clone(),
        );
        registry.register(
            "delivery_duration_seconds",
            "Time from a recording's coming to the spool, or its last change, until it was uploaded, verified and unlinked",
            metrics.delivery_seconds.clone(),
        );
        registry.register(
            "retries",
            "Tries to deliver a recording that came to nothing",
            metrics.retries.clone(),
        );
        metrics
    }

    pub fn set_left_open(&self, count: u64) {
        self.uploads_left_open.inner().store(count, Ordering::Relaxed);
    }

    pub fn set_pending(&self, pending: &Pending, now: SystemTime) {
        self.pending_files.set(pending.files.try_into().unwrap_or(i64::MAX));
        self.pending_bytes.set(pending.bytes.try_into().unwrap_or(i64::MAX));
        let age = pending.oldest.and_then(|oldest| now.duration_since(oldest).ok()).unwrap_or_default();
        self.oldest_pending_seconds.set(age.as_secs_f64());
    }

    /// Counts a delivered recording, which had been in the spool for so long.
    pub fn uploaded(&self, bytes: u64, age: Duration) {
        self.delivery_seconds.observe(age.as_secs_f64());
        self.uploaded.inc();
        self.uploaded_bytes.inc_by(bytes);
    }

    pub fn quarantined(&self) {
        self.quarantined.inc();
    }

    pub fn set_quarantined_files(&self, files: u64) {
        self.quarantined_files.set(files.try_into().unwrap_or(i64::MAX));
    }

    pub fn quarantined_so_far(&self) -> u64 {
        self.quarantined.get()
    }

    pub fn retried(&self) {
        self.retries.inc();
    }

    pub fn so_far(&self) -> SoFar {
        SoFar {
            files: self.uploaded.get(),
            bytes: self.uploaded_bytes.get(),
            pending_files: self.pending_files.get().unsigned_abs(),
            pending_bytes: self.pending_bytes.get().unsigned_abs(),
            retries: self.retries.get(),
        }
    }
}

/// What was done, and what is still to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// Recordings uploaded, verified and unlinked.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Recordings not yet uploaded and verified.
    pub pending_files: u64,
    /// Their size.
    pub pending_bytes: u64,
    /// Tries that came to nothing.
    pub retries: u64,
}
