//! One file of the spool, opened for reading.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::syscalls::probe_lease;
use crate::api::Crc64Nvme;
use crate::domain::delivery::{Lease, Poison};

/// How much is read at a time for the checksum.
const READ_BYTES: usize = 256 * 1024;

/// Which file, and in which state: equal means that nobody wrote to it in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    /// In bytes.
    pub size: u64,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        }
    }
}

/// A regular file, open.
#[derive(Debug)]
pub struct Recording {
    file: File,
    /// As it was when opened.
    pub identity: Identity,
    modified: SystemTime,
}

/// Why a path is not an open recording.
#[derive(Debug)]
pub enum Unopened {
    /// It never will be.
    Poison(Poison),
    /// The call failed.
    Error(io::Error),
}

impl Recording {
    /// Opens a file without following a link at its end, and without waiting for a FIFO's other side.
    pub fn open(path: &Path) -> Result<Self, Unopened> {
        let kind = path.symlink_metadata().map_err(Unopened::Error)?.file_type();
        if kind.is_symlink() {
            return Err(Unopened::Poison(Poison::Symlink));
        }
        if !kind.is_file() {
            return Err(Unopened::Poison(Poison::NotARegularFile));
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .map_err(Unopened::Error)?;
        let metadata = file.metadata().map_err(Unopened::Error)?;
        let modified = metadata.modified().map_err(Unopened::Error)?;
        Ok(Recording { file, identity: Identity::from(&metadata), modified })
    }

    /// Time since the last change by the file system's clock; zero when that clock is ahead of ours.
    pub fn age(&self) -> Duration {
        SystemTime::now().duration_since(self.modified).unwrap_or_default()
    }

    /// Whether somebody has it open for writing.
    pub fn lease(&self) -> Lease {
        probe_lease(&self.file)
    }

    /// Whether nobody has written to it since it was opened.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(Identity::from(&self.file.metadata()?) == self.identity)
    }

    /// The checksum of as many bytes as it had when opened; `UnexpectedEof` when it has shrunk.
    pub fn checksum(&self) -> io::Result<Crc64Nvme> {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let mut buffer = vec![0; READ_BYTES.min(self.identity.size.max(1) as usize)];
        let mut position = 0;
        while position < self.identity.size {
            let wanted = buffer.len().min((self.identity.size - position) as usize);
            match self.file.read_at(&mut buffer[..wanted], position) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    digest.update(&buffer[..read]);
                    position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Crc64Nvme(digest.finalize()))
    }

    /// The same file opened once more, at its start. Not a clone of the handle: a read that outlives an
    /// abandoned upload would move the position under the next one.
    pub fn reopen(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_bytes_and_a_write_shows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.wav");
        let bytes = vec![7; READ_BYTES * 2 + 3];
        std::fs::write(&path, &bytes).unwrap();
        let recording = Recording::open(&path).unwrap();
        assert_eq!(recording.checksum().unwrap(), Crc64Nvme::of(&bytes));
        assert!(recording.is_unchanged().unwrap());

        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        assert_eq!(recording.checksum().unwrap(), Crc64Nvme::of(&bytes));
        assert!(!recording.is_unchanged().unwrap());

        File::create(&path).unwrap();
        assert_eq!(recording.checksum().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_empty_file_has_a_checksum_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Recording::open(file.path()).unwrap().checksum().unwrap(), Crc64Nvme::of(b""));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(matches!(Recording::open(&link), Err(Unopened::Poison(Poison::Symlink))));
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(Recording::open(&socket), Err(Unopened::Poison(Poison::NotARegularFile))));
    }
}
