//! One uploader per spool.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use crate::domain::delivery::{remedy_to_write, termination_message_without_spool};
use crate::uploader::spool::syscalls::leave_message;
use crate::uploader::spool::{Lock, Spool};

/// Time between two tries.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits for the lock of the spool. `None`: `shutdown` came before, which the termination message then says.
pub async fn acquire(
    spool: &Spool,
    termination_log: &Path,
    shutdown: impl Future<Output = ()>,
) -> Option<Lock> {
    let mut shutdown = pin!(shutdown);
    let mut logged = "";
    loop {
        let reason = match try_acquire(spool, logged).await {
            Ok(lock) => return Some(lock),
            Err(reason) => reason,
        };
        logged = reason;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = &mut shutdown => {
                leave_message(termination_log, &termination_message_without_spool(reason));
                return None;
            }
        }
    }
}

/// Tries once. A reason that was logged already is not logged again.
async fn try_acquire(spool: &Spool, logged: &str) -> Result<Lock, &'static str> {
    let path = spool.root().display();
    match spool.lock().await {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => {
            let reason = "SpoolInUse";
            if logged != reason {
                tracing::warn!(reason, %path, "another uploader has locked the spool; waiting for it to end");
            }
            Err(reason)
        }
        Err(error) => {
            let reason = "SpoolNotWritable";
            if logged != reason {
                let remedy = remedy_to_write(error.kind());
                tracing::warn!(reason, %path, %error, remedy, "cannot use the spool");
            }
            Err(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_uploader_waits_for_the_first_and_then_finds_what_it_had_in_hand() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned());
        let termination_log = directory.path().join(".termination-log");
        std::fs::write(&termination_log, "").unwrap();
        let first = acquire(&spool, &termination_log, std::future::pending()).await.unwrap();
        let moving = directory.path().join(".recording-uploader/moving");
        std::fs::create_dir_all(&moving).unwrap();
        std::fs::write(moving.join("a.wav"), "sound").unwrap();

        let hour = tokio::time::sleep(Duration::from_secs(3600));
        assert!(acquire(&spool, &termination_log, hour).await.is_none(), "told to end while waiting");
        let said = std::fs::read_to_string(&termination_log).unwrap();
        assert!(said.contains("SpoolInUse"), "{said}");
        drop(first);
        assert!(acquire(&spool, &termination_log, std::future::pending()).await.is_some());
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
