//! `explain`: what is wrong with one destination, on whose side, and what mends it.

use jiff::Timestamp;

use super::explanation::Explanation;
use super::kubernetes::Kubernetes;
use super::output::Failure;

/// What to explain.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Name of the RecordingDestination.
    name: String,
    #[command(flatten)]
    kubernetes: Kubernetes,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Explanation, Failure> {
    let (_, destination) = arguments.kubernetes.destination(&arguments.name).await?;
    Ok(Explanation::of(&destination, Timestamp::now()))
}
