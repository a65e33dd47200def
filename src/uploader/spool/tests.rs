use std::fs;

use super::*;
use crate::domain::delivery::STATE_DIRECTORY;

fn spool() -> (tempfile::TempDir, Spool) {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::new(directory.path().to_owned());
    (directory, spool)
}

fn write(spool: &Spool, relative: &str, content: &str) -> FileVersion {
    let path = spool.root().join(relative);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    FileVersion::from(&rustix::fs::stat(&path).unwrap())
}

#[test]
fn the_file_systems_clock_is_read_again_and_again_and_leaves_nothing() {
    let (_directory, spool) = spool();
    fs::create_dir_all(spool.root().join(own("any").parent().unwrap())).unwrap();
    fs::write(spool.root().join(own(CLOCK)), "left by a process that was killed").unwrap();
    let _held = spool.try_lock().unwrap().unwrap();
    let before = SystemTime::now() - Duration::from_secs(1);
    let (first, second) = (spool.clock().unwrap(), spool.clock().unwrap());
    assert!(before < first && first < second && second < SystemTime::now() + Duration::from_secs(1));
    assert!(!spool.root().join(own(CLOCK)).exists());
}

#[test]
fn only_one_uploader_holds_the_lock() {
    let (_directory, spool) = spool();
    let held = spool.try_lock().unwrap();
    assert!(held.is_some());
    assert!(spool.try_lock().unwrap().is_none());
    drop(held);
    assert!(spool.try_lock().unwrap().is_some());
}

#[test]
fn a_verified_file_is_removed_and_a_replaced_one_stays() {
    let (_directory, spool) = spool();
    let path = Path::new("2026/a.wav");
    let old = write(&spool, "2026/a.wav", "old");
    let new = write(&spool, "2026/a.wav", "newer");
    let remove = |identity, may_go| spool.unlink(path, identity, || may_go);
    assert_eq!(remove(old, true).unwrap(), Departure::Replaced);
    assert_eq!(fs::read_to_string(spool.root().join(path)).unwrap(), "newer");
    assert_eq!(remove(new, false).unwrap(), Departure::Kept);
    assert_eq!(fs::read_to_string(spool.root().join(path)).unwrap(), "newer");
    assert_eq!(remove(new, true).unwrap(), Departure::Gone);
    assert!(!spool.root().join(path).exists());
    assert_eq!(remove(new, true).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_failed_rename_keeps_the_name_and_a_taken_file_is_brought_back() {
    let (_directory, spool) = spool();
    drop(spool.try_lock().unwrap());
    let path = Path::new("d/a.wav");
    let identity = write(&spool, "d/a.wav", "sound");
    let too_long = PathBuf::from(format!("d/{}.wav", "x".repeat(300)));
    let refused = spool.rename(path, &too_long, identity).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidFilename);
    assert_eq!(fs::read_to_string(spool.root().join(path)).unwrap(), "sound");
    assert!(!spool.put_back(path).unwrap());

    assert!(spool.take(path, identity).unwrap().is_some());
    assert!(spool.put_back(path).unwrap());
    assert_eq!(fs::read_to_string(spool.root().join(path)).unwrap(), "sound");
}

#[test]
fn what_an_ended_process_had_taken_comes_back_and_replaces_nothing() {
    let (_directory, spool) = spool();
    drop(spool.try_lock().unwrap());
    let long = format!("d/{}/c.wav", "x".repeat(250));
    for name in ["d/a.wav", "100%/%2F.wav", "d/b.wav", &long] {
        let identity = write(&spool, name, "123456789");
        assert!(spool.take(Path::new(name), identity).unwrap().is_some());
        assert!(!spool.root().join(name).exists());
    }
    write(&spool, "d/b.wav", "new");
    spool.restore().unwrap();
    let read = |name: &str| fs::read_to_string(spool.root().join(name)).unwrap();
    for name in ["d/a.wav", "100%/%2F.wav", "d/b~ae8b14860a799888.wav", &long] {
        assert_eq!(read(name), "123456789", "{name}");
    }
    assert_eq!(read("d/b.wav"), "new");
}

#[test]
fn what_cannot_come_back_is_quarantined_and_holds_up_nothing() {
    let (_directory, spool) = spool();
    let moving = spool.root().join(STATE_DIRECTORY).join("moving");
    fs::create_dir_all(&moving).unwrap();
    std::os::unix::fs::symlink("/nowhere", moving.join("a.wav")).unwrap();
    fs::write(moving.join("b.wav"), "taken").unwrap();
    write(&spool, "a.wav", "new");
    spool.restore().unwrap();
    assert_eq!(fs::read_to_string(spool.root().join("b.wav")).unwrap(), "taken");
    assert!(
        spool
            .root()
            .join(STATE_DIRECTORY)
            .join("quarantine")
            .join("a.wav")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn quarantine_keeps_every_file() {
    let (_directory, spool) = spool();
    for content in ["one", "two"] {
        write(&spool, "d/a.wav", content);
        let place = spool.move_to_quarantine(Path::new("d/a.wav")).unwrap();
        assert_eq!(fs::read_to_string(place).unwrap(), content);
    }
    assert!(spool.root().join(STATE_DIRECTORY).join("quarantine").join("d/a.wav~1").exists());
}
