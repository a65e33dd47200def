//! How full the spool's volume is.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::blocking;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(15);

/// The size of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    size: i64,
    /// For those who are not root.
    available: i64,
}

/// `recording_uploader_volume_…`
#[derive(Debug, Default)]
pub struct VolumeMetrics {
    size: Gauge,
    available: Gauge,
}

impl VolumeMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = VolumeMetrics::default();
        let registry = registry.sub_registry_with_prefix("recording_uploader_volume");
        let size = "Size of the file system that the spool is on; an emptyDir is on the node's";
        registry.register("size_bytes", size, metrics.size.clone());
        let available = "Free space of the file system that the spool is on";
        registry.register("available_bytes", available, metrics.available.clone());
        metrics
    }

    /// Keeps them up to date for as long as it is polled.
    pub async fn follow(&self, spool: PathBuf) -> Infallible {
        loop {
            let root = spool.clone();
            // A network volume that hangs holds up nothing but this.
            if let Ok(space) = blocking(move || space(&root)).await {
                self.size.set(space.size);
                self.available.set(space.available);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

fn space(path: &Path) -> io::Result<Space> {
    let told = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize).try_into().unwrap_or(i64::MAX);
    Ok(Space { size: bytes(told.f_blocks), available: bytes(told.f_bavail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_as_large_as_df_says_and_what_is_not_there_has_no_size() {
        let directory = tempfile::tempdir().unwrap();
        let told =
            std::process::Command::new("df").args(["-B1", "--output=size"]).arg(directory.path()).output();
        let told = String::from_utf8(told.unwrap().stdout).unwrap();
        let size: i64 = told.lines().last().unwrap().trim().parse().unwrap();
        let space = space(directory.path()).unwrap();
        assert_eq!(space.size, size);
        assert!((1..=size).contains(&space.available), "{space:?}");
        assert!(self::space(&directory.path().join("missing")).is_err());
    }
}
