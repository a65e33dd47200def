//! The volume that holds the spool, as the webhook describes it.

use std::path::{Path, PathBuf};

use crate::domain::delivery::outlives_pod;
use crate::uploader::spool::dir_entry::open_directory;
use crate::uploader::spool::syscalls;

/// Bytes in a block of `st_blocks`, whatever the file system.
const BLOCK: u64 = 512;

/// The spool's volume. Nothing is known of that of a pod from before 0.3, or of a directory given on a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolVolume {
    /// Kind, and of a claim its name, such as `persistentVolumeClaim/recordings`.
    pub kind: Option<String>,
    /// Bytes above which the kubelet evicts the pod; statvfs does not know of it.
    pub size_limit: Option<u64>,
}

impl SpoolVolume {
    /// Whether it is known to be there when the pod is gone.
    pub fn outlives_pod(&self) -> bool {
        self.kind.as_deref().is_some_and(outlives_pod)
    }
}

/// Bytes that files and directories below `root` take, as the kubelet counts them. What cannot be read counts nothing.
pub fn bytes_below(root: &Path) -> u64 {
    let (mut bytes, mut directories) = (0_u64, vec![PathBuf::new()]);
    while let Some(directory) = directories.pop() {
        let Ok(open) = open_directory(root, &directory) else { continue };
        let Ok(entries) = open.try_clone().and_then(syscalls::list) else { continue };
        for (name, is_directory) in entries.map_while(Result::ok) {
            let blocks = syscalls::metadata_at(&open, &name).map_or(0, |stat| stat.st_blocks);
            bytes = bytes.saturating_add(u64::try_from(blocks).unwrap_or_default() * BLOCK);
            if is_directory {
                directories.push(directory.join(name));
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_spool_takes_is_counted_in_every_directory_and_behind_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, outside) = (directory.path().join("spool"), directory.path().join("outside"));
        fs::create_dir_all(spool.join(".recording-uploader/quarantine")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        let empty = bytes_below(&spool);
        for path in [spool.join("a.wav"), spool.join(".recording-uploader/quarantine/b"), outside.join("c")] {
            fs::write(path, vec![1; 100_000]).unwrap();
        }
        std::os::unix::fs::symlink(&outside, spool.join("link")).unwrap();
        let grown = bytes_below(&spool) - empty;
        assert!((200_000..300_000).contains(&grown), "{grown}");
        assert_eq!(bytes_below(&spool.join("missing")), 0);
    }
}
