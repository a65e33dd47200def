//! How full the spool's volume is.

use std::io;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::uploader::spool::Spool;
use crate::uploader::spool::syscalls;
use crate::uploader::spool::volume::bytes_below;

/// The size of a file system, or of what the kubelet lets a volume take of it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUsage {
    size: u64,
    used: u64,
    /// What users other than root may use.
    available: u64,
}

impl DiskUsage {
    /// Of the file system that a spool is on. On a network volume it may take long.
    pub fn of(spool: &Spool) -> io::Result<Self> {
        let stat = syscalls::space(syscalls::open_root(spool.root())?)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let usage = DiskUsage {
            size: bytes(stat.f_blocks),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            available: bytes(stat.f_bavail),
        };
        let limit = spool.volume().size_limit;
        Ok(limit.map_or(usage, |limit| usage.within(limit, bytes_below(spool.root()))))
    }

    /// The fuller of the file system and the volume, which takes so much of its limit.
    fn within(self, limit: u64, taken: u64) -> Self {
        let volume = DiskUsage { size: limit, used: taken, available: limit.saturating_sub(taken) };
        if volume.used_percent() >= self.used_percent() { volume } else { self }
    }

    /// How full the file system is, computed as df does: what only root may use counts as used.
    pub fn used_percent(&self) -> u8 {
        let (used, usable) = (u128::from(self.used), u128::from(self.used) + u128::from(self.available));
        (used * 100).div_ceil(usable.max(1)).min(100) as u8
    }
}

/// `recording_uploader_volume_…`
#[derive(Clone, Debug, Default)]
pub struct VolumeMetrics {
    size: Gauge,
    available: Gauge,
}

impl VolumeMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = VolumeMetrics::default();
        let registry = registry.sub_registry_with_prefix("recording_uploader_volume");
        let size = "Size of the file system that the spool is on, an emptyDir's being the node's, or the volume's limit if that is fuller";
        registry.register("size_bytes", size, metrics.size.clone());
        let available = "What of that is free";
        registry.register("available_bytes", available, metrics.available.clone());
        metrics
    }

    pub fn note(&self, usage: &DiskUsage) {
        self.size.set(usage.size.try_into().unwrap_or(i64::MAX));
        self.available.set(usage.available.try_into().unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uploader::spool::volume::SpoolVolume;

    #[test]
    fn a_volume_is_as_large_as_df_says_and_what_is_not_there_has_no_size() {
        let directory = tempfile::tempdir().unwrap();
        let told =
            std::process::Command::new("df").args(["-B1", "--output=size"]).arg(directory.path()).output();
        let told = String::from_utf8(told.unwrap().stdout).unwrap();
        let size: u64 = told.lines().last().unwrap().trim().parse().unwrap();
        let usage = DiskUsage::of(&Spool::new(directory.path().to_owned())).unwrap();
        assert_eq!(usage.size, size);
        assert!((1..=size).contains(&usage.available), "{usage:?}");
        assert!(DiskUsage::of(&Spool::new(directory.path().join("missing"))).is_err());
    }

    #[test]
    fn a_volume_near_its_limit_is_full_however_much_room_the_node_has() {
        let node = DiskUsage { size: 1000, used: 500, available: 500 };
        assert_eq!(node.within(100, 91), DiskUsage { size: 100, used: 91, available: 9 });
        assert_eq!(node.within(100, 49), node, "the node's disk is fuller");
        assert_eq!(node.within(100, 120).used_percent(), 100);
        assert_eq!(node.within(0, 0), node);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.wav"), vec![1; 200_000]).unwrap();
        let volume = SpoolVolume { kind: Some("emptyDir".into()), size_limit: Some(200_000) };
        let spool = Spool::new(directory.path().to_owned()).on(volume);
        assert_eq!(DiskUsage::of(&spool).unwrap().used_percent(), 100);
    }

    #[test]
    fn a_volume_is_full_when_nobody_but_root_can_write_to_it() {
        for (used, available, percent) in [(0, 0, 0), (0, 10, 0), (89, 11, 89), (899, 101, 90), (95, 0, 100)]
        {
            assert_eq!(
                DiskUsage { size: 100, used, available }.used_percent(),
                percent,
                "{used} {available}"
            );
        }
    }
}
