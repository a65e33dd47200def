//! Two calls that the standard library lacks.

use std::ffi::CString;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::domain::delivery::Lease;

/// Which signal a broken lease raises: asm-generic/fcntl.h, which the libc crate leaves out for glibc.
const F_SETSIG: libc::c_int = 10;

/// Asks for a read lease and gives it back at once: a writer that opens the file in between waits for no
/// longer than that. See fcntl(2), "Leases".
pub fn probe_lease(file: &File) -> Lease {
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

/// Renames unless the new name is taken (`AlreadyExists`). File systems without the flag, such as NFS, are asked
/// first, and a name taken within that instant is not noticed.
pub fn rename_if_absent(from: &Path, to: &Path) -> io::Result<()> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let (c_from, c_to) = (path(from)?, path(to)?);
    // SAFETY: both paths are NUL-terminated and outlive the call.
    let renamed = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            c_from.as_ptr(),
            libc::AT_FDCWD,
            c_to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if renamed == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) {
        return Err(error);
    }
    match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Writes a file so that it is there in whole or not at all.
pub fn replace(path: &Path, content: &str, permissions: Permissions) -> io::Result<()> {
    let new = path.with_extension("tmp");
    let mut file = File::create(&new)?;
    file.set_permissions(permissions)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_refused_while_a_writer_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.wav");
        let writer = File::create(&path).unwrap();
        assert_eq!(probe_lease(&File::open(&path).unwrap()), Lease::Refused);
        drop(writer);
        assert_eq!(probe_lease(&File::open(&path).unwrap()), Lease::Granted);
    }

    #[test]
    fn a_rename_never_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&a, "a").unwrap();
        std::fs::write(&b, "b").unwrap();
        assert_eq!(rename_if_absent(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&b).unwrap(), "b");
        std::fs::remove_file(&b).unwrap();
        rename_if_absent(&a, &b).unwrap();
        assert_eq!(std::fs::read_to_string(&b).unwrap(), "a");
    }
}
