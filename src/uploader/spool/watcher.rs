//! Finds files: inotify, and a walk where inotify has nothing to say.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use inotify::{EventMask, EventStream, WatchDescriptor, WatchMask, Watches};

use crate::domain::delivery::{Name, STATE_DIRECTORY, Sighting, classify};
use crate::uploader::spool::Spool;
use crate::uploader::spool::dir_entry::{DirEntry, open_directory};
use crate::uploader::spool::syscalls;

/// Buffer for events; the kernel's queue holds what does not fit.
const EVENT_BYTES: usize = 8 * 1024;

/// A file that was seen in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledFile {
    /// Relative to the spool.
    pub path: PathBuf,
    pub sighting: Sighting,
    /// Bytes.
    pub size: u64,
    /// When it came to its place, or changed last.
    pub since: SystemTime,
}

/// An event of inotify.
#[derive(Debug)]
pub enum SpoolEvent {
    File(SpooledFile),
    /// A file, relative to the spool, is there under a name in progress.
    InProgress(PathBuf),
    /// A path, relative to the spool, is gone.
    Gone(PathBuf),
    /// A directory, relative to the spool, appeared, or its files may have gone unnoticed: walk it.
    Walk(PathBuf),
    /// Nothing of interest.
    Nothing,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct WalkResult {
    /// Where the walk began, relative to the spool; empty for all of it.
    pub under: PathBuf,
    /// Recordings.
    pub files: Vec<SpooledFile>,
    /// Files, and directories of files, in progress.
    pub in_progress: Vec<PathBuf>,
    /// Files in quarantine; counted in a walk of all.
    pub quarantined: u64,
    /// The last error of reading a directory.
    pub error: Option<(PathBuf, io::Error)>,
    /// The last error of watching one, which was read all the same.
    pub unwatched: Option<(PathBuf, io::Error)>,
}

/// Watches all directories of a spool.
pub struct Watcher {
    spool: Spool,
    /// Absent where the kernel gives out no more instances: then walks alone find files.
    inotify: Option<(Watches, EventStream<Vec<u8>>)>,
    directories: Directories,
}

/// The watched directories, by their latest names. Locked while one is added, so that no event of a directory is
/// handled before its name is known.
type Directories = Arc<Mutex<HashMap<WatchDescriptor, PathBuf>>>;

impl Watcher {
    /// Watches nothing yet: a walk adds each directory before it reads it, so that no file is missed.
    pub fn new(spool: &Spool) -> io::Result<Self> {
        let inotify = syscalls::inotify()?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; EVENT_BYTES])?;
        Ok(Watcher { inotify: Some((watches, events)), ..Watcher::blind(spool) })
    }

    /// Raises no events.
    pub fn blind(spool: &Spool) -> Self {
        Watcher { spool: spool.clone(), inotify: None, directories: Directories::default() }
    }

    pub fn is_blind(&self) -> bool {
        self.inotify.is_none()
    }

    pub async fn next(&mut self) -> io::Result<SpoolEvent> {
        let Some((_, events)) = &mut self.inotify else { return std::future::pending().await };
        let Some(event) = events.next().await.transpose()? else { return Ok(SpoolEvent::Nothing) };
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return Ok(SpoolEvent::Walk(PathBuf::new()));
        }
        if event.mask.contains(EventMask::IGNORED) {
            self.directories.lock().unwrap().remove(&event.wd);
            return Ok(SpoolEvent::Nothing);
        }
        let directory = self.directories.lock().unwrap().get(&event.wd).cloned();
        let (Some(directory), Some(name)) = (directory, event.name) else {
            return Ok(SpoolEvent::Nothing);
        };
        let path = directory.join(name);
        match classify(&path) {
            Name::Recording => {}
            Name::InProgress if event.mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) => {
                return Ok(SpoolEvent::InProgress(path));
            }
            Name::InProgress | Name::Reserved => return Ok(SpoolEvent::Nothing),
        }
        let sighting = if event.mask.intersects(EventMask::MOVED_FROM | EventMask::DELETE) {
            return Ok(SpoolEvent::Gone(path));
        } else if event.mask.contains(EventMask::ISDIR) {
            return Ok(SpoolEvent::Walk(path));
        } else if event.mask.contains(EventMask::MOVED_TO) {
            // A file that the uploader itself put back may still be written to.
            if self.spool.has_placed(&path) { Sighting::Found } else { Sighting::Renamed }
        } else if event.mask.contains(EventMask::CLOSE_WRITE) {
            Sighting::Closed
        } else {
            // Created: being written, or linked into place, by the uploader itself perhaps, which no other event tells.
            self.spool.has_placed(&path);
            Sighting::Found
        };
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(match stat(self.spool.root(), path, sighting) {
            Ok(sighted) => sighted.map_or(SpoolEvent::Nothing, SpoolEvent::File),
            // A walk tells whether the error persists.
            Err(_) => SpoolEvent::Walk(directory),
        })
    }

    /// A walk of the spool below `under`. It blocks.
    pub fn walk(&self, under: PathBuf) -> impl FnOnce() -> WalkResult + Send + 'static {
        let root = self.spool.root().to_owned();
        let (watches, directories) =
            (self.inotify.as_ref().map(|(watches, _)| watches.clone()), self.directories.clone());
        move || walk(&root, watches, &directories, under)
    }
}

fn walk(root: &Path, mut watches: Option<Watches>, watched: &Directories, under: PathBuf) -> WalkResult {
    let mut found = WalkResult { under: under.clone(), ..WalkResult::default() };
    if under.as_os_str().is_empty() {
        found.quarantined = count(root, Path::new(STATE_DIRECTORY).join("quarantine"));
    }
    let mut directories = vec![under];
    while let Some(directory) = directories.pop() {
        let entries = open_directory(root, &directory).and_then(|open| {
            if let Some(watches) = &mut watches
                && let Err(error) = watch(watches, watched, &open, &directory)
            {
                found.not_watched(&directory, error);
            }
            syscalls::list(open)
        });
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                found.failed(&directory, error);
                continue;
            }
        };
        for entry in entries {
            let (name, is_directory) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    found.failed(&directory, error);
                    break;
                }
            };
            let path = directory.join(name);
            match classify(&path) {
                Name::Reserved => {}
                Name::InProgress => found.in_progress.push(path),
                Name::Recording if is_directory => directories.push(path),
                Name::Recording => match stat(root, path, Sighting::Found) {
                    Ok(sighted) => found.files.extend(sighted),
                    Err(error) => found.failed(&directory, error),
                },
            }
        }
    }
    found
}

/// Watches an open directory, and keeps its name.
fn watch(
    watches: &mut Watches,
    watched: &Directories,
    open: &impl AsRawFd,
    directory: &Path,
) -> io::Result<()> {
    let mask = WatchMask::CREATE
        | WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE
        | WatchMask::ONLYDIR;
    let mut watched = watched.lock().unwrap();
    let watch = syscalls::watch(watches, open, mask)?;
    watched.insert(watch, directory.to_owned());
    Ok(())
}

/// Counts the files below a directory that may not be there.
fn count(root: &Path, directory: PathBuf) -> u64 {
    let (mut directories, mut files) = (vec![directory], 0);
    while let Some(directory) = directories.pop() {
        let entries = open_directory(root, &directory).and_then(syscalls::list);
        for (name, is_directory) in entries.into_iter().flatten().flatten() {
            if is_directory {
                directories.push(directory.join(name));
            } else {
                files += 1;
            }
        }
    }
    files
}

/// The file at a path, if it is still there.
pub fn stat(root: &Path, path: PathBuf, sighting: Sighting) -> io::Result<Option<SpooledFile>> {
    let stat = match DirEntry::find(root, &path).and_then(|place| place.metadata()) {
        Err(error) if has_gone(&error) => return Ok(None),
        stat => stat?,
    };
    let changed = Duration::from_secs(stat.st_ctime.try_into().unwrap_or_default());
    let size = stat.st_size.try_into().unwrap_or_default();
    Ok(Some(SpooledFile { path, sighting, size, since: SystemTime::UNIX_EPOCH + changed }))
}

fn has_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl WalkResult {
    /// Notes why a directory is not watched; what has gone meanwhile need not be.
    fn not_watched(&mut self, directory: &Path, error: io::Error) {
        if !has_gone(&error) {
            self.unwatched = Some((directory.to_owned(), error));
        }
    }

    /// Notes why something of a directory was not seen; what has gone meanwhile need not be.
    fn failed(&mut self, directory: &Path, error: io::Error) {
        if !has_gone(&error) {
            self.error = Some((directory.to_owned(), error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::uploader::spool::recording::FileVersion;
    use crate::uploader::tests::steps::fail_next;

    fn watcher(root: &Path) -> Watcher {
        let watcher = Watcher::new(&Spool::new(root.to_owned())).unwrap();
        let found = watcher.walk(PathBuf::new())();
        assert!(found.error.is_none() && found.unwatched.is_none(), "{found:?}");
        watcher
    }

    /// The next file noticed, walks included.
    async fn next_file(watcher: &mut Watcher) -> (PathBuf, Sighting) {
        loop {
            match watcher.next().await.unwrap() {
                SpoolEvent::File(sighted) => return (sighted.path, sighted.sighting),
                SpoolEvent::Walk(under) => {
                    let mut found = watcher.walk(under)();
                    if let Some(sighted) = found.files.pop() {
                        return (sighted.path, sighted.sighting);
                    }
                }
                SpoolEvent::InProgress(_) | SpoolEvent::Gone(_) | SpoolEvent::Nothing => {}
            }
        }
    }

    #[tokio::test]
    async fn renaming_closing_and_creating_tell_themselves_apart() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut watcher = watcher(root);
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
        let mut watcher = watcher(root);
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
    async fn a_rename_by_the_uploader_itself_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let spool = Spool::new(root.to_owned());
        let mut watcher = Watcher::new(&spool).unwrap();
        assert!(watcher.walk(PathBuf::new())().error.is_none());
        fs::write(root.join("a.part"), "a").unwrap();
        fs::rename(root.join("a.part"), root.join("a.wav")).unwrap();
        assert_eq!(next_file(&mut watcher).await, ("a.wav".into(), Sighting::Renamed));
        let version = FileVersion::from(&rustix::fs::stat(root.join("a.wav")).unwrap());
        spool.rename("a.wav".as_ref(), "b.wav".as_ref(), version).unwrap();
        assert_eq!(next_file(&mut watcher).await, ("b.wav".into(), Sighting::Found));
        fs::rename(root.join("b.wav"), root.join("c.part")).unwrap();
        fs::rename(root.join("c.part"), root.join("b.wav")).unwrap();
        assert_eq!(next_file(&mut watcher).await, ("b.wav".into(), Sighting::Renamed));
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_watched_is_read_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.wav"), "a").unwrap();
        let watcher = Watcher::new(&Spool::new(directory.path().to_owned())).unwrap();
        fail_next("watch a directory", libc::ENOSPC);
        let found = watcher.walk(PathBuf::new())();
        assert_eq!(found.unwatched.unwrap().1.kind(), io::ErrorKind::StorageFull);
        assert_eq!((found.files.len(), found.error.is_none()), (1, true));
    }

    #[tokio::test]
    async fn more_events_than_the_kernel_keeps_end_in_a_walk_of_all() {
        let most: usize =
            fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut watcher = watcher(directory.path());
        // Equal events in a row are one, so two names take turns.
        let (a, b) = (directory.path().join("a.part"), directory.path().join("b.part"));
        fs::write(&a, "").unwrap();
        for _ in 0..=most / 2 {
            fs::rename(&a, &b).unwrap();
            fs::rename(&b, &a).unwrap();
        }
        let walks_all = async {
            loop {
                if let SpoolEvent::Walk(under) = watcher.next().await.unwrap() {
                    break under;
                }
            }
        };
        assert_eq!(walks_all.await, PathBuf::new());
    }

    #[tokio::test]
    async fn a_walk_sees_everything_but_what_is_ours_or_in_progress() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["d/a.wav", "b.wav", "c.wav.part", ".d.wav", ".recording-uploader/lock", "lost+found/x"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), name).unwrap();
        }
        let found = watcher(root).walk(PathBuf::new())();
        let mut names: Vec<_> = found.files.iter().map(|file| file.path.to_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["b.wav", "d/a.wav"]);
        assert_eq!(found.in_progress.len(), 2);
    }
}
