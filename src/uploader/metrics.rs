//! The sidecar's metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{self, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::uploader::queue::Pending;
use crate::uploader::spool::disk_usage::VolumeMetrics;

/// `recording_uploader_…`
#[derive(Clone, Debug)]
pub struct UploaderMetrics {
    pending_files: KnownGauge<Gauge>,
    pending_bytes: KnownGauge<Gauge>,
    oldest_pending_seconds: KnownGauge<Gauge<f64, AtomicU64>>,
    spool_usable: KnownGauge<Gauge>,
    not_removed_files: Gauge,
    refused_files: Gauge,
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
            pending_files: KnownGauge::default(),
            pending_bytes: KnownGauge::default(),
            oldest_pending_seconds: KnownGauge::default(),
            spool_usable: KnownGauge::default(),
            not_removed_files: Gauge::default(),
            refused_files: Gauge::default(),
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
            "Recordings in the spool, not uploaded and verified; absent while that is not known",
            metrics.pending_files.clone(),
        );
        registry.register(
            "pending_bytes",
            "Size of the recordings in the spool, not uploaded and verified; absent while that is not known",
            metrics.pending_bytes.clone(),
        );
        registry.register(
            "oldest_pending_seconds",
            "Time since the oldest recording in the spool that is not uploaded came there or changed; 0 without any, absent while that is not known",
            metrics.oldest_pending_seconds.clone(),
        );
        registry.register(
            "spool_usable",
            "1 where the spool can be used, 0 where it, or a directory in it, cannot; absent while that is not known",
            metrics.spool_usable.clone(),
        );
        registry.register(
            "not_removed_files",
            "Recordings that are uploaded and verified and cannot be removed from the spool",
            metrics.not_removed_files.clone(),
        );
        registry.register(
            "refused_files",
            "Recordings in the spool that AWS refuses to take, until they arrive or go",
            metrics.refused_files.clone(),
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

    /// `None`: it is not known.
    pub fn set_pending(&self, pending: Option<&Pending>, now: SystemTime) {
        let age = |oldest: SystemTime| now.duration_since(oldest).unwrap_or_default();
        let age = pending.map(|pending| pending.oldest.map(age).unwrap_or_default());
        self.pending_files.set(pending.map(|pending| pending.files.try_into().unwrap_or(i64::MAX)));
        self.pending_bytes.set(pending.map(|pending| pending.bytes.try_into().unwrap_or(i64::MAX)));
        self.oldest_pending_seconds.set(age.map(|age| age.as_secs_f64()));
    }

    /// `None`: it is not known.
    pub fn set_spool_usable(&self, is_usable: Option<bool>) {
        self.spool_usable.set(is_usable.map(i64::from));
    }

    pub fn set_not_removed(&self, files: usize) {
        self.not_removed_files.set(files.try_into().unwrap_or(i64::MAX));
    }

    pub fn set_refused(&self, files: usize) {
        self.refused_files.set(files.try_into().unwrap_or(i64::MAX));
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
            pending_files: self.pending_files.gauge.get().unsigned_abs(),
            pending_bytes: self.pending_bytes.gauge.get().unsigned_abs(),
            retries: self.retries.get(),
        }
    }
}

/// A gauge that is absent while its value is not known: a zero would say that all is well.
#[derive(Clone, Debug, Default)]
struct KnownGauge<G> {
    gauge: G,
    is_known: Arc<AtomicBool>,
}

impl<N, A: gauge::Atomic<N>> KnownGauge<Gauge<N, A>> {
    fn set(&self, value: Option<N>) {
        self.is_known.store(value.is_some(), Ordering::Relaxed);
        if let Some(value) = value {
            self.gauge.set(value);
        }
    }
}

impl<G: EncodeMetric> EncodeMetric for KnownGauge<G> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.is_known.load(Ordering::Relaxed) { self.gauge.encode(encoder) } else { Ok(()) }
    }

    fn metric_type(&self) -> MetricType {
        self.gauge.metric_type()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scraped(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn what_is_not_known_is_absent_and_no_zero() {
        let mut registry = Registry::default();
        let metrics = UploaderMetrics::register(&mut registry);
        let names = ["pending_files", "pending_bytes", "oldest_pending_seconds", "spool_usable"];
        let told = |name: &&str| scraped(&registry).contains(&format!("recording_uploader_{name} 0"));
        assert!(names.iter().all(|name| !told(name)), "{}", scraped(&registry));
        metrics.set_pending(Some(&Pending::default()), SystemTime::now());
        metrics.set_spool_usable(Some(false));
        assert!(names.iter().all(told), "{}", scraped(&registry));
        metrics.set_pending(None, SystemTime::now());
        metrics.set_spool_usable(None);
        assert!(names.iter().all(|name| !scraped(&registry).contains(name)), "{}", scraped(&registry));
    }
}
