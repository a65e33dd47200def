//! One uploader per spool.

use std::io;
use std::pin::pin;
use std::time::Duration;

use crate::uploader::spool::{Lock, Spool};

/// Time between two tries.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why the lock is waited for.
#[derive(Debug)]
pub enum Wait {
    /// Another uploader has it.
    InUse,
    /// It cannot be had at all.
    Failed(io::Error),
}

/// Waits for the lock of the spool, and says after each try why. `None`: `shutdown` came before.
pub async fn acquire(
    spool: &Spool,
    shutdown: impl Future<Output = ()>,
    mut waits: impl FnMut(Wait),
) -> Option<Lock> {
    let mut shutdown = pin!(shutdown);
    loop {
        match spool.lock().await {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) => waits(Wait::InUse),
            Err(error) => waits(Wait::Failed(error)),
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = &mut shutdown => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::remedy_to_write;

    #[tokio::test(start_paused = true)]
    async fn a_second_uploader_waits_for_the_first_and_then_finds_what_it_had_in_hand() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned());
        let never = std::future::pending;
        let first = acquire(&spool, never(), |wait| panic!("{wait:?}")).await.unwrap();
        let moving = directory.path().join(".recording-uploader/moving");
        std::fs::create_dir_all(&moving).unwrap();
        std::fs::write(moving.join("a.wav"), "sound").unwrap();

        let hour = tokio::time::sleep(Duration::from_secs(3600));
        let mut waits = 0;
        let waited = acquire(&spool, hour, |wait| waits += u32::from(matches!(wait, Wait::InUse))).await;
        assert!(waited.is_none(), "told to end while waiting");
        assert!(waits >= 3600, "{waits}");
        drop(first);
        assert!(acquire(&spool, never(), |wait| panic!("{wait:?}")).await.is_some());
        assert!(directory.path().join("a.wav").exists());
    }

    #[tokio::test]
    async fn what_is_no_regular_file_is_not_waited_for_and_not_locked() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned());
        let lock = directory.path().join(".recording-uploader/lock");
        drop(spool.lock().await.unwrap().expect("a file of ours is locked"));
        let elsewhere = directory.path().join("elsewhere");
        let make: [(&str, &dyn Fn()); 4] = [
            ("a FIFO", &|| mknodat(CWD, &lock, FileType::Fifo, Mode::RWXU, 0).unwrap()),
            ("a link to nothing", &|| std::os::unix::fs::symlink(&elsewhere, &lock).unwrap()),
            ("a link to a device", &|| std::os::unix::fs::symlink("/dev/null", &lock).unwrap()),
            ("a directory", &|| std::fs::create_dir(&lock).unwrap()),
        ];
        for (what, make) in make {
            std::fs::remove_file(&lock).unwrap();
            make();
            let mut reader = None;
            for side in ["alone", "with a reader"] {
                let error = spool.lock().await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{what} {side}");
                assert!(remedy_to_write(error.kind()).contains("remove that"));
                reader = (what == "a FIFO")
                    .then(|| std::fs::OpenOptions::new().read(true).write(true).open(&lock).unwrap());
            }
            drop(reader);
            assert!(!elsewhere.exists(), "nothing is made behind a link");
        }
        std::fs::remove_dir(&lock).unwrap();
        assert!(spool.lock().await.unwrap().is_some(), "as soon as it is removed");
    }
}
