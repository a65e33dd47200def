//! A name in a directory that is held open. Whatever becomes of the path meanwhile, a link in place of a directory
//! included, each call acts on the directory that was opened.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::Stat;

use crate::uploader::spool::syscalls;

#[derive(Debug)]
pub struct DirEntry {
    directory: OwnedFd,
    name: OsString,
}

impl DirEntry {
    /// The entry of a path below `root`. `NotADirectory`: a part of the path is no directory, or is a link.
    pub fn find(root: &Path, relative: &Path) -> io::Result<Self> {
        DirEntry::of(root, relative, |directory, name| syscalls::enter(directory, name))
    }

    /// The same; missing directories on the way are created.
    pub fn make(root: &Path, relative: &Path) -> io::Result<Self> {
        DirEntry::of(root, relative, |directory, name| match syscalls::enter(directory, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                syscalls::make_directory(directory, name)?;
                syscalls::enter(directory, name)
            }
            result => result,
        })
    }

    fn of(
        root: &Path,
        relative: &Path,
        enter: impl Fn(BorrowedFd<'_>, &OsStr) -> io::Result<OwnedFd>,
    ) -> io::Result<Self> {
        let name = relative.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        let above = relative.parent().unwrap_or(Path::new(""));
        Ok(DirEntry { directory: descend(root, above, enter)?, name })
    }

    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    pub fn metadata(&self) -> io::Result<Stat> {
        syscalls::metadata_at(&self.directory, &self.name)
    }

    pub fn open(&self) -> io::Result<File> {
        syscalls::open(&self.directory, &self.name)
    }

    /// Opens and locks the file, created if it is missing. `None`: another process has the lock.
    pub fn lock(&self) -> io::Result<Option<File>> {
        syscalls::lock(&self.directory, &self.name)
    }

    /// The content of a regular file. `InvalidData`: it is another, or has more bytes than that.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        syscalls::read(self.open()?, limit)
    }

    /// Writes a new file and waits until the medium has it.
    pub fn write_new(&self, content: &[u8]) -> io::Result<()> {
        syscalls::write_and_sync(syscalls::create_new(&self.directory, &self.name)?, content)
    }

    pub fn make_file(&self) -> io::Result<()> {
        syscalls::create_new(&self.directory, &self.name).map(drop)
    }

    pub fn unlink(&self) -> io::Result<()> {
        syscalls::unlink(&self.directory, &self.name)
    }

    /// Renames to a name that is free; `AlreadyExists` when it is not.
    pub fn move_to(&self, free: &DirEntry) -> io::Result<()> {
        syscalls::rename_if_absent(&self.directory, &self.name, &free.directory, &free.name)
    }

    /// Renames over whatever has the other name.
    pub fn replace(&self, other: &DirEntry) -> io::Result<()> {
        syscalls::rename(&self.directory, &self.name, &other.directory, &other.name)
    }
}

/// Opens a directory below `root`, to reach what is in it.
pub fn open_directory(root: &Path, relative: &Path) -> io::Result<OwnedFd> {
    descend(root, relative, |directory, name| syscalls::enter(directory, name))
}

fn descend(
    root: &Path,
    relative: &Path,
    enter: impl Fn(BorrowedFd<'_>, &OsStr) -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let mut directory = syscalls::open_root(root)?;
    for component in relative.components() {
        let Component::Normal(name) = component else { return Err(io::ErrorKind::InvalidFilename.into()) };
        directory = enter(directory.as_fd(), name)?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_link_in_place_of_a_directory_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, outside) = (directory.path().join("spool"), directory.path().join("outside"));
        fs::create_dir_all(spool.join("d/e")).unwrap();
        fs::create_dir_all(outside.join("e")).unwrap();
        fs::write(spool.join("d/e/a.wav"), "ours").unwrap();
        fs::write(outside.join("e/a.wav"), "not ours").unwrap();
        let relative = Path::new("d/e/a.wav");
        let held = DirEntry::find(&spool, relative).unwrap();
        assert_eq!(held.metadata().unwrap().st_size, 4);

        fs::rename(spool.join("d"), spool.join("old")).unwrap();
        std::os::unix::fs::symlink(&outside, spool.join("d")).unwrap();
        for place in [DirEntry::find(&spool, relative), DirEntry::make(&spool, relative)] {
            assert_eq!(place.unwrap_err().kind(), io::ErrorKind::NotADirectory);
        }
        held.unlink().unwrap();
        assert!(!spool.join("old/e/a.wav").exists(), "the directory that is held is the one that was found");
        assert!(outside.join("e/a.wav").exists());
    }

    #[test]
    fn no_path_leads_upwards() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["../a.wav", "d/../../a.wav", "/etc/passwd", "", ".."] {
            let place = DirEntry::make(directory.path(), Path::new(path));
            assert_eq!(place.unwrap_err().kind(), io::ErrorKind::InvalidFilename, "{path}");
        }
    }
}
