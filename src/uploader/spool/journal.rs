//! Journals of uploads in parts, on disk: one file for each, which is there in its old state or in its new one.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::domain::delivery::{Journal, STATE_DIRECTORY};
use crate::uploader::spool::Spool;
use crate::uploader::spool::blocking::blocking;
use crate::uploader::spool::dir_entry::{DirEntry, open_directory};
use crate::uploader::spool::syscalls;

/// Most bytes that are read of a journal: 10,000 parts take up to 1.5 MB.
const LIMIT: u64 = 4 << 20;

/// The journal of a recording's upload, if there is one that can be read.
pub async fn load(spool: &Spool, relative: &Path) -> io::Result<Option<Journal>> {
    let (spool, relative) = (spool.clone(), relative.to_owned());
    blocking(move || {
        let content = DirEntry::find(spool.root(), &file_of(&relative)).and_then(|entry| entry.read(LIMIT));
        match content {
            // What is not a journal is as good as none: its upload is lost to us, and no recording with it.
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Writes a journal.
pub async fn save(spool: &Spool, journal: Journal) -> io::Result<()> {
    let spool = spool.clone();
    blocking(move || write(spool.root(), &journal)).await
}

/// Each try writes a file of its own: one whose pages a failed sync gave up is never synced again.
fn write(root: &Path, journal: &Journal) -> io::Result<()> {
    let file = file_of(Path::new(&journal.path));
    let entry = DirEntry::make(root, &file)?;
    let new = DirEntry::make(root, &file.with_extension(format!("{:016x}.tmp", rand::random::<u64>())))?;
    let content = serde_json::to_vec(journal).map_err(io::Error::other)?;
    let written = new.write_new(&content).and_then(|()| new.replace(&entry));
    if written.is_err() {
        let _ = new.unlink();
    }
    written?;
    syscalls::sync_directory(entry.directory())
}

/// Removes the journal of a recording's upload.
pub async fn remove(spool: &Spool, relative: &Path) -> io::Result<()> {
    let (spool, relative) = (spool.clone(), relative.to_owned());
    blocking(move || {
        match DirEntry::find(spool.root(), &file_of(&relative)).and_then(|entry| entry.unlink()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
    .await
}

/// The recordings, still there or not, whose uploads have journals. Files that a process left half written are removed.
/// What cannot be read or removed hides no other journal.
pub async fn recordings(spool: &Spool) -> io::Result<Vec<PathBuf>> {
    let spool = spool.clone();
    blocking(move || {
        let directory = match open_directory(spool.root(), &own()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            directory => directory?,
        };
        let mut recordings = Vec::new();
        for entry in syscalls::list(&directory)? {
            let (name, _) = entry?;
            let entry = DirEntry::find(spool.root(), &own().join(&name))?;
            let is_half_written = Path::new(&name).extension().is_some_and(|extension| extension == "tmp");
            let content = match is_half_written {
                true => entry.unlink().map(|()| None),
                false => entry.read(LIMIT).map(Some),
            };
            match content {
                Ok(Some(content)) => {
                    let journal = serde_json::from_slice::<Journal>(&content);
                    recordings.extend(journal.ok().map(|journal| journal.path.into()));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(journal = ?name, %error, "cannot use a file among the journals"),
            }
        }
        Ok(recordings)
    })
    .await
}

fn own() -> PathBuf {
    Path::new(STATE_DIRECTORY).join("journal")
}

/// Paths are longer than names may be, so a journal goes by a hash.
fn file_of(relative: &Path) -> PathBuf {
    let hash = Sha256::digest(relative.as_os_str().as_encoded_bytes());
    let name: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    own().join(name + ".json")
}

#[cfg(test)]
mod tests {
    use inotify::{EventMask, Inotify, WatchMask};

    use super::*;
    use crate::uploader::tests::steps::fail_next;

    fn journal(path: &str, upload_id: &str) -> Journal {
        Journal {
            path: path.into(),
            size: 9,
            bucket: "acme-recordings".into(),
            region: "us-east-1".into(),
            key: format!("calls/{path}"),
            part_size: 4,
            settings: None,
            upload_id: Some(upload_id.into()),
            parts: Vec::new(),
        }
    }

    #[tokio::test]
    async fn each_recording_has_a_journal_of_its_own_and_the_last_one_written_counts() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned());
        assert_eq!(recordings(&spool).await.unwrap(), [""; 0].map(PathBuf::from));
        for (path, upload_id) in [("a.wav", "1"), ("d/a.wav", "2"), ("a.wav", "3")] {
            save(&spool, journal(path, upload_id)).await.unwrap();
        }
        let load = async |path| load(&spool, Path::new(path)).await.unwrap();
        assert_eq!(load("a.wav").await, Some(journal("a.wav", "3")));
        assert_eq!(load("d/a.wav").await, Some(journal("d/a.wav", "2")));
        let mut known = recordings(&spool).await.unwrap();
        known.sort();
        assert_eq!(known, ["a.wav", "d/a.wav"].map(PathBuf::from));
        remove(&spool, Path::new("a.wav")).await.unwrap();
        remove(&spool, Path::new("a.wav")).await.unwrap();
        assert_eq!(load("a.wav").await, None);
    }

    #[tokio::test]
    async fn the_journal_that_another_release_wrote_is_found() {
        let written = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/formats/0.2.0/spool");
        let spool = Spool::new(written.into());
        let [recording] = recordings(&spool).await.unwrap().try_into().unwrap();
        let journal = load(&spool, &recording).await.unwrap().unwrap();
        assert_eq!(journal.upload_id.as_deref(), Some("2~upload"));
        assert_eq!(load(&spool, Path::new("2026/call-0002.wav")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_could_not_be_synced_is_written_to_another_file() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned());
        save(&spool, journal("a.wav", "1")).await.unwrap();
        let mut made = Inotify::init().unwrap();
        made.watches().add(directory.path().join(own()), WatchMask::CREATE | WatchMask::DELETE).unwrap();
        fail_next("sync a file", libc::EIO);
        assert!(write(spool.root(), &journal("a.wav", "2")).is_err());
        assert_eq!(load(&spool, Path::new("a.wav")).await.unwrap(), Some(journal("a.wav", "1")));
        save(&spool, journal("a.wav", "2")).await.unwrap();
        assert_eq!(load(&spool, Path::new("a.wav")).await.unwrap(), Some(journal("a.wav", "2")));

        let mut buffer = [0; 4096];
        let events = made.read_events(&mut buffer).unwrap();
        let told: Vec<_> = events.map(|event| (event.mask, event.name.unwrap().to_owned())).collect();
        let [(EventMask::CREATE, first), (EventMask::DELETE, gone), (EventMask::CREATE, second)] = &told[..]
        else {
            panic!("{told:?}");
        };
        assert_eq!(first, gone);
        assert_ne!(first, second, "a page that was given up passes for written");
    }

    #[tokio::test]
    async fn half_written_journals_are_removed_and_unreadable_ones_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned());
        save(&spool, journal("a.wav", "1")).await.unwrap();
        let own = directory.path().join(own());
        std::fs::write(own.join("x.0123.tmp"), "{").unwrap();
        std::fs::write(directory.path().join(file_of(Path::new("b.wav"))), "{").unwrap();
        assert_eq!(recordings(&spool).await.unwrap(), [PathBuf::from("a.wav")]);
        assert_eq!(std::fs::read_dir(own).unwrap().count(), 2);
        assert_eq!(load(&spool, Path::new("b.wav")).await.unwrap(), None);
    }

    /// Names of what is no regular file, and of a journal without end, in a directory.
    fn oddities(directory: &Path) -> [PathBuf; 4] {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let all = ["fifo", "link", "directory", "endless"].map(|name| directory.join(name));
        mknodat(CWD, &all[0], FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &all[1]).unwrap();
        std::fs::create_dir(&all[2]).unwrap();
        std::fs::File::create(&all[3]).unwrap().set_len(1 << 40).unwrap();
        all
    }

    #[tokio::test]
    async fn what_cannot_be_a_journal_is_passed_over_and_hides_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned());
        save(&spool, journal("a.wav", "1")).await.unwrap();
        for odd in oddities(&directory.path().join(own())) {
            let name = odd.file_name().unwrap().to_owned();
            // A pipe whose other side is open and says nothing is not waited for either.
            let _other_side = (name == "fifo")
                .then(|| std::fs::OpenOptions::new().read(true).write(true).open(&odd).unwrap());
            assert_eq!(recordings(&spool).await.unwrap(), [PathBuf::from("a.wav")], "{name:?}");
            let taken = directory.path().join(file_of(Path::new("b.wav")));
            std::fs::rename(&odd, &taken).unwrap();
            assert!(load(&spool, Path::new("b.wav")).await.is_err(), "{name:?} passed for a journal");
            if name == "directory" {
                std::fs::remove_dir(&taken).unwrap();
                continue;
            }
            save(&spool, journal("b.wav", "2")).await.unwrap();
            let saved = load(&spool, Path::new("b.wav")).await.unwrap();
            assert_eq!(saved, Some(journal("b.wav", "2")), "{name:?} is replaced");
            std::fs::remove_file(&taken).unwrap();
        }
    }

    #[test]
    fn the_largest_journal_fits_into_what_is_read() {
        let mut largest = journal(&"\u{1}".repeat(4096), &"u".repeat(1024));
        for number in 1..=10_000 {
            let crc64nvme = crate::api::Crc64Nvme(u64::MAX);
            largest.parts.push(crate::api::Part {
                number,
                etag: format!("\"{}\"", "e".repeat(38)),
                crc64nvme,
            });
        }
        let length = serde_json::to_vec(&largest).unwrap().len() as u64;
        assert!(length < LIMIT / 2, "{length}");
    }
}
