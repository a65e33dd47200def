//! Noticing files: inotify, and a walk where inotify has nothing to say.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

use crate::domain::delivery::{Name, STATE_DIRECTORY, Sighting, classify};

/// Buffer for events; the kernel's queue holds what does not fit.
const EVENT_BYTES: usize = 8 * 1024;

/// A file that was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// Relative to the spool.
    pub path: PathBuf,
    /// How.
    pub sighting: Sighting,
    /// In bytes.
    pub size: u64,
    /// When it came to its place, or changed last.
    pub since: SystemTime,
}

/// What inotify said.
#[derive(Debug)]
pub enum Notice {
    /// A file is there.
    File(Sighted),
    /// A path, relative to the spool, no longer is.
    Gone(PathBuf),
    /// A directory, relative to the spool, appeared, or its files may have gone unnoticed: walk it.
    Walk(PathBuf),
    /// Nothing of interest.
    Nothing,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Found {
    /// Where the walk began, relative to the spool; empty for all of it.
    pub under: PathBuf,
    /// Recordings.
    pub files: Vec<Sighted>,
    /// Files, and directories of files, in progress.
    pub in_progress: usize,
    /// Files in quarantine; counted in a walk of all.
    pub quarantined: u64,
    directories: Vec<(WatchDescriptor, PathBuf)>,
    /// The last error of watching or reading a directory.
    pub error: Option<(PathBuf, io::Error)>,
}

/// Watches all directories of a spool.
pub struct Watcher {
    root: PathBuf,
    /// Absent where the kernel gives out no more of them: then walks alone find files.
    inotify: Option<(Watches, EventStream<Vec<u8>>)>,
    directories: HashMap<WatchDescriptor, PathBuf>,
}

impl Watcher {
    /// Watches nothing yet: a walk adds each directory before it reads it, so that no file is missed.
    pub fn new(root: &Path) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; EVENT_BYTES])?;
        Ok(Watcher { inotify: Some((watches, events)), ..Watcher::blind(root) })
    }

    /// Notices nothing by itself.
    pub fn blind(root: &Path) -> Self {
        Watcher { root: root.to_owned(), inotify: None, directories: HashMap::new() }
    }

    /// Whether it notices nothing by itself.
    pub fn is_blind(&self) -> bool {
        self.inotify.is_none()
    }

    /// The next thing that happens in the spool.
    pub async fn next(&mut self) -> io::Result<Notice> {
        let Some((_, events)) = &mut self.inotify else { return std::future::pending().await };
        let Some(event) = events.next().await.transpose()? else { return Ok(Notice::Nothing) };
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return Ok(Notice::Walk(PathBuf::new()));
        }
        if event.mask.contains(EventMask::IGNORED) {
            self.directories.remove(&event.wd);
            return Ok(Notice::Nothing);
        }
        let (Some(directory), Some(name)) = (self.directories.get(&event.wd), event.name) else {
            return Ok(Notice::Nothing);
        };
        let path = directory.join(name);
        if classify(&path) != Name::Recording {
            return Ok(Notice::Nothing);
        }
        let sighting = if event.mask.intersects(EventMask::MOVED_FROM | EventMask::DELETE) {
            return Ok(Notice::Gone(path));
        } else if event.mask.contains(EventMask::ISDIR) {
            return Ok(Notice::Walk(path));
        } else if event.mask.contains(EventMask::MOVED_TO) {
            Sighting::Renamed
        } else if event.mask.contains(EventMask::CLOSE_WRITE) {
            Sighting::Closed
        } else {
            // Created: being written, or linked into place, which no other event tells.
            Sighting::Found
        };
        Ok(sight(&self.root, path, sighting).map_or(Notice::Nothing, Notice::File))
    }

    /// A walk of the spool below `under`. It blocks; [`Watcher::adopt`] what it returns.
    pub fn walk(&self, under: PathBuf) -> impl FnOnce() -> Found + Send + 'static {
        let root = self.root.clone();
        let watches = self.inotify.as_ref().map(|(watches, _)| watches.clone());
        move || walk(&root, watches, under)
    }

    /// Takes over the directories of a walk, some of which may have been watched under other names.
    pub fn adopt(&mut self, found: &mut Found) {
        self.directories.extend(found.directories.drain(..));
    }
}

fn walk(root: &Path, mut watches: Option<Watches>, under: PathBuf) -> Found {
    let mask = WatchMask::CREATE
        | WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE
        | WatchMask::ONLYDIR
        | WatchMask::DONT_FOLLOW;
    let mut found = Found { under: under.clone(), ..Found::default() };
    if under.as_os_str().is_empty() {
        found.quarantined = count(root.join(STATE_DIRECTORY).join("quarantine"));
    }
    let mut directories = vec![under];
    while let Some(directory) = directories.pop() {
        match watches.as_mut().map(|watches| watches.add(root.join(&directory), mask)) {
            Some(Ok(watch)) => found.directories.push((watch, directory.clone())),
            Some(Err(error)) => found.error = Some((directory.clone(), error)),
            None => {}
        }
        let entries = match std::fs::read_dir(root.join(&directory)) {
            Ok(entries) => entries,
            Err(error) => {
                found.error = Some((directory, error));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = directory.join(entry.file_name());
            match classify(&path) {
                Name::Reserved => {}
                Name::InProgress => found.in_progress += 1,
                Name::Recording if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                    directories.push(path)
                }
                Name::Recording => found.files.extend(sight(root, path, Sighting::Found)),
            }
        }
    }
    found.error = found.error.filter(|(_, error)| error.kind() != io::ErrorKind::NotFound);
    found
}

/// Counts the files below a directory that may not be there.
fn count(directory: PathBuf) -> u64 {
    let (mut directories, mut files) = (vec![directory], 0);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    files
}

/// Notes a file, if it is still there.
fn sight(root: &Path, path: PathBuf, sighting: Sighting) -> Option<Sighted> {
    let metadata = root.join(&path).symlink_metadata().ok()?;
    let changed = Duration::from_secs(metadata.ctime().try_into().unwrap_or_default());
    Some(Sighted { path, sighting, size: metadata.size(), since: SystemTime::UNIX_EPOCH + changed })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn watcher(root: &Path) -> Watcher {
        let mut watcher = Watcher::new(root).unwrap();
        let mut found = watcher.walk(PathBuf::new())();
        assert!(found.error.is_none(), "{:?}", found.error);
        watcher.adopt(&mut found);
        watcher
    }

    /// The next file noticed, walks included.
    async fn next_file(watcher: &mut Watcher) -> (PathBuf, Sighting) {
        loop {
            match watcher.next().await.unwrap() {
                Notice::File(sighted) => return (sighted.path, sighted.sighting),
                Notice::Walk(under) => {
                    let mut found = watcher.walk(under)();
                    watcher.adopt(&mut found);
                    if let Some(sighted) = found.files.pop() {
                        return (sighted.path, sighted.sighting);
                    }
                }
                Notice::Gone(_) | Notice::Nothing => {}
            }
        }
    }

    #[tokio::test]
    async fn renaming_closing_and_creating_tell_themselves_apart() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut watcher = watcher(root).await;
        fs::write(root.join("a.wav.part"), "a").unwrap();
        fs::rename(root.join("a.wav.part"), root.join("a.wav")).unwrap();
        assert_eq!(next_file(&mut watcher).await, ("a.wav".into(), Sighting::Renamed));
        fs::write(root.join("b.wav"), "b").unwrap();
        assert_eq!(next_file(&mut watcher).await, ("b.wav".into(), Sighting::Found));
        assert_eq!(next_file(&mut watcher).await, ("b.wav".into(), Sighting::Closed));
    }

    #[tokio::test]
    async fn files_in_new_and_renamed_directories_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut watcher = watcher(root).await;
        fs::create_dir_all(root.join("2026/11")).unwrap();
        fs::write(root.join("2026/11/a.wav"), "a").unwrap();
        assert_eq!(next_file(&mut watcher).await.0, Path::new("2026/11/a.wav"));

        fs::create_dir(root.join("call.part")).unwrap();
        fs::write(root.join("call.part/b.wav"), "b").unwrap();
        fs::rename(root.join("call.part"), root.join("call")).unwrap();
        while next_file(&mut watcher).await.0 != Path::new("call/b.wav") {}
        fs::rename(root.join("call"), root.join("moved")).unwrap();
        while next_file(&mut watcher).await.0 != Path::new("moved/b.wav") {}
        fs::write(root.join("moved/c.wav"), "c").unwrap();
        while next_file(&mut watcher).await.0 != Path::new("moved/c.wav") {}
    }

    #[tokio::test]
    async fn a_walk_sees_everything_but_what_is_ours_or_in_progress() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["d/a.wav", "b.wav", "c.wav.part", ".d.wav", ".recording-uploader/lock", "lost+found/x"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), name).unwrap();
        }
        let found = Watcher::new(root).unwrap().walk(PathBuf::new())();
        let mut names: Vec<_> = found.files.iter().map(|file| file.path.to_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["b.wav", "d/a.wav"]);
        assert_eq!(found.in_progress, 2);
    }
}
