//! The spool on disk. [`Spool`] is what the other rooms use; its calls reach the disk on threads that may block.
//!
//! | file | holds |
//! |---|---|
//! | `files` | the ways a file leaves its place, so that nothing is removed that S3 was not seen to hold |
//! | `lock` | one uploader per spool |
//! | `watcher` | inotify, and walks where inotify has nothing to say |
//! | `recording`, `buffers` | one open file, and the memory it is read into |
//! | `journal` | what outlives the process of an upload in parts |
//! | `disk_usage` | how full the volume is |
//! | `dir_entry`, `syscalls` | everything that touches the file system, by open directories and single names |

pub mod blocking;
pub mod buffers;
pub mod dir_entry;
pub mod disk_usage;
pub mod files;
pub mod journal;
pub mod lock;
pub mod recording;
pub mod syscalls;
pub mod watcher;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use self::blocking::blocking;
use self::files::{Departure, Files, Lock};
use self::recording::{FileVersion, Recording, Unopened};
use crate::api::Crc64Nvme;
use crate::domain::delivery::{Lease, alternate, companion_of};

/// A spool directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Files>);

/// A file that was opened, and what tells whether it has been written to its end.
#[derive(Debug)]
pub struct Opened {
    pub recording: Recording,
    pub lease: Lease,
    /// The time by the clock of the file system; `None` where it could not be read or was not asked for.
    pub now_there: Option<SystemTime>,
}

impl Spool {
    pub fn new(root: PathBuf) -> Self {
        Spool(Arc::new(Files::new(root)))
    }

    pub fn root(&self) -> &Path {
        self.0.root()
    }

    /// Whether the uploader itself renamed a file to this path. Asked once for each event that tells of it.
    pub fn has_placed(&self, relative: &Path) -> bool {
        self.0.has_placed(relative)
    }

    /// The lock, unless another uploader has it. With it comes back what an earlier process had taken from its place.
    pub async fn try_lock(&self) -> io::Result<Option<Lock>> {
        self.on_disk(|files| {
            let lock = files.try_lock()?;
            if lock.is_some() {
                files.restore()?;
            }
            Ok(lock)
        })
        .await
    }

    /// Opens a file for reading. `is_renamed`: a rename into place proves that it is complete, so no lease is asked for.
    pub async fn open(&self, relative: &Path, is_renamed: bool) -> Result<Opened, Unopened> {
        let relative = relative.to_owned();
        self.on_disk(move |files| {
            let recording = Recording::open(files.root(), &relative)?;
            if is_renamed {
                return Ok(Opened { recording, lease: Lease::Unavailable, now_there: None });
            }
            let lease = recording.lease();
            Ok(Opened { recording, lease, now_there: files.clock().ok() })
        })
        .await
    }

    /// Unlinks what S3 holds. What has come under its name meanwhile stays, and is another recording; what a writer has
    /// opened again stays as well. `is_renamed`: nobody writes to it any more, so no lease is asked for.
    pub async fn remove(
        &self,
        relative: &Path,
        recording: Recording,
        is_renamed: bool,
    ) -> io::Result<Departure> {
        let relative = relative.to_owned();
        self.on_disk(move |files| {
            let is_written = || !is_renamed && recording.lease() == Lease::Refused;
            if is_written() {
                return Ok(Departure::Kept);
            }
            // Once more when nobody can open it by its name, and then whether something was written until then.
            let may_go = || !is_written() && recording.is_unchanged().unwrap_or(false);
            files.remove(&relative, recording.version, may_go)
        })
        .await
    }

    /// Gives a recording, and before it its companion, the alternate name. The names in the spool remember it, so that
    /// it outlives this process.
    pub async fn set_aside(
        &self,
        relative: &Path,
        version: FileVersion,
        crc64nvme: Crc64Nvme,
    ) -> io::Result<(Departure, PathBuf)> {
        let path = relative.to_owned();
        self.on_disk(move |files| {
            let companion = companion_of(&path);
            if companion != path
                && let Ok(found) = Recording::open(files.root(), &companion)
            {
                match files.rename(&companion, &alternate(&companion, crc64nvme), found.version) {
                    // What becomes of the companion decides nothing about the media file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    renamed => drop(renamed?),
                }
            }
            let to = alternate(&path, crc64nvme);
            files.rename(&path, &to, version).map(|departure| (departure, to))
        })
        .await
    }

    /// Puts back a file of that name that was taken, and could neither go on nor back. Whether there was one.
    pub async fn bring_back(&self, relative: &Path) -> io::Result<bool> {
        let relative = relative.to_owned();
        self.on_disk(move |files| files.bring_back(&relative)).await
    }

    /// Moves a file to quarantine, under a name that is free there, and returns its new path.
    pub async fn quarantine(&self, relative: &Path) -> io::Result<PathBuf> {
        let relative = relative.to_owned();
        self.on_disk(move |files| files.quarantine(&relative)).await
    }

    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce(&Files) -> T + Send + 'static) -> T {
        let files = self.0.clone();
        blocking(move || work(&files)).await
    }
}
