//! What to do about a spool that the file system does not let us use.

use std::io::ErrorKind;

/// Where a file cannot be made, moved or unlinked.
pub fn remedy_to_write(error: ErrorKind) -> &'static str {
    match error {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the volume is full, and a few KiB are needed: make room in it, or make it larger"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "the volume is mounted read-only, or became so by an error of its medium: see the node's log"
        }
        ErrorKind::InvalidData | ErrorKind::NotADirectory => {
            "something else has the name .recording-uploader, or that of a file in it: remove that from the spool"
        }
        ErrorKind::CrossesDevices => {
            "another volume is mounted below the spool, and files cannot be moved from one to the other: mount one \
             volume, or give each recorder its own spool"
        }
        _ => "let it be writable for the uploader's UID or GID",
    }
}

/// Where a directory cannot be read.
pub fn remedy_to_read(error: ErrorKind) -> &'static str {
    match error {
        ErrorKind::PermissionDenied => {
            "let the directory be readable and searchable (r-x) for the uploader's UID or GID"
        }
        ErrorKind::NotFound => "mount the volume that holds the recordings",
        _ => "the volume gives errors: see the node's log",
    }
}

/// Where a directory cannot be watched.
pub fn remedy_to_watch(error: ErrorKind) -> Option<&'static str> {
    // The number of watches of a user on a node is limited; a watch takes no disk space.
    (error == ErrorKind::StorageFull).then_some("raise fs.inotify.max_user_watches on the node")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_remedy_that_helps() {
        for (error, read) in [(ErrorKind::PermissionDenied, "r-x"), (ErrorKind::Other, "node's log")] {
            assert!(remedy_to_read(error).contains(read), "{error}");
        }
        for (error, write, watch) in [
            (ErrorKind::StorageFull, "make room", Some("max_user_watches")),
            (ErrorKind::QuotaExceeded, "make room", None),
            (ErrorKind::ReadOnlyFilesystem, "node's log", None),
            (ErrorKind::InvalidData, "remove that", None),
            (ErrorKind::NotADirectory, "remove that", None),
            (ErrorKind::CrossesDevices, "mount one volume", None),
            (ErrorKind::PermissionDenied, "UID or GID", None),
        ] {
            assert!(remedy_to_write(error).contains(write), "{error}");
            let said = remedy_to_watch(error);
            assert_eq!(said.is_some(), watch.is_some(), "{error}");
            assert!(said.unwrap_or_default().contains(watch.unwrap_or_default()), "{error}");
        }
    }
}
