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

/// What a name in the spool stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A recording, or a directory that may hold some.
    Recording,
    /// Not yet one: `.part`, `.tmp` and dot names, of the file or of a directory on the way to it.
    InProgress,
    /// Never one: the uploader's own directory, and the `lost+found` of a volume.
    Reserved,
}

/// Tells names apart. The path is relative to the spool.
pub fn classify(relative: &Path) -> Name {
    if relative.starts_with(STATE_DIRECTORY) || relative.starts_with("lost+found") {
        return Name::Reserved;
    }
    let in_progress = relative.components().any(|component| match component {
        Component::Normal(name) => {
            let name = name.as_bytes();
            name.starts_with(b".") || name.ends_with(b".part") || name.ends_with(b".tmp")
        }
        _ => true,
    });
    if in_progress { Name::InProgress } else { Name::Recording }
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

/// The companion that a file under a name in progress will have, if that becomes a media file.
pub fn companion_of_part(in_progress: &Path) -> Option<PathBuf> {
    let name = in_progress.file_name()?.as_bytes();
    let name = name.strip_suffix(b".part").or(name.strip_suffix(b".tmp")).unwrap_or(name);
    let name = name.strip_prefix(b".").unwrap_or(name);
    let media = in_progress.with_file_name(OsStr::from_bytes(name));
    let companion = companion_of(&media);
    (!name.is_empty() && is_companion_of(&companion, &media)).then_some(companion)
}

/// The name a recording goes by when S3 holds other content under its own, and its companion with
/// it: `a.wav` → `a~0123456789abcdef.wav`.
pub fn alternate(relative: &Path, media: Crc64Nvme) -> PathBuf {
    let stem = relative.file_stem().unwrap_or_default().as_bytes();
    // The alternate of an alternate name has its place: nobody could tell how often a name was lengthened.
    let stem = match stem.split_last_chunk::<17>() {
        Some((stem, [b'~', digits @ ..])) if digits.iter().all(u8::is_ascii_hexdigit) => stem,
        _ => stem,
    };
    let mut name = OsStr::from_bytes(stem).to_owned();
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
            ("a.wav", Name::Recording),
            ("2026/11/23/a.wav", Name::Recording),
            ("with space/ünïcode\n.wav", Name::Recording),
            ("a.part.wav", Name::Recording),
            ("apart", Name::Recording),
            ("a..wav", Name::Recording),
            ("2026/lost+found", Name::Recording),
            ("a.wav.part", Name::InProgress),
            ("a.tmp", Name::InProgress),
            (".a.wav", Name::InProgress),
            ("..a.wav", Name::InProgress),
            ("call.part/a.wav", Name::InProgress),
            (".snapshot/a.wav", Name::InProgress),
            ("../a.wav", Name::InProgress),
            ("/a.wav", Name::InProgress),
            (".recording-uploader/quarantine/a.wav", Name::Reserved),
            ("lost+found", Name::Reserved),
        ] {
            assert_eq!(classify(Path::new(path)), expected, "{path:?}");
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
    fn a_name_in_progress_is_that_of_a_media_file_or_of_a_companion() {
        for (part, expected) in [
            ("d/a.wav.part", Some("d/a.json")),
            ("a.part", Some("a.json")),
            ("a.tmp", Some("a.json")),
            (".a.wav", Some("a.json")),
            (".a.wav.part", Some("a.json")),
            ("a.json.part", None),
            (".a.json", None),
            (".part", None),
        ] {
            assert_eq!(companion_of_part(Path::new(part)).as_deref(), expected.map(Path::new), "{part}");
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
            ("a~00000000000000ab.wav", "a~00000000000000ab.wav"),
            ("a~ffffffffffffffff.wav", "a~00000000000000ab.wav"),
            ("a~fffffffffffffffg.wav", "a~fffffffffffffffg~00000000000000ab.wav"),
        ] {
            assert_eq!(alternate(Path::new(path), checksum), Path::new(expected));
        }
    }
}
