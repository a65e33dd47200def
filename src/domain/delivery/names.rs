//! Names: which files are recordings, and what their keys are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::Poison;
use crate::api::Crc64Nvme;

/// The directory in a spool that is ours: lock and quarantine.
pub const STATE_DIRECTORY: &str = ".recording-uploader";

/// Longest key, in bytes. Amazon S3 User Guide, "Naming Amazon S3 objects".
const LONGEST_KEY: usize = 1024;

/// Whether a path, relative to the spool, is not a recording, or not yet: `.part`, `.tmp` and dot
/// names, of the file or of a directory on the way to it, and the `lost+found` of a volume.
pub fn is_in_progress(relative: &Path) -> bool {
    relative == Path::new("lost+found")
        || relative.components().any(|component| match component {
            Component::Normal(name) => {
                let name = name.as_bytes();
                name.starts_with(b".") || name.ends_with(b".part") || name.ends_with(b".tmp")
            }
            _ => true,
        })
}

/// The key of a recording: the prefix and its path relative to the spool.
pub fn object_key(prefix: &str, relative: &Path) -> Result<String, Poison> {
    let path = relative.to_str().ok_or(Poison::NameNotUnicode)?;
    let key = format!("{prefix}{path}");
    if key.len() > LONGEST_KEY {
        return Err(Poison::KeyTooLong);
    }
    Ok(key)
}

/// The companion that belongs to a media file, whether it exists or not.
pub fn companion_of(media: &Path) -> PathBuf {
    media.with_extension("json")
}

/// Whether `companion` describes `media`, and so follows it.
pub fn is_companion_of(companion: &Path, media: &Path) -> bool {
    let json = Some(OsStr::new("json"));
    companion.extension() == json && media.extension() != json && companion_of(media) == companion
}

/// The name a recording goes by when S3 holds other content under its own, and its companion with
/// it: `a.wav` → `a~0123456789abcdef.wav`.
pub fn alternate(relative: &Path, media: Crc64Nvme) -> PathBuf {
    let mut name = relative.file_stem().unwrap_or_default().to_owned();
    name.push(format!("~{media:016x}"));
    if let Some(extension) = relative.extension() {
        name.push(".");
        name.push(extension);
    }
    relative.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_tmp_and_dot_names_are_in_progress_wherever_on_the_path() {
        for (path, expected) in [
            ("a.wav", false),
            ("2026/11/23/a.wav", false),
            ("with space/ünïcode\n.wav", false),
            ("a.part.wav", false),
            ("apart", false),
            ("a..wav", false),
            ("a.wav.part", true),
            ("a.tmp", true),
            (".a.wav", true),
            ("..a.wav", true),
            ("call.part/a.wav", true),
            (".snapshot/a.wav", true),
            (".recording-uploader/quarantine/a.wav", true),
            ("../a.wav", true),
            ("/a.wav", true),
            ("lost+found", true),
            ("2026/lost+found", false),
        ] {
            assert_eq!(is_in_progress(Path::new(path)), expected, "{path:?}");
        }
    }

    #[test]
    fn a_key_is_the_prefix_and_the_path_and_nothing_is_escaped() {
        let key = |prefix, path| object_key(prefix, Path::new(path));
        assert_eq!(key("", "a.wav").unwrap(), "a.wav");
        assert_eq!(key("calls/", "2026/b c\n%41.wav").unwrap(), "calls/2026/b c\n%41.wav");
    }

    #[test]
    fn a_name_that_cannot_be_a_key_is_poison() {
        let not_unicode = Path::new(OsStr::from_bytes(b"a\xff.wav"));
        assert_eq!(object_key("", not_unicode), Err(Poison::NameNotUnicode));
        let longest = "x".repeat(LONGEST_KEY - "calls/".len());
        assert!(object_key("calls/", Path::new(&longest)).is_ok());
        assert_eq!(object_key("calls/", Path::new(&format!("{longest}x"))), Err(Poison::KeyTooLong));
    }

    #[test]
    fn a_companion_shares_directory_and_stem_with_its_media_file() {
        for (companion, media, expected) in [
            ("a.json", "a.wav", true),
            ("a.json", "a", true),
            ("d/a.b.json", "d/a.b.wav", true),
            ("a.json", "d/a.wav", false),
            ("a.json", "ab.wav", false),
            ("a.json", "a.b.wav", false),
            ("a.json", "a.json", false),
            ("a.wav", "a.mp3", false),
        ] {
            assert_eq!(
                is_companion_of(Path::new(companion), Path::new(media)),
                expected,
                "{companion} {media}"
            );
        }
    }

    #[test]
    fn the_alternate_name_carries_the_medias_checksum() {
        let checksum = Crc64Nvme(0xab);
        for (path, expected) in [
            ("a.wav", "a~00000000000000ab.wav"),
            ("d/a.json", "d/a~00000000000000ab.json"),
            ("d/a", "d/a~00000000000000ab"),
            ("a.b.wav", "a.b~00000000000000ab.wav"),
        ] {
            assert_eq!(alternate(Path::new(path), checksum), Path::new(expected));
        }
    }
}
