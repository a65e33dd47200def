use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::uploader::tests::steps::fail_next;

#[test]
fn a_lease_is_refused_while_a_writer_has_the_file_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.wav");
    let writer = File::create(&path).unwrap();
    assert_eq!(probe_lease(&File::open(&path).unwrap()), Lease::Refused);
    drop(writer);
    assert_eq!(probe_lease(&File::open(&path).unwrap()), Lease::Granted);
}

#[test]
fn what_cannot_be_replaced_is_as_it_was_and_nothing_is_left_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let replace = |content| replace(&path, content, Permissions::from_mode(0o600));
    replace("old").unwrap();
    for call in ["create a file", "write a file", "sync a file", "rename a file"] {
        for code in [libc::EIO, libc::ENOSPC] {
            fail_next(call, code);
            assert_eq!(replace("new").unwrap_err().raw_os_error(), Some(code), "{call}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "old", "{call}");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{call}");
        }
    }
    replace("new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn a_termination_message_or_lease_that_fails_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("termination-log");
    fs::write(&path, "before").unwrap();
    fail_next("leave a message", libc::ENOSPC);
    leave_message(&path, "after");
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    leave_message(&path, "after");
    assert_eq!(fs::read_to_string(&path).unwrap(), "after");
    fail_next("ask for a lease", libc::EIO);
    assert_eq!(probe_lease(&File::open(&path).unwrap()), Lease::Unavailable);
}

#[test]
fn a_rename_never_replaces() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    std::fs::write(&a, "a").unwrap();
    std::fs::write(&b, "b").unwrap();
    let root = open_root(directory.path()).unwrap();
    let rename = || rename_if_absent(&root, "a".as_ref(), &root, "b".as_ref());
    assert_eq!(rename().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&b).unwrap(), "b");
    std::fs::remove_file(&b).unwrap();
    rename().unwrap();
    assert_eq!(std::fs::read_to_string(&b).unwrap(), "a");
}

#[test]
fn without_the_flag_a_link_takes_the_name_and_both_names_of_one_file_are_no_conflict() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    fs::write(&a, "a").unwrap();
    fs::write(&b, "b").unwrap();
    let root = open_root(directory.path()).unwrap();
    let rename = || link_if_absent(root.as_fd(), "a".as_ref(), root.as_fd(), "b".as_ref());
    assert_eq!(rename().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&b).unwrap(), "b");
    fs::remove_file(&b).unwrap();
    rename().unwrap();
    assert_eq!((a.exists(), fs::read_to_string(&b).unwrap().as_str()), (false, "a"));
    // Left by a process that ended between the two calls.
    fs::hard_link(&b, &a).unwrap();
    rename().unwrap();
    assert_eq!((a.exists(), fs::read_to_string(&b).unwrap().as_str()), (false, "a"));
}

/// `make test-long` mounts a FUSE file system: its mount point, and the directory behind it, which another node would write.
#[test]
fn on_fuse_a_lease_says_nothing_of_writers_on_other_nodes() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(mount), Some(backing)) =
        (variable("RECORDINGS_TEST_FUSE_MOUNT"), variable("RECORDINGS_TEST_FUSE_BACKING"))
    else {
        eprintln!("left out: `make test-long` runs it");
        return;
    };
    let _writer = File::create(Path::new(&backing).join("a.wav")).unwrap();
    let seen = File::open(Path::new(&mount).join("a.wav")).unwrap();
    assert_eq!(ask_for_lease(&seen), Lease::Granted, "the kernel of this node knows of no writer");
    assert_eq!(probe_lease(&seen), Lease::Remote);
}
