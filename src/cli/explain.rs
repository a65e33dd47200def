//! `explain`: what is wrong with one destination, on which side, and the remedy.

use jiff::Timestamp;

use super::explanation::Explanation;
use super::kubernetes::Named;
use super::output::Failure;

/// What to explain.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    destination: Named,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Explanation, Failure> {
    let (_, destination) = arguments.destination.find().await?;
    Ok(Explanation::of(&destination, Timestamp::now()))
}
