//! The system calls of the uploader. Each call that can fail is made here, by open directories and single names, so
//! that no link is followed on the way. Tests make each of them fail in turn.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use inotify::{Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, StatVfs};
use rustix::io::Errno;

use crate::domain::delivery::{Lease, lease};
#[cfg(test)]
use crate::uploader::tests::steps::{step, step_at};

/// Before each call that can fail.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
fn step(_: &'static str) -> io::Result<()> {
    Ok(())
}

/// The same, of a call about what is at this path.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
fn step_at(_: &'static str, _: &Path) -> io::Result<()> {
    Ok(())
}

/// The same, of a call about this name in a directory.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
fn step_in(_: &'static str, _: &impl AsFd, _: &OsStr) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn step_in(call: &'static str, directory: &impl AsFd, name: &OsStr) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
    step_at(call, &Path::new(&path).join(name))
}

const NEW_DIRECTORY: Mode = Mode::from_raw_mode(0o777);
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// Opens a directory by its path, which may lead over links.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    step("open the spool")?;
    Ok(rustix::fs::openat(CWD, path, DIRECTORY | OFlags::PATH, Mode::empty())?)
}

/// Opens a directory in a directory, to reach what is in it. `NotADirectory`: it is none, or a link to one.
pub fn enter(directory: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    step("enter a directory")?;
    Ok(rustix::fs::openat(directory, name, DIRECTORY | OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Makes a directory unless it is there.
pub fn make_directory(directory: impl AsFd, name: &OsStr) -> io::Result<()> {
    step("make a directory")?;
    match rustix::fs::mkdirat(directory, name, NEW_DIRECTORY) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        result => Ok(result?),
    }
}

/// The names in a directory, with whether each is a directory.
pub fn list(directory: impl AsFd) -> io::Result<impl Iterator<Item = io::Result<(OsString, bool)>>> {
    step_in("read a directory", &directory, OsStr::new("."))?;
    let readable = rustix::fs::openat(directory, ".", DIRECTORY, Mode::empty())?;
    let names = rustix::fs::Dir::new(readable.try_clone()?)?.filter_map(move |entry| {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error.into())),
        };
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            return None;
        }
        let is_directory = match entry.file_type() {
            // Some file systems do not report the type.
            FileType::Unknown => {
                metadata_at(&readable, name).is_ok_and(|stat| file_type(&stat) == FileType::Directory)
            }
            kind => kind == FileType::Directory,
        };
        Some(Ok((name.to_owned(), is_directory)))
    });
    Ok(names)
}

/// What a name stands for, a link itself and not what it points to.
pub fn metadata_at(directory: impl AsFd, name: &OsStr) -> io::Result<Stat> {
    step("stat a name")?;
    Ok(rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The kind of a file.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens a file for reading, and neither a link nor, by waiting for its other side, a FIFO.
pub fn open(directory: impl AsFd, name: &OsStr) -> io::Result<File> {
    step_in("open a file", &directory, name)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?.into())
}

/// What an open file is.
pub fn metadata(file: &File) -> io::Result<Stat> {
    step("stat a file")?;
    Ok(rustix::fs::fstat(file)?)
}

/// Reads from a place in a file; 0: it ends before.
pub fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    step("read a file")?;
    loop {
        match file.read_at(buffer, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reads a regular file of at most so many bytes to its end. `InvalidData`: it is another.
pub fn read(file: File, limit: u64) -> io::Result<Vec<u8>> {
    must_be_regular(&file)?;
    step("read a file")?;
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes")));
    }
    Ok(content)
}

fn must_be_regular(file: &File) -> io::Result<()> {
    match file_type(&metadata(file)?) {
        FileType::RegularFile => Ok(()),
        _ => Err(not_regular()),
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a regular file")
}

/// The user and the group of a directory or a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Whose a directory is.
pub fn owner(directory: impl AsFd) -> io::Result<Owner> {
    step("stat a directory")?;
    let stat = rustix::fs::fstat(directory)?;
    Ok(Owner { uid: stat.st_uid, gid: stat.st_gid })
}

/// The user and the group of this process.
pub fn own_ids() -> Owner {
    Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

/// Unlinks a file.
pub fn unlink(directory: impl AsFd, name: &OsStr) -> io::Result<()> {
    step("unlink a file")?;
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?)
}

/// Renames a file, over whatever has the new name.
pub fn rename(from: impl AsFd, name: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    step("rename a file")?;
    Ok(rustix::fs::renameat(from, name, to, new)?)
}

/// Renames unless the new name is taken (`AlreadyExists`). On file systems without the flag, such as NFS, a second link is
/// made and the first removed: a process that ends in between leaves both, which are one file. Where there are no links
/// either, the name is looked at first, and one taken within that instant is not noticed.
pub fn rename_if_absent(from: impl AsFd, name: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    step_in("rename a file", &from, OsStr::new("."))?;
    let (from, to) = (from.as_fd(), to.as_fd());
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_if_absent(from, name, to, new),
        result => Ok(result?),
    }
}

fn link_if_absent(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new: &OsStr) -> io::Result<()> {
    match rustix::fs::linkat(from, name, to, new, AtFlags::empty()) {
        Ok(()) => return Ok(rustix::fs::unlinkat(from, name, AtFlags::empty())?),
        // The answer to the first of two requests was lost, or a process ended in between.
        Err(Errno::EXIST) if is_one_file(from, name, to, new) => {
            return Ok(rustix::fs::unlinkat(from, name, AtFlags::empty())?);
        }
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
        Err(error) => return Err(error.into()),
    }
    match rustix::fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(Errno::NOENT) => Ok(rustix::fs::renameat(from, name, to, new)?),
        Err(error) => Err(error.into()),
    }
}

/// Whether two names are links of one file.
fn is_one_file(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new: &OsStr) -> bool {
    let inode = |directory: BorrowedFd<'_>, name: &OsStr| {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    inode(from, name).is_some_and(|first| inode(to, new) == Some(first))
}

/// Makes a file, which must not be there.
pub fn create_new(directory: impl AsFd, name: &OsStr) -> io::Result<File> {
    step("create a file")?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, NEW_FILE)?.into())
}

/// Writes a file and waits until its medium has it.
pub fn write_and_sync(mut file: File, content: &[u8]) -> io::Result<()> {
    step("write a file")?;
    file.write_all(content)?;
    step("sync a file")?;
    file.sync_all()
}

/// Waits until the medium has the names in a directory.
pub fn sync_directory(directory: impl AsFd) -> io::Result<()> {
    step("sync a directory")?;
    let readable = rustix::fs::openat(directory, ".", DIRECTORY, Mode::empty())?;
    Ok(rustix::fs::fsync(readable)?)
}

/// Opens a regular file, created if it is missing, and locks it. `None`: another process has the lock. `InvalidData`: the
/// name is taken by something else, such as a FIFO, whose opening must not wait for its other side.
pub fn lock(directory: impl AsFd, name: &OsStr) -> io::Result<Option<File>> {
    use rustix::io::Errno;
    step("lock a file")?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, name, flags, NEW_FILE) {
        Err(Errno::NXIO | Errno::LOOP | Errno::ISDIR) => return Err(not_regular()),
        opened => File::from(opened?),
    };
    must_be_regular(&file)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Writes a file so that it is there in whole or not at all.
pub fn replace(path: &Path, content: &str, permissions: Permissions) -> io::Result<()> {
    let new = path.with_extension("tmp");
    let write = || {
        step("create a file")?;
        let file = File::create(&new)?;
        file.set_permissions(permissions)?;
        write_and_sync(file, content.as_bytes())?;
        step("rename a file")?;
        fs::rename(&new, path)
    };
    let written = write();
    if written.is_err() {
        // What a failed sync gave up is never synced again.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Writes the termination message, where Kubernetes reads one.
pub fn leave_message(termination_log: &Path, message: &str) {
    let open = |()| fs::OpenOptions::new().write(true).truncate(true).open(termination_log);
    let file = step("leave a message").and_then(open);
    if let Err(error) = file.and_then(|mut file| file.write_all(message.as_bytes())) {
        tracing::debug!(%error, "cannot write the termination message");
    }
}

/// How full the file system of a directory is.
pub fn space(directory: impl AsFd) -> io::Result<StatVfs> {
    step("ask for free space")?;
    Ok(rustix::fs::fstatvfs(directory)?)
}

/// A queue of events, as yet of nothing.
pub fn inotify() -> io::Result<Inotify> {
    step("open inotify")?;
    Inotify::init()
}

/// Watches the very directory that is open, whatever its path leads to by now.
pub fn watch(
    watches: &mut Watches,
    directory: &impl AsRawFd,
    mask: WatchMask,
) -> io::Result<WatchDescriptor> {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    step_at("watch a directory", path.as_ref())?;
    watches.add(path, mask)
}

/// Which signal a broken lease raises: asm-generic/fcntl.h, which the libc crate leaves out for glibc.
const F_SETSIG: libc::c_int = 10;

/// Asks for a read lease and gives it back at once: a writer that opens the file in between waits for no
/// longer than that. See fcntl(2), "Leases".
pub fn probe_lease(file: &File) -> Lease {
    if step("ask for a lease").is_err() {
        return Lease::Unavailable;
    }
    let file_system = rustix::fs::fstatfs(file).map_or(0, |it| it.f_type.cast_unsigned());
    lease(file_system, ask_for_lease(file))
}

fn ask_for_lease(file: &File) -> Lease {
    let fd = file.as_raw_fd();
    // SAFETY: fcntl on a descriptor that `file` keeps open; none of the commands takes a pointer.
    unsafe {
        // A lease that breaks raises SIGIO, which would end the process; SIGURG is ignored by default.
        if libc::fcntl(fd, F_SETSIG, libc::SIGURG) == -1 {
            return Lease::Unavailable;
        }
        if libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK);
            return Lease::Granted;
        }
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Lease::Refused,
        _ => Lease::Unavailable,
    }
}

#[cfg(test)]
mod tests;
