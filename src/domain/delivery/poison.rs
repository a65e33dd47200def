//! Files that can never be uploaded. They go to quarantine, so that they neither block the others nor disappear.

use std::io;

/// I/O errors in a row before a file is taken for unreadable.
const ERRORS_BEFORE_QUARANTINE: u32 = 5;

/// Why a file is quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Poison {
    /// Following it could send anything the uploader can read.
    #[strum(serialize = "it is a symbolic link")]
    Symlink,
    /// A FIFO, socket or device.
    #[strum(serialize = "it is not a regular file")]
    NotARegularFile,
    /// Permission or the medium.
    #[strum(serialize = "it cannot be read; let the recorder write it with the uploader's UID or GID")]
    Unreadable,
    /// S3 keys are Unicode.
    #[strum(serialize = "its name is not UTF-8")]
    NameNotUnicode,
    /// S3 keys have at most 1,024 bytes.
    #[strum(serialize = "prefix and path together are longer than the 1,024 bytes of an S3 key")]
    KeyTooLong,
    /// S3 holds other content under its key, and the file system allows no longer name.
    #[strum(serialize = "another recording has its key, and its name is too long to get the checksum added")]
    NameTooLong,
}

/// What a file is that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The recorder took it away.
    Gone,
    /// Never readable.
    Poison(Poison),
    /// Perhaps readable later.
    Retry,
}

/// Judges an error of opening or reading, the so-manieth in a row for this file.
pub fn after_failed_read(error: &io::Error, attempts: u32) -> Unread {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match error.kind() {
        NotFound | NotADirectory => Unread::Gone,
        PermissionDenied => Unread::Poison(Poison::Unreadable),
        // Opened without following links.
        _ if error.raw_os_error() == Some(libc::ELOOP) => Unread::Poison(Poison::Symlink),
        // Anything else can be ours or the medium's, and pass: only an error of the medium that stays is the file's.
        _ if error.raw_os_error() == Some(libc::EIO) && attempts >= ERRORS_BEFORE_QUARANTINE => {
            Unread::Poison(Poison::Unreadable)
        }
        _ => Unread::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_poison_only_when_the_fault_is_its_own() {
        for (code, attempts, expected) in [
            (libc::ENOENT, 1, Unread::Gone),
            (libc::ENOTDIR, 1, Unread::Gone),
            (libc::EACCES, 1, Unread::Poison(Poison::Unreadable)),
            (libc::ELOOP, 1, Unread::Poison(Poison::Symlink)),
            (libc::EIO, 1, Unread::Retry),
            (libc::EIO, 5, Unread::Poison(Poison::Unreadable)),
            (libc::EMFILE, 99, Unread::Retry),
            (libc::ENOMEM, 99, Unread::Retry),
            (libc::ESTALE, 99, Unread::Retry),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(after_failed_read(&error, attempts), expected, "{error} {attempts}");
        }
    }
}
