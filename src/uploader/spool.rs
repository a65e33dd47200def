//! The spool on disk: its lock, and the ways a file leaves its place.
//!
//! The recorder may put a new recording under a name whose file is just being let go. So a file is
//! first moved to where only we are, and unlinked there if it still is the one that was verified.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::recording::{Identity, Recording, Unopened};
use super::syscalls::rename_if_absent;
use crate::domain::delivery::{STATE_DIRECTORY, alternate};

/// Held for as long as this process may touch the spool.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A spool directory.
#[derive(Clone, Debug)]
pub struct Spool {
    root: PathBuf,
}

/// Whether a file left its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It did.
    Gone,
    /// Another file, or another state of it, is in its place, and stays there.
    Replaced,
}

impl Spool {
    /// The spool at `root`.
    pub fn new(root: PathBuf) -> Self {
        Spool { root }
    }

    /// Where the spool is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a recording is.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.root.join(relative)
    }

    fn own(&self, name: &str) -> PathBuf {
        self.root.join(STATE_DIRECTORY).join(name)
    }

    /// The lock, unless another uploader has it.
    pub fn try_lock(&self) -> io::Result<Option<Lock>> {
        fs::create_dir_all(self.root.join(STATE_DIRECTORY))?;
        let file = File::create(self.own("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Unlinks a recording that S3 holds, unless it has been replaced since.
    pub fn remove(&self, relative: &Path, identity: Identity) -> io::Result<Departure> {
        match self.take(relative, identity)? {
            Some(taken) => fs::remove_file(taken).map(|()| Departure::Gone),
            None => Ok(Departure::Replaced),
        }
    }

    /// Gives a recording another name. A name that is taken is made another by the checksum.
    pub fn rename(&self, relative: &Path, to: &Path, identity: Identity) -> io::Result<Departure> {
        match self.take(relative, identity)? {
            Some(taken) => self.place(&taken, to).map(|()| Departure::Gone),
            None => Ok(Departure::Replaced),
        }
    }

    /// Moves a file to quarantine, under a name that is free there, and says where it is now.
    pub fn quarantine(&self, relative: &Path) -> io::Result<PathBuf> {
        self.quarantine_from(&self.path(relative), relative)
    }

    fn quarantine_from(&self, from: &Path, relative: &Path) -> io::Result<PathBuf> {
        let quarantine = self.own("quarantine");
        for attempt in 0_u32.. {
            let mut place = quarantine.join(relative).into_os_string();
            if attempt > 0 {
                place.push(format!("~{attempt}"));
            }
            let place = PathBuf::from(place);
            create_parent(&place)?;
            match rename_if_absent(from, &place) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                result => return result.map(|()| place),
            }
        }
        unreachable!("a quarantine holds fewer files than there are numbers")
    }

    /// Puts back what an earlier process had taken from its place when it ended.
    pub fn restore(&self) -> io::Result<()> {
        let moving = self.own("moving");
        let mut directories = vec![moving.clone()];
        while let Some(directory) = directories.pop() {
            let entries = match fs::read_dir(&directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                } else if let Ok(relative) = entry.path().strip_prefix(&moving) {
                    // One file that cannot go back must not keep all others waiting.
                    if self.place(&entry.path(), relative).is_err() {
                        self.quarantine_from(&entry.path(), relative)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves a file to where only we are. `None`: it is not the file that was meant, and is back in its place.
    fn take(&self, relative: &Path, identity: Identity) -> io::Result<Option<PathBuf>> {
        let (from, taken) = (self.path(relative), self.own("moving").join(relative));
        match rename_if_absent(&from, &taken) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_parent(&taken)?;
                rename_if_absent(&from, &taken)?;
            }
            result => result?,
        }
        if Identity::from(&taken.symlink_metadata()?) == identity {
            return Ok(Some(taken));
        }
        self.place(&taken, relative)?;
        Ok(None)
    }

    /// Puts a file that was taken into the spool, under this name or, where that is taken, its alternate.
    fn place(&self, taken: &Path, relative: &Path) -> io::Result<()> {
        let to = self.path(relative);
        create_parent(&to)?;
        match rename_if_absent(taken, &to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let recording = Recording::open(taken).map_err(|unopened| match unopened {
                    Unopened::Error(error) => error,
                    Unopened::Poison(poison) => io::Error::other(poison.to_string()),
                })?;
                rename_if_absent(taken, &self.path(&alternate(relative, recording.checksum()?)))
            }
            result => result,
        }
    }
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned());
        (directory, spool)
    }

    fn write(spool: &Spool, relative: &str, content: &str) -> Identity {
        let path = spool.path(Path::new(relative));
        create_parent(&path).unwrap();
        fs::write(&path, content).unwrap();
        Identity::from(&path.metadata().unwrap())
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
        assert_eq!(spool.remove(path, old).unwrap(), Departure::Replaced);
        assert_eq!(fs::read_to_string(spool.path(path)).unwrap(), "newer");
        assert_eq!(spool.remove(path, new).unwrap(), Departure::Gone);
        assert!(!spool.path(path).exists());
        assert_eq!(spool.remove(path, new).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_an_ended_process_had_taken_comes_back_and_replaces_nothing() {
        let (_directory, spool) = spool();
        let moving = spool.own("moving").join("d");
        fs::create_dir_all(&moving).unwrap();
        fs::write(moving.join("a.wav"), "taken").unwrap();
        fs::write(moving.join("b.wav"), "123456789").unwrap();
        write(&spool, "d/b.wav", "new");
        spool.restore().unwrap();
        let read = |name: &str| fs::read_to_string(spool.path(Path::new(name))).unwrap();
        assert_eq!(read("d/a.wav"), "taken");
        assert_eq!(read("d/b.wav"), "new");
        assert_eq!(read("d/b~ae8b14860a799888.wav"), "123456789");
    }

    #[test]
    fn what_cannot_come_back_is_quarantined_and_holds_up_nothing() {
        let (_directory, spool) = spool();
        let moving = spool.own("moving");
        fs::create_dir_all(&moving).unwrap();
        std::os::unix::fs::symlink("/nowhere", moving.join("a.wav")).unwrap();
        fs::write(moving.join("b.wav"), "taken").unwrap();
        write(&spool, "a.wav", "new");
        spool.restore().unwrap();
        assert_eq!(fs::read_to_string(spool.path(Path::new("b.wav"))).unwrap(), "taken");
        assert!(spool.own("quarantine").join("a.wav").symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn quarantine_keeps_every_file() {
        let (_directory, spool) = spool();
        for content in ["one", "two"] {
            write(&spool, "d/a.wav", content);
            let place = spool.quarantine(Path::new("d/a.wav")).unwrap();
            assert_eq!(fs::read_to_string(place).unwrap(), content);
        }
        assert!(spool.own("quarantine").join("d/a.wav~1").exists());
    }
}
