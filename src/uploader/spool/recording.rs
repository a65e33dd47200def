//! One file of the spool, opened for reading.

use std::any::Any;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{FileType, Stat};

use crate::api::Crc64Nvme;
use crate::domain::delivery::{Lease, Poison};
use crate::uploader::spool::blocking::blocking;
use crate::uploader::spool::buffers::Buffer;
use crate::uploader::spool::dir_entry::DirEntry;
use crate::uploader::spool::syscalls;

/// Which file, and in which state: equal versions mean that nobody wrote to it in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    /// Bytes.
    pub size: u64,
}

impl From<&Stat> for FileVersion {
    fn from(stat: &Stat) -> Self {
        FileVersion {
            device: stat.st_dev,
            inode: stat.st_ino,
            modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            size: stat.st_size.cast_unsigned(),
        }
    }
}

/// A regular file, open. Clones share it.
#[derive(Clone, Debug)]
pub struct Recording {
    file: Arc<File>,
    /// As it was when opened.
    pub version: FileVersion,
    /// When it was written to last, by its file system's clock.
    pub modified: SystemTime,
}

/// When a file was written to last, by its file system's clock.
pub fn modified(stat: &Stat) -> SystemTime {
    let since_epoch = Duration::new(
        stat.st_mtime.try_into().unwrap_or_default(),
        stat.st_mtime_nsec.try_into().unwrap_or_default(),
    );
    SystemTime::UNIX_EPOCH + since_epoch
}

/// Why a path is not an open recording.
#[derive(Debug)]
pub enum Unopened {
    /// It never will be.
    Poison(Poison),
    /// The call failed.
    Error(io::Error),
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        Unopened::Error(error)
    }
}

impl Recording {
    /// Opens a file below `root` without following a link anywhere on the way there.
    pub fn open(root: &Path, relative: &Path) -> Result<Self, Unopened> {
        Recording::open_at(&DirEntry::find(root, relative)?)
    }

    /// Opens a file of the spool.
    pub fn open_at(place: &DirEntry) -> Result<Self, Unopened> {
        match syscalls::file_type(&place.metadata()?) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(Unopened::Poison(Poison::Symlink)),
            _ => return Err(Unopened::Poison(Poison::NotARegularFile)),
        }
        let file = place.open()?;
        let stat = syscalls::metadata(&file)?;
        Ok(Recording { file: file.into(), version: FileVersion::from(&stat), modified: modified(&stat) })
    }

    /// Whether a process has it open for writing.
    pub fn lease(&self) -> Lease {
        syscalls::probe_lease(&self.file)
    }

    /// The same as [`Recording::unchanged`], on this thread.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(FileVersion::from(&syscalls::metadata(&self.file)?) == self.version)
    }

    /// Fills a buffer from a place in the file; `UnexpectedEof` when the file has shrunk.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match syscalls::read_at(&self.file, &mut buffer[filled..], position + filled as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }

    pub fn range(&self) -> Range<u64> {
        0..self.version.size
    }

    /// The bytes of a recording that fits into one buffer, which hold `held`; `None` when it changed while it was read.
    pub async fn read_small(&self, held: Arc<dyn Any + Send + Sync>) -> io::Result<Option<Bytes>> {
        let reading = self.clone();
        blocking(move || {
            let mut buffer = Buffer::holding(held);
            reading.read_exact_at(buffer.first(reading.version.size), 0)?;
            Ok(reading.is_unchanged()?.then(|| buffer.into_bytes()))
        })
        .await
    }

    /// The checksum of all bytes; `None` when the file changed while it was read.
    pub async fn checksum(&self) -> io::Result<Option<Crc64Nvme>> {
        let reading = self.clone();
        blocking(move || {
            let crc64nvme = reading.compute_checksum(reading.range())?;
            Ok(reading.is_unchanged()?.then_some(crc64nvme))
        })
        .await
    }

    /// The checksum of a range of bytes; `UnexpectedEof` when the file has shrunk.
    pub async fn range_checksum(&self, range: Range<u64>) -> io::Result<Crc64Nvme> {
        let reading = self.clone();
        blocking(move || reading.compute_checksum(range)).await
    }

    /// Whether nobody has written to the file since it was opened.
    pub async fn unchanged(&self) -> io::Result<bool> {
        let reading = self.clone();
        blocking(move || reading.is_unchanged()).await
    }

    /// The same as [`Recording::range_checksum`], on this thread.
    pub fn compute_checksum(&self, range: Range<u64>) -> io::Result<Crc64Nvme> {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let mut buffer = Buffer::new();
        let mut position = range.start;
        while position < range.end {
            let chunk = buffer.next_chunk(range.end - position);
            self.read_exact_at(chunk, position)?;
            digest.update(chunk);
            position += chunk.len() as u64;
        }
        Ok(Crc64Nvme(digest.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::*;
    use crate::uploader::spool::buffers::BUFFER_BYTES;

    #[test]
    fn the_checksum_is_that_of_the_bytes_and_a_write_shows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.wav");
        let bytes = vec![7; BUFFER_BYTES * 2 + 3];
        std::fs::write(&path, &bytes).unwrap();
        let recording = Recording::open(directory.path(), "a.wav".as_ref()).unwrap();
        assert_eq!(recording.compute_checksum(recording.range()).unwrap(), Crc64Nvme::of(&bytes));
        assert!(recording.is_unchanged().unwrap());

        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        assert_eq!(recording.compute_checksum(recording.range()).unwrap(), Crc64Nvme::of(&bytes));
        assert!(!recording.is_unchanged().unwrap());

        File::create(&path).unwrap();
        assert_eq!(
            recording.compute_checksum(recording.range()).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn an_empty_file_has_a_checksum_too() {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join("a.wav")).unwrap();
        let recording = Recording::open(directory.path(), "a.wav".as_ref()).unwrap();
        assert_eq!(recording.compute_checksum(recording.range()).unwrap(), Crc64Nvme::of(b""));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| Recording::open(directory.path(), name.as_ref());
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("link")).unwrap();
        assert!(matches!(open("link"), Err(Unopened::Poison(Poison::Symlink))));
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(open("socket"), Err(Unopened::Poison(Poison::NotARegularFile))));
    }
}
