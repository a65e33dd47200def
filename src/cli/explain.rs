//! `explain`: what is wrong with one destination, on which side, and the remedy.

use jiff::Timestamp;
use kube::Client;

use super::explanation::Explanation;
use super::kubernetes::Named;
use super::output::Failure;
use super::surroundings::{Seen, Surroundings};
use crate::api::RecordingDestination;
use crate::cluster::survey::RecorderPod;

/// What to explain.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    destination: Named,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Explanation, Failure> {
    let (client, destination) = arguments.destination.find().await?;
    Ok(explain(&client, &destination).await)
}

/// The explanation, with what the user may see around the destination.
pub(super) async fn explain(client: &Client, destination: &RecordingDestination) -> Explanation {
    let seen = Seen::by(client, destination.metadata.namespace.as_deref()).await;
    let now = Timestamp::now();
    let names_it = |pod: &RecorderPod| pod.destination == destination.metadata.name;
    Explanation::of(destination, Surroundings::of(seen, names_it, now), now)
}
