//! Paths of the spool as single names, for directories of the uploader's own: so none has to be made on a full volume.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::domain::delivery::STATE_DIRECTORY;

/// Files that are being removed, by their paths in one name, and those whose paths are too long for that.
pub const MOVING: &str = "moving";
pub const MOVING_LONG: &str = "moving-long";
/// Longest name of a file, in bytes, on every file system in use.
const LONGEST_NAME: usize = 255;

/// The path as one name; `None`: that would be too long.
pub fn flat(relative: &Path) -> Option<OsString> {
    let mut name = Vec::new();
    for byte in relative.as_os_str().as_bytes() {
        match byte {
            b'/' => name.extend(b"%2F"),
            b'%' => name.extend(b"%25"),
            byte => name.push(*byte),
        }
    }
    (name.len() <= LONGEST_NAME).then(|| OsString::from_vec(name))
}

/// The path that such a name stands for.
pub fn unflat(name: &OsStr) -> PathBuf {
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

/// Where a file is while it is let go: one name, so that no directory has to be made on a full volume.
pub fn moving(relative: &Path) -> PathBuf {
    match flat(relative) {
        Some(name) => own(MOVING).join(name),
        None => own(MOVING_LONG).join(relative),
    }
}

/// The path of something that is ours.
pub fn own(name: &str) -> PathBuf {
    Path::new(STATE_DIRECTORY).join(name)
}
