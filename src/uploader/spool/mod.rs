//! The spool on disk: its lock, and the ways a file leaves its place.
//!
//! The recorder may put a new recording under a name whose file is just being removed. So a file is first moved to where
//! only the uploader is, and unlinked there if it still is the one that was verified.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | one uploader per spool |
//! | `watcher` | inotify, and walks where inotify has nothing to say |
//! | `recording`, `buffers` | one open file, and the memory it is read into |
//! | `companions` | what companions have to know of their media files |
//! | `journal` | what outlives the process of an upload in parts |
//! | `disk_usage` | how full the volume is |
//! | `volume` | what the webhook says of the volume, and what the spool takes of it |
//! | `names`, `dir_entry`, `syscalls` | everything that touches the file system, by open directories and single names |

pub mod blocking;
pub mod buffers;
pub mod companions;
pub mod dir_entry;
pub mod disk_usage;
pub mod journal;
pub mod lock;
mod names;
pub mod recording;
pub mod syscalls;
pub mod volume;
pub mod watcher;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use self::blocking::blocking;
use self::dir_entry::{DirEntry, open_directory};
use self::names::{MOVING, MOVING_LONG, moving, own, unflat};
use self::recording::{FileVersion, Recording, Unopened, modified};
use self::syscalls::Owner;
use self::volume::SpoolVolume;
use crate::api::Crc64Nvme;
use crate::domain::delivery::{Lease, alternate, companion_of};

/// A file whose modification time is the time by the clock of the file system.
const CLOCK: &str = "clock";
/// For how long the file system's clock is taken to go as ours does.
const CLOCK_LASTS: Duration = Duration::from_secs(60);

/// Held for as long as this process may touch the spool.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A spool directory. Clones share it. Its asynchronous calls reach the disk on threads that may block.
#[derive(Clone, Debug)]
pub struct Spool {
    root: PathBuf,
    volume: SpoolVolume,
    /// Paths that the uploader itself gave to files, and that inotify has not told of yet.
    placed: Arc<Mutex<HashSet<PathBuf>>>,
    /// When the file system's clock was read, and what it said.
    clock: Arc<Mutex<Option<(Instant, SystemTime)>>>,
}

/// A file that was opened, and what tells whether it has been written to its end.
#[derive(Debug)]
pub struct Opened {
    pub recording: Recording,
    pub lease: Lease,
    /// The time by the clock of the file system; `None` where it could not be read or was not asked for.
    pub now_there: Option<SystemTime>,
}

/// Whether a file stays that a writer has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    Counts,
    /// It has had its time.
    CountsNot,
}

/// Whether a file left its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It did.
    Gone,
    /// Another file, or another state of it, is in its place, and stays there.
    Replaced,
    /// It might not, and is in its place.
    Kept,
}

impl Spool {
    pub fn new(root: PathBuf) -> Self {
        Spool { root, volume: SpoolVolume::default(), placed: Arc::default(), clock: Arc::default() }
    }

    /// The same on a volume of which something is known.
    pub fn on(self, volume: SpoolVolume) -> Self {
        Spool { volume, ..self }
    }

    pub fn volume(&self) -> &SpoolVolume {
        &self.volume
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the uploader itself renamed a file to this path. Asked once for each event that tells of it.
    pub fn has_placed(&self, relative: &Path) -> bool {
        self.placed.lock().unwrap().remove(relative)
    }

    /// The lock, unless another uploader has it. With it comes back what an earlier process had taken from its place.
    pub async fn lock(&self) -> io::Result<Option<Lock>> {
        self.on_disk(|spool| {
            let lock = spool.try_lock()?;
            if lock.is_some() {
                spool.restore()?;
            }
            Ok(lock)
        })
        .await
    }

    /// Opens a file for reading. `is_renamed`: a rename into place proves that it is complete, unless a writer has it open.
    pub async fn open(&self, relative: &Path, is_renamed: bool) -> Result<Opened, Unopened> {
        let relative = relative.to_owned();
        self.on_disk(move |spool| {
            let recording = Recording::open(spool.root(), &relative)?;
            let lease = recording.lease();
            let is_known = is_renamed && lease != Lease::Refused;
            let now_there = if is_known { None } else { spool.clock().ok() };
            Ok(Opened { recording, lease, now_there })
        })
        .await
    }

    /// What can be known of a file that cannot be opened: its version, when it was written to, and the time by the clock
    /// of the file system.
    pub async fn examine(
        &self,
        relative: &Path,
    ) -> io::Result<(FileVersion, SystemTime, Option<SystemTime>)> {
        let relative = relative.to_owned();
        self.on_disk(move |spool| {
            let stat = DirEntry::find(spool.root(), &relative)?.metadata()?;
            Ok((FileVersion::from(&stat), modified(&stat), spool.clock().ok()))
        })
        .await
    }

    /// The owner of the directory that a file is in.
    pub async fn owner_of_directory(&self, relative: &Path) -> io::Result<Owner> {
        let relative = relative.to_owned();
        self.on_disk(move |spool| syscalls::owner(DirEntry::find(spool.root(), &relative)?.directory())).await
    }

    /// Unlinks what S3 holds. What has come under its name meanwhile stays, and is another recording; what a writer has
    /// opened again stays as well.
    pub async fn remove(
        &self,
        relative: &Path,
        recording: Recording,
        writer: Writer,
    ) -> io::Result<Departure> {
        let relative = relative.to_owned();
        self.on_disk(move |spool| {
            let is_written = || writer == Writer::Counts && recording.lease() == Lease::Refused;
            if is_written() {
                return Ok(Departure::Kept);
            }
            // Once more when nobody can open it by its name, and then whether something was written until then.
            let may_go = || !is_written() && recording.is_unchanged().unwrap_or(false);
            spool.unlink(&relative, recording.version, may_go)
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
        self.on_disk(move |spool| {
            let companion = companion_of(&path);
            if companion != path
                && let Ok(found) = Recording::open(spool.root(), &companion)
            {
                match spool.rename(&companion, &alternate(&companion, crc64nvme), found.version) {
                    // What becomes of the companion decides nothing about the media file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    renamed => drop(renamed?),
                }
            }
            let to = alternate(&path, crc64nvme);
            spool.rename(&path, &to, version).map(|departure| (departure, to))
        })
        .await
    }

    /// Puts back a file of that name that was taken, and could neither go on nor back. Whether there was one.
    pub async fn bring_back(&self, relative: &Path) -> io::Result<bool> {
        let relative = relative.to_owned();
        self.on_disk(move |spool| spool.put_back(&relative)).await
    }

    /// Moves a file to quarantine, under a name that is free there, and returns its new path.
    pub async fn quarantine(&self, relative: &Path) -> io::Result<PathBuf> {
        let relative = relative.to_owned();
        self.on_disk(move |spool| spool.move_to_quarantine(&relative)).await
    }

    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce(&Spool) -> T + Send + 'static) -> T {
        let spool = self.clone();
        blocking(move || work(&spool)).await
    }
}

/// What is done on disk. Every call blocks.
impl Spool {
    /// The lock, unless another uploader has it.
    fn try_lock(&self) -> io::Result<Option<Lock>> {
        let lock = DirEntry::make(&self.root, &own("lock"))?.lock()?;
        // Now, as on a full volume nothing could be unlinked without it.
        DirEntry::make(&self.root, &own(MOVING).join("any"))?;
        Ok(lock.map(|file| Lock { _file: file }))
    }

    /// What time it is by the file system's clock, which may be another machine's: that of a file which is just made.
    fn clock(&self) -> io::Result<SystemTime> {
        let mut read = self.clock.lock().unwrap();
        let (when, time) = match *read {
            Some((when, time)) if when.elapsed() < CLOCK_LASTS => (when, time),
            _ => {
                let clock = DirEntry::make(&self.root, &own(CLOCK))?;
                // A failed unlink left it; no other process makes one, as this one holds the lock.
                if let Err(error) = clock.unlink()
                    && error.kind() != ErrorKind::NotFound
                {
                    return Err(error);
                }
                clock.make_file()?;
                let made = clock.metadata();
                clock.unlink()?;
                *read.insert((Instant::now(), modified(&made?)))
            }
        };
        Ok(time + when.elapsed())
    }

    /// Unlinks a recording that S3 holds, unless it has been replaced since, or `may_go` says no. That is asked when
    /// nobody can open the recording by its name any more.
    fn unlink(
        &self,
        relative: &Path,
        version: FileVersion,
        may_go: impl FnOnce() -> bool,
    ) -> io::Result<Departure> {
        let Some(taken) = self.take(relative, version)? else { return Ok(Departure::Replaced) };
        if may_go() {
            return taken.unlink().map(|()| Departure::Gone);
        }
        self.place(&taken, relative).map(|()| Departure::Kept)
    }

    /// Gives a recording another name. A name that is taken is made another by the checksum. Where that fails it keeps
    /// its own.
    fn rename(&self, relative: &Path, to: &Path, version: FileVersion) -> io::Result<Departure> {
        let Some(taken) = self.take(relative, version)? else { return Ok(Departure::Replaced) };
        match self.place(&taken, to) {
            Ok(()) => Ok(Departure::Gone),
            Err(error) => {
                self.place(&taken, relative)?;
                Err(error)
            }
        }
    }

    /// Puts back a file of that name that was taken, and could neither go on nor back. Whether there was one.
    fn put_back(&self, relative: &Path) -> io::Result<bool> {
        let taken = match DirEntry::find(&self.root, &moving(relative)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            found => found?,
        };
        match taken.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            _ => self.place(&taken, relative).map(|()| true),
        }
    }

    /// Moves a file to quarantine, under a name that is free there, and returns its new path.
    fn move_to_quarantine(&self, relative: &Path) -> io::Result<PathBuf> {
        self.quarantine_from(&DirEntry::find(&self.root, relative)?, relative)
    }

    fn quarantine_from(&self, from: &DirEntry, relative: &Path) -> io::Result<PathBuf> {
        let quarantine = own("quarantine");
        for attempt in 0_u32.. {
            let mut place = quarantine.join(relative).into_os_string();
            if attempt > 0 {
                place.push(format!("~{attempt}"));
            }
            let place = PathBuf::from(place);
            match from.move_to(&DirEntry::make(&self.root, &place)?) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                result => return result.map(|()| self.root.join(place)),
            }
        }
        unreachable!("a quarantine holds fewer files than there are numbers")
    }

    /// Puts back what an earlier process had taken from its place when it ended.
    fn restore(&self) -> io::Result<()> {
        let mut directories = vec![(own(MOVING), None), (own(MOVING_LONG), Some(PathBuf::new()))];
        while let Some((directory, below)) = directories.pop() {
            let open = match open_directory(&self.root, &directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                open => open?,
            };
            for entry in syscalls::list(open)? {
                let (name, is_directory) = entry?;
                let inside = directory.join(&name);
                let relative = below.as_ref().map_or_else(|| unflat(&name), |below| below.join(&name));
                if is_directory {
                    directories.push((inside, Some(relative)));
                    continue;
                }
                let taken = DirEntry::find(&self.root, &inside)?;
                // One file that can go nowhere must not keep all others waiting: it stays for the next start.
                if self.place(&taken, &relative).is_err()
                    && let Err(error) = self.quarantine_from(&taken, &relative)
                {
                    let (name, place) = (relative.display(), inside.display());
                    tracing::error!(%name, %place, %error, "a recording can be put back nowhere; it stays where it is");
                }
            }
        }
        Ok(())
    }

    /// Moves a file to where only we are. `None`: it is not the file that was meant, and is back in its place.
    fn take(&self, relative: &Path, version: FileVersion) -> io::Result<Option<DirEntry>> {
        let taken = DirEntry::make(&self.root, &moving(relative))?;
        DirEntry::find(&self.root, relative)?.move_to(&taken)?;
        match taken.metadata() {
            Ok(metadata) if FileVersion::from(&metadata) == version => Ok(Some(taken)),
            Ok(_) => self.place(&taken, relative).map(|()| None),
            Err(error) => {
                self.place(&taken, relative)?;
                Err(error)
            }
        }
    }

    /// Puts a file that was taken into the spool, under this name or, where that is taken, its alternate.
    fn place(&self, taken: &DirEntry, relative: &Path) -> io::Result<()> {
        match self.move_into(taken, relative) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let recording = Recording::open_at(taken).map_err(|unopened| match unopened {
                    Unopened::Error(error) => error,
                    Unopened::Poison(poison) => io::Error::other(poison.to_string()),
                })?;
                let checksum = recording.compute_checksum(recording.range())?;
                self.move_into(taken, &alternate(relative, checksum))
            }
            result => result,
        }
    }

    fn move_into(&self, taken: &DirEntry, relative: &Path) -> io::Result<()> {
        let to = DirEntry::make(&self.root, relative)?;
        self.placed.lock().unwrap().insert(relative.to_owned());
        let moved = taken.move_to(&to);
        if moved.is_err() {
            self.placed.lock().unwrap().remove(relative);
        }
        moved
    }
}
