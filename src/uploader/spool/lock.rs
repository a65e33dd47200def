//! Getting hold of the spool.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use crate::uploader::blocking;
use crate::uploader::spool::files::{Lock, Spool};
use crate::uploader::spool::syscalls::leave_message;
use crate::domain::delivery::{farewell_without_spool, remedy_to_write};

/// Time between two tries.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits for the spool, and puts back what an earlier uploader had in hand. `None`: told to end before, which the
/// termination message then says.
pub async fn claim(
    spool: &Spool,
    termination_log: &Path,
    shutdown: impl Future<Output = ()>,
) -> Option<Lock> {
    let mut shutdown = pin!(shutdown);
    let mut said = "";
    loop {
        let reason = match try_claim(spool, said).await {
            Ok(lock) => return Some(lock),
            Err(reason) => reason,
        };
        said = reason;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = &mut shutdown => {
                leave_message(termination_log, &farewell_without_spool(reason));
                return None;
            }
        }
    }
}

/// Tries once. A reason that was said already is not logged again.
async fn try_claim(spool: &Spool, said: &str) -> Result<Lock, &'static str> {
    let trying = spool.clone();
    let tried = blocking(move || {
        let lock = trying.try_lock()?;
        if lock.is_some() {
            trying.restore()?;
        }
        Ok::<_, std::io::Error>(lock)
    });
    let path = spool.root().display();
    match tried.await {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => {
            let reason = "SpoolInUse";
            if said != reason {
                tracing::warn!(reason, %path, "Another uploader has the spool. Waiting for it to end");
            }
            Err(reason)
        }
        Err(error) => {
            let reason = "SpoolNotWritable";
            if said != reason {
                let remedy = remedy_to_write(error.kind());
                tracing::warn!(reason, %path, %error, remedy, "The spool cannot be used");
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
        let last_words = directory.path().join(".termination-log");
        std::fs::write(&last_words, "").unwrap();
        let first = claim(&spool, &last_words, std::future::pending()).await.unwrap();
        let moving = directory.path().join(".recording-uploader/moving");
        std::fs::create_dir_all(&moving).unwrap();
        std::fs::write(moving.join("a.wav"), "sound").unwrap();

        let hour = tokio::time::sleep(Duration::from_secs(3600));
        assert!(claim(&spool, &last_words, hour).await.is_none(), "told to end while waiting");
        let said = std::fs::read_to_string(&last_words).unwrap();
        assert!(said.contains("SpoolInUse"), "{said}");
        drop(first);
        assert!(claim(&spool, &last_words, std::future::pending()).await.is_some());
        assert!(directory.path().join("a.wav").exists());
    }
}
