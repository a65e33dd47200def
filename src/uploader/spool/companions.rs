//! What a companion that comes by itself has to know: whether its media file is still being written, and whether it was
//! set aside under its alternate name. The latter outlives the process.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::api::Crc64Nvme;
use crate::domain::delivery::{STATE_DIRECTORY, companion_of, companion_of_part};
use crate::uploader::spool::Spool;
use crate::uploader::spool::blocking::blocking;
use crate::uploader::spool::dir_entry::{DirEntry, open_directory};
use crate::uploader::spool::names::{flat, unflat};
use crate::uploader::spool::recording::modified;
use crate::uploader::spool::syscalls;

/// Media files set aside that are remembered: more of them than conflicts of one pod.
const MOST: usize = 1000;

#[derive(Clone, Debug)]
pub struct Companions {
    spool: Spool,
    media: Arc<Mutex<Media>>,
}

/// By the companions that they have.
#[derive(Debug, Default)]
struct Media {
    in_progress: HashMap<PathBuf, HashMap<PathBuf, u64>>,
    /// Walks of the whole spool so far; beside each file in progress, at which of them it was seen last.
    walks: u64,
    /// `None` before it was read from the disk.
    set_aside: Option<HashMap<PathBuf, Crc64Nvme>>,
}

impl Companions {
    pub fn new(spool: &Spool) -> Self {
        Companions { spool: spool.clone(), media: Arc::default() }
    }

    /// A file was seen under a name in progress.
    pub fn note_in_progress(&self, path: PathBuf) {
        if let Some(companion) = companion_of_part(&path) {
            let mut media = self.media.lock().unwrap();
            let walks = media.walks;
            media.in_progress.entry(companion).or_default().insert(path, walks);
        }
    }

    /// The whole spool was walked: what was seen neither then nor since the walk before is in progress no longer.
    pub fn note_walk(&self) {
        let mut media = self.media.lock().unwrap();
        let walks = media.walks;
        media.in_progress.retain(|_, parts| {
            parts.retain(|_, seen| *seen == walks);
            !parts.is_empty()
        });
        media.walks += 1;
    }

    /// For how long the media file of this companion has been quiet, if it is in progress.
    pub async fn media_in_progress(&self, companion: &Path) -> Option<Duration> {
        let parts = self.media.lock().unwrap().in_progress.get(companion)?.keys().cloned().collect();
        let (companions, companion) = (self.clone(), companion.to_owned());
        blocking(move || companions.quiet(&companion, parts)).await
    }

    /// The checksum of the media file of this companion, if it was set aside.
    pub async fn media_set_aside(&self, companion: &Path) -> Option<Crc64Nvme> {
        if companion_of(companion) != companion || self.knows_of_none() {
            return None;
        }
        let (companions, companion) = (self.clone(), companion.to_owned());
        blocking(move || companions.with_set_aside(|known| known.get(&companion).copied())).await
    }

    /// A media file is being set aside.
    pub async fn set_aside(&self, media: &Path, crc64nvme: Crc64Nvme) {
        let (companions, companion) = (self.clone(), companion_of(media));
        if companion == media {
            return;
        }
        let written = blocking(move || {
            let is_new = companions.with_set_aside(|known| {
                let has_room = known.len() < MOST || known.contains_key(&companion);
                has_room && known.insert(companion.clone(), crc64nvme) != Some(crc64nvme)
            });
            if is_new { companions.write(&companion, crc64nvme) } else { Ok(()) }
        });
        if let Err(error) = written.await {
            let name = media.display();
            tracing::warn!(%name, %error, "cannot note that a recording was set aside; after a restart its companion may not follow");
        }
    }

    /// A media file arrived under its own name, and so do companions from now on.
    pub async fn forget(&self, media: &Path) {
        if self.knows_of_none() {
            return;
        }
        let (companions, companion) = (self.clone(), companion_of(media));
        blocking(move || {
            if companions.with_set_aside(|known| known.remove(&companion)).is_some()
                && let Some(file) = file_of(&companion)
                && let Ok(entry) = DirEntry::find(companions.spool.root(), &file)
            {
                let _ = entry.unlink();
            }
        })
        .await;
    }

    /// Whether the disk was read, and nothing is remembered: the usual case, which costs no call to the disk.
    fn knows_of_none(&self) -> bool {
        self.media.lock().unwrap().set_aside.as_ref().is_some_and(HashMap::is_empty)
    }

    /// Where all of them are gone, the event that tells of the media file may be still to come.
    fn quiet(&self, companion: &Path, parts: Vec<PathBuf>) -> Option<Duration> {
        let now = self.spool.clock();
        let mut quiet: Option<Duration> = None;
        for part in parts {
            match DirEntry::find(self.spool.root(), &part).and_then(|entry| entry.metadata()) {
                Ok(stat) => {
                    let since = now.as_ref().map_or(Duration::ZERO, |now| {
                        now.duration_since(modified(&stat)).unwrap_or_default()
                    });
                    quiet = Some(quiet.map_or(since, |least| least.min(since)));
                }
                Err(_) => {
                    let mut media = self.media.lock().unwrap();
                    if let Some(left) = media.in_progress.get_mut(companion) {
                        left.remove(&part);
                        if left.is_empty() {
                            media.in_progress.remove(companion);
                        }
                    }
                }
            }
        }
        Some(quiet.unwrap_or_default())
    }

    fn with_set_aside<T>(&self, act: impl FnOnce(&mut HashMap<PathBuf, Crc64Nvme>) -> T) -> T {
        let mut media = self.media.lock().unwrap();
        act(media.set_aside.get_or_insert_with(|| self.read().unwrap_or_default()))
    }

    fn read(&self) -> io::Result<HashMap<PathBuf, Crc64Nvme>> {
        let mut known = HashMap::new();
        for entry in syscalls::list(open_directory(self.spool.root(), &own())?)? {
            let (name, _) = entry?;
            // Whatever else is in the directory is none of ours.
            let content =
                DirEntry::find(self.spool.root(), &own().join(&name)).and_then(|entry| entry.read(16));
            let text = content.ok().and_then(|content| String::from_utf8(content).ok());
            let checksum = text.and_then(|text| u64::from_str_radix(&text, 16).ok());
            if let Some(checksum) = checksum {
                known.insert(unflat(&name), Crc64Nvme(checksum));
            }
        }
        Ok(known)
    }

    fn write(&self, companion: &Path, crc64nvme: Crc64Nvme) -> io::Result<()> {
        let Some(file) = file_of(companion) else { return Err(ErrorKind::InvalidFilename.into()) };
        let entry = DirEntry::make(self.spool.root(), &file)?;
        match entry.unlink() {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => entry.write_new(format!("{crc64nvme:016x}").as_bytes()),
        }
    }
}

fn own() -> PathBuf {
    Path::new(STATE_DIRECTORY).join("set-aside")
}

fn file_of(companion: &Path) -> Option<PathBuf> {
    flat(companion).map(|name| own().join(name))
}
