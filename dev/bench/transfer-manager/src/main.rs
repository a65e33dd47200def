//! `transfer-manager DIRECTORY BUCKET PREFIX`: moves the files of a directory, with whatever the library does by default.

use std::collections::HashSet;
use std::error::Error;
use std::{env, fs, io};

use aws_sdk_s3_transfer_manager::types::FailedTransferPolicy;
use aws_sdk_s3_transfer_manager::{Client, from_env};

// The library has threads of its own: this one only waits for them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [directory, bucket, prefix] = &arguments[..] else { return Err("DIRECTORY BUCKET PREFIX".into()) };
    // Listed before, so that nothing is unlinked that came too late to be uploaded.
    let files: Vec<_> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    // An endpoint that is an IP address is spoken to in path style without being told so.
    let manager = Client::new(from_env().load().await);
    let upload = manager.upload_objects().source(directory).bucket(bucket).key_prefix(prefix);
    // As its peers do: one file that fails is no reason not to move the others.
    let output = upload.failure_policy(FailedTransferPolicy::Continue).initiate()?.join().await?;
    let failed: HashSet<_> = output.failed_transfers.iter().filter_map(|it| it.source_path()).collect();
    for file in files.iter().filter(|file| !failed.contains(file.as_path())) {
        fs::remove_file(file)?;
    }
    match output.failed_transfers.first() {
        Some(first) => {
            Err(format!("{} failed, the first by {:?}", output.failed_transfers.len(), first.error()).into())
        }
        None => Ok(()),
    }
}
