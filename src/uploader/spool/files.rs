//! The lock of a spool, and the ways a file leaves its place.
//!
//! The recorder may put a new recording under a name whose file is just being removed. So a file is
//! first moved to where only we are, and unlinked there if it still is the one that was verified.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::domain::delivery::{STATE_DIRECTORY, alternate};
use crate::uploader::spool::dir_entry::{DirEntry, open_directory};
use crate::uploader::spool::recording::{FileVersion, Recording, Unopened, modified};
use crate::uploader::spool::syscalls;

/// Files that are being removed, by their paths in one name, and those whose paths are too long for that.
const MOVING: &str = "moving";
const MOVING_LONG: &str = "moving-long";
/// A file whose modification time is the time by the clock of the file system.
const CLOCK: &str = "clock";
/// For how long the file system's clock is taken to go as ours does.
const CLOCK_LASTS: Duration = Duration::from_secs(60);
/// Longest name of a file, in bytes, on every file system in use.
const LONGEST_NAME: usize = 255;

/// Held for as long as this process may touch the spool.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The files of a spool. Every call blocks.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    /// Paths that the uploader itself gave to files, and that inotify has not told of yet.
    placed: Mutex<HashSet<PathBuf>>,
    /// When the file system's clock was read, and what it said.
    clock: Mutex<Option<(Instant, SystemTime)>>,
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

impl Files {
    pub fn new(root: PathBuf) -> Self {
        Files { root, placed: Mutex::default(), clock: Mutex::default() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the uploader itself renamed a file to this path. Asked once for each event that tells of it.
    pub fn has_placed(&self, relative: &Path) -> bool {
        self.placed.lock().unwrap().remove(relative)
    }

    /// The lock, unless another uploader has it.
    pub fn try_lock(&self) -> io::Result<Option<Lock>> {
        let lock = DirEntry::make(&self.root, &own("lock"))?.lock()?;
        // Now, as on a full volume nothing could be unlinked without it.
        DirEntry::make(&self.root, &own(MOVING).join("any"))?;
        Ok(lock.map(|file| Lock { _file: file }))
    }

    /// What time it is by the file system's clock, which may be another machine's: that of a file which is just made.
    pub fn clock(&self) -> io::Result<SystemTime> {
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
    pub fn remove(
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
    pub fn rename(&self, relative: &Path, to: &Path, version: FileVersion) -> io::Result<Departure> {
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
    pub fn bring_back(&self, relative: &Path) -> io::Result<bool> {
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
    pub fn quarantine(&self, relative: &Path) -> io::Result<PathBuf> {
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
    pub fn restore(&self) -> io::Result<()> {
        let mut directories = vec![(own(MOVING), None), (own(MOVING_LONG), Some(PathBuf::new()))];
        while let Some((directory, below)) = directories.pop() {
            let open = match open_directory(&self.root, &directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                open => open?,
            };
            for entry in syscalls::list(open)? {
                let (name, is_directory) = entry?;
                let inside = directory.join(&name);
                let relative = below.as_ref().map_or_else(|| moved_from(&name), |below| below.join(&name));
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
                    tracing::error!(%name, %place, %error, "A recording can be put back nowhere; it stays where it is");
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

/// Where a file is while it is let go: one name, so that no directory has to be made on a full volume.
fn moving(relative: &Path) -> PathBuf {
    let path = relative.as_os_str().as_bytes();
    let mut name = Vec::new();
    for byte in path {
        match byte {
            b'/' => name.extend(b"%2F"),
            b'%' => name.extend(b"%25"),
            byte => name.push(*byte),
        }
    }
    if name.len() > LONGEST_NAME {
        return own(MOVING_LONG).join(relative);
    }
    own(MOVING).join(OsString::from_vec(name))
}

/// The path that a name in that directory stands for.
fn moved_from(name: &OsStr) -> PathBuf {
    let (mut path, mut rest) = (Vec::new(), name.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [b'2', b'F', after @ ..]) => (b'/', after),
            (b'%', [b'2', b'5', after @ ..]) => (b'%', after),
            _ => (*first, after),
        };
        path.push(byte);
        rest = after;
    }
    OsString::from_vec(path).into()
}

/// The path of something that is ours.
fn own(name: &str) -> PathBuf {
    Path::new(STATE_DIRECTORY).join(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn spool() -> (tempfile::TempDir, Files) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Files::new(directory.path().to_owned());
        (directory, spool)
    }

    fn write(spool: &Files, relative: &str, content: &str) -> FileVersion {
        let path = spool.root().join(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        FileVersion::from(&rustix::fs::stat(&path).unwrap())
    }

    #[test]
    fn the_file_systems_clock_is_read_again_and_again_and_leaves_nothing() {
        let (_directory, spool) = spool();
        fs::create_dir_all(spool.root().join(own("any").parent().unwrap())).unwrap();
        fs::write(spool.root().join(own(CLOCK)), "left by a process that was killed").unwrap();
        let _held = spool.try_lock().unwrap().unwrap();
        let before = SystemTime::now() - Duration::from_secs(1);
        let (first, second) = (spool.clock().unwrap(), spool.clock().unwrap());
        assert!(before < first && first < second && second < SystemTime::now() + Duration::from_secs(1));
        assert!(!spool.root().join(own(CLOCK)).exists());
    }

    #[test]
    fn only_one_uploader_holds_the_lock() {
        let (_directory, spool) = spool();
        let held = spool.try_lock().unwrap();
        assert!(held.is_some());
        assert!(spool.try_lock().unwrap().is_none());
        drop(held);
        assert!(spool.try_lock().unwrap().is_some());
    }

    #[test]
    fn a_verified_file_is_removed_and_a_replaced_one_stays() {
        let (_directory, spool) = spool();
        let path = Path::new("2026/a.wav");
        let old = write(&spool, "2026/a.wav", "old");
        let new = write(&spool, "2026/a.wav", "newer");
        let remove = |identity, may_go| spool.remove(path, identity, || may_go);
        assert_eq!(remove(old, true).unwrap(), Departure::Replaced);
        assert_eq!(fs::read_to_string(spool.root().join(path)).unwrap(), "newer");
        assert_eq!(remove(new, false).unwrap(), Departure::Kept);
        assert_eq!(fs::read_to_string(spool.root().join(path)).unwrap(), "newer");
        assert_eq!(remove(new, true).unwrap(), Departure::Gone);
        assert!(!spool.root().join(path).exists());
        assert_eq!(remove(new, true).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_failed_rename_keeps_the_name_and_a_taken_file_is_brought_back() {
        let (_directory, spool) = spool();
        drop(spool.try_lock().unwrap());
        let path = Path::new("d/a.wav");
        let identity = write(&spool, "d/a.wav", "sound");
        let too_long = PathBuf::from(format!("d/{}.wav", "x".repeat(300)));
        let refused = spool.rename(path, &too_long, identity).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidFilename);
        assert_eq!(fs::read_to_string(spool.root().join(path)).unwrap(), "sound");
        assert!(!spool.bring_back(path).unwrap());

        assert!(spool.take(path, identity).unwrap().is_some());
        assert!(spool.bring_back(path).unwrap());
        assert_eq!(fs::read_to_string(spool.root().join(path)).unwrap(), "sound");
    }

    #[test]
    fn what_an_ended_process_had_taken_comes_back_and_replaces_nothing() {
        let (_directory, spool) = spool();
        drop(spool.try_lock().unwrap());
        let long = format!("d/{}/c.wav", "x".repeat(250));
        for name in ["d/a.wav", "100%/%2F.wav", "d/b.wav", &long] {
            let identity = write(&spool, name, "123456789");
            assert!(spool.take(Path::new(name), identity).unwrap().is_some());
            assert!(!spool.root().join(name).exists());
        }
        write(&spool, "d/b.wav", "new");
        spool.restore().unwrap();
        let read = |name: &str| fs::read_to_string(spool.root().join(name)).unwrap();
        for name in ["d/a.wav", "100%/%2F.wav", "d/b~ae8b14860a799888.wav", &long] {
            assert_eq!(read(name), "123456789", "{name}");
        }
        assert_eq!(read("d/b.wav"), "new");
    }

    #[test]
    fn what_cannot_come_back_is_quarantined_and_holds_up_nothing() {
        let (_directory, spool) = spool();
        let moving = spool.root().join(STATE_DIRECTORY).join("moving");
        fs::create_dir_all(&moving).unwrap();
        std::os::unix::fs::symlink("/nowhere", moving.join("a.wav")).unwrap();
        fs::write(moving.join("b.wav"), "taken").unwrap();
        write(&spool, "a.wav", "new");
        spool.restore().unwrap();
        assert_eq!(fs::read_to_string(spool.root().join("b.wav")).unwrap(), "taken");
        assert!(
            spool
                .root()
                .join(STATE_DIRECTORY)
                .join("quarantine")
                .join("a.wav")
                .symlink_metadata()
                .unwrap()
                .is_symlink()
        );
    }

    #[test]
    fn quarantine_keeps_every_file() {
        let (_directory, spool) = spool();
        for content in ["one", "two"] {
            write(&spool, "d/a.wav", content);
            let place = spool.quarantine(Path::new("d/a.wav")).unwrap();
            assert_eq!(fs::read_to_string(place).unwrap(), content);
        }
        assert!(spool.root().join(STATE_DIRECTORY).join("quarantine").join("d/a.wav~1").exists());
    }
}
