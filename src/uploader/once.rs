//! `recording-uploader --once DIR -f destination.yaml`: what is in a directory goes to a destination, with the
//! caller's own credentials. The same driver, ledger and verification as in a pod, without a broker.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Termination};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use prometheus_client::registry::Registry;
use serde::Deserialize as _;
use tokio::sync::watch;

use crate::api::{
    DeliveryReport, DeliveryState, DestinationDocument, RecordingDestination, RecordingDestinationSpec,
};
use crate::aws;
use crate::domain::delivery::Summary;
use crate::printable::printable_lines;
use crate::secret::SessionCredentials;
use crate::uploader::broker::destination::{DestinationState, follow};
use crate::uploader::broker::session::Sessions;
use crate::uploader::broker::{Broker, BrokerReply};
use crate::uploader::driver::Driver;
use crate::uploader::metrics::{SoFar, UploaderMetrics};
use crate::uploader::spool::Spool;
use crate::uploader::storage::S3;
use crate::uploader::transfer::context::TransferContext;

/// Time between two updates of the progress bar.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two lines that say so where there is no terminal.
const TICKS_PER_LINE: u32 = 150;
/// Exit code when recordings are left, or were quarantined.
const INCOMPLETE: u8 = 3;
pub const EXIT_CODES: &str = "Exit codes of --once: 0 all is uploaded and verified; 1 it could not begin; 2 wrong \
arguments; 3 something is left or in quarantine, as the summary says. Ctrl-C ends it; run again, it goes on.";

#[derive(Clone, Debug, clap::Args)]
pub struct Once {
    /// Send what is in this directory once, by hand, with the AWS credentials that every AWS tool would find here.
    #[arg(long, value_name = "DIR", required = false, requires = "filename")]
    pub once: PathBuf,
    /// File with the RecordingDestination to send to (YAML). Its Secret is not needed.
    #[arg(short, long, value_name = "FILE", required = false, requires = "once")]
    pub filename: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// Nothing to send from.
    #[error("--once {path}: {error}; name the directory whose files are to be sent", path = path.display())]
    Directory {
        /// As given.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// Nowhere to send to.
    #[error("--filename {path}: {problem}", path = path.display())]
    Destination {
        /// As given.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Nothing to send with.
    #[error(transparent)]
    Aws(#[from] aws::NoDefaultCredentials),
}

/// How it ended. As an exit code: 0, or 3 when something is left or in quarantine.
#[derive(Debug)]
pub struct Ended(Summary);

impl Termination for Ended {
    fn report(self) -> ExitCode {
        if self.0.is_complete() { ExitCode::SUCCESS } else { INCOMPLETE.into() }
    }
}

/// Sends what is there until nothing is left, or until `stop`, shows on `bar` how far it has come, and prints a summary.
pub async fn run_once(
    Once { once: directory, filename }: Once,
    bar: ProgressBar,
    stop: impl Future<Output = ()>,
) -> Result<Ended, CannotStart> {
    if let Err(error) = std::fs::read_dir(&directory) {
        return Err(CannotStart::Directory { path: directory, error });
    }
    let destination = match read(&filename) {
        Ok(destination) => destination,
        Err(problem) => return Err(CannotStart::Destination { path: filename, problem }),
    };
    let found = aws::DefaultCredentials::load(&destination.spec.region).await?;
    found.credentials().await?;
    let storage = S3::over(found.connection().clone());
    let local = Rc::new(LocalBroker { document: document(&destination, found.connection()), found });

    let metrics = UploaderMetrics::register(&mut Registry::default());
    let (sender, state) = watch::channel(DestinationState::Unknown);
    let context = TransferContext::new(Spool::new(directory.clone()), Sessions::new(local.clone(), storage));
    let in_parts = context.bytes_in_parts.clone();
    let (began, stop) = (Instant::now(), stop.shared());
    // Nobody reads the message that a pod would leave.
    let unread = PathBuf::from("/dev/null");
    let mut driver = Driver::new(context, metrics.clone(), unread);
    let lock = driver.lock_spool(stop.clone()).await;
    if lock.is_some() {
        tokio::select! {
            () = driver.drive(state, std::future::ready(())) => {}
            never = follow(&*local, sender, std::future::pending()) => match never {},
            never = show(&metrics, &in_parts, &bar, began) => match never {},
            () = stop => {}
        }
    }
    bar.finish_and_clear();
    let SoFar { files, bytes, retries, .. } = metrics.so_far();
    let summary =
        Summary { directory, files, bytes, retries, elapsed: began.elapsed(), left: driver.leftover() };
    eprintln!("{}", printable_lines(&summary.to_string(), &[]));
    Ok(Ended(summary))
}

/// The one RecordingDestination among the documents of a file.
fn read(path: &Path) -> Result<RecordingDestination, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let document =
            serde_yaml::Value::deserialize(document).map_err(|error| format!("not YAML: {error}"))?;
        if document.get("kind").and_then(serde_yaml::Value::as_str) == Some("RecordingDestination") {
            found.push(document);
        }
    }
    let [document] = <[_; 1]>::try_from(found).map_err(|found| {
        format!("it holds {} documents of kind RecordingDestination; one is needed", found.len())
    })?;
    let destination: RecordingDestination =
        serde_yaml::from_value(document).map_err(|error| format!("not a RecordingDestination: {error}"))?;
    // The rules of the API server, which has not seen this one.
    let spec = serde_json::to_value(&destination.spec).map_err(|error| error.to_string())?;
    RecordingDestinationSpec::validate_cel(&spec, None).map_err(|errors| errors.to_string())?;
    Ok(destination)
}

fn document(destination: &RecordingDestination, connection: &aws::Connection) -> DestinationDocument {
    DestinationDocument {
        state: DeliveryState::Active,
        reason: None,
        target: (&destination.spec).into(),
        endpoint: connection.endpoint().cloned(),
        ca_bundle: String::new(),
    }
}

/// Stands in for the broker: the destination from the file, and the caller's own credentials.
struct LocalBroker {
    document: DestinationDocument,
    found: aws::DefaultCredentials,
}

impl Broker for LocalBroker {
    async fn destination(&self) -> BrokerReply<DestinationDocument> {
        BrokerReply::Granted(self.document.clone())
    }

    async fn credentials(&self, _: Option<&str>) -> BrokerReply<SessionCredentials> {
        match self.found.credentials().await {
            Ok(credentials) => BrokerReply::Granted(credentials),
            Err(error) => BrokerReply::Unavailable(error.to_string()),
        }
    }

    /// The summary says it instead.
    async fn report(&self, _: &DeliveryReport) -> BrokerReply<()> {
        BrokerReply::Granted(())
    }
}

/// A bar on a terminal, a line now and then elsewhere.
async fn show(
    metrics: &UploaderMetrics,
    in_parts: &Cell<u64>,
    bar: &ProgressBar,
    began: Instant,
) -> Infallible {
    let style = "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
    let mut ticks = tokio::time::interval(TICK);
    for tick in 0_u32.. {
        ticks.tick().await;
        let so_far = metrics.so_far();
        let all = so_far.bytes + so_far.pending_bytes;
        let bytes = (so_far.bytes + in_parts.get()).max(bar.position());
        let files = format!("{} of {} recordings", so_far.files, so_far.files + so_far.pending_files);
        if !bar.is_hidden() {
            bar.set_length(all);
            bar.set_position(bytes);
            bar.set_message(files);
        } else if tick > 0 && tick.is_multiple_of(TICKS_PER_LINE) {
            let (bytes, all, seconds) =
                (HumanBytes(so_far.bytes), HumanBytes(all), began.elapsed().as_secs());
            tracing::info!("{files}, {bytes} of {all} after {seconds} s");
        }
    }
    unreachable!("it counts for longer than a machine lasts")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = include_str!("../../examples/tenant.yaml");

    fn read_text(text: &str) -> Result<RecordingDestination, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn the_one_destination_of_a_file_is_used_if_the_api_server_would_take_it() {
        assert_eq!(read_text(TENANT).unwrap().spec.bucket, "acme-recordings");
        let dotted = TENANT.replace("bucket: acme-recordings", "bucket: acme.recordings");
        let twice = format!("{TENANT}---\n{TENANT}");
        for (text, said) in [
            (dotted.as_str(), "bucket must not contain dots"),
            (&twice, "2 documents of kind RecordingDestination"),
            ("kind: Secret", "0 documents of kind RecordingDestination"),
            (
                "kind: RecordingDestination\nmetadata: {name: a}\nspec: {bucket: a-b-c}",
                "missing field `region`",
            ),
            ("a: [", "not YAML"),
        ] {
            let problem = read_text(text).unwrap_err();
            assert!(problem.contains(said), "{text}: {problem}");
        }
        assert!(read(Path::new("/nowhere")).unwrap_err().contains("No such file"));
    }

    #[tokio::test]
    async fn what_cannot_begin_says_which_argument_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let begin = async |once: &Path, filename: &Path| {
            let arguments = Once { once: once.to_owned(), filename: filename.to_owned() };
            run_once(arguments, ProgressBar::hidden(), std::future::pending()).await.unwrap_err().to_string()
        };
        let missing = directory.path().join("missing");
        assert!(begin(&missing, &missing).await.starts_with(&format!("--once {}", missing.display())));
        assert!(
            begin(directory.path(), &missing).await.starts_with(&format!("--filename {}", missing.display()))
        );
        assert!(!directory.path().join(".recording-uploader").exists(), "nothing was begun");
    }
}
