//! `validate`: has the operator prove a destination now, and waits for what comes of it.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::explain::explain;
use super::explanation::Explanation;
use super::kubernetes::{Named, failure};
use super::output::{Failure, note};
use crate::api::{ConditionType, Reason, RecordingDestination};
use crate::cluster::destinations;

/// What to validate.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How long to wait for the operator, e.g. 90s or 2m.
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    timeout: SignedDuration,
    #[command(flatten)]
    destination: Named,
}

pub(super) async fn run(arguments: &Arguments) -> Result<Explanation, Failure> {
    let (client, destination) = arguments.destination.find().await?;
    if let Some(why) = why_not_validated(&destination) {
        note(&format!("nothing was validated: {why}"));
        return Ok(explain(&client, &destination).await);
    }
    // A new value each time, because only a new one is handled.
    let request = Timestamp::now().to_string();
    let asked = destinations::request_validation(&client, &destination, &request).await;
    asked.map_err(|error| failure(&error))?;
    let is_answered = |seen: &RecordingDestination| {
        let handled = seen.status.as_ref().and_then(|status| status.last_handled_revalidate.as_deref());
        handled == Some(&request)
    };
    let watching = arguments.destination.kubernetes.connect_to_watch().await?;
    let answered = destinations::wait_until(&watching, &destination, is_answered);
    let within = Duration::try_from(arguments.timeout).unwrap_or_default();
    let answered = tokio::select! {
        answered = tokio::time::timeout(within, answered) => answered,
        never = progress() => match never {},
    };
    end_progress();
    match answered {
        Ok(Ok(Some(validated))) => Ok(explain(&client, &validated).await),
        Ok(Ok(None)) => Err(Failure::Undone(format!("{} was deleted meanwhile", arguments.destination.name))),
        Ok(Err(error)) => Err(Failure::Undone(format!("the wait was interrupted: {error}; try again"))),
        Err(_) => Err(Failure::Unanswered(format!(
            "no answer within {}s: see whether the operator's controller runs, or wait longer with --timeout; kubectl \
             recordings explain {} tells what is known",
            within.as_secs(),
            arguments.destination.name
        ))),
    }
}

/// Why the operator would not validate, whatever is requested.
fn why_not_validated(destination: &RecordingDestination) -> Option<&'static str> {
    if destination.spec.suspend {
        return Some("it is suspended");
    }
    let ready = destination.condition(ConditionType::Ready)?;
    let is_current = ready.observed_generation == destination.metadata.generation;
    match ready.reason.parse() {
        Ok(Reason::InvalidSpec) if is_current => Some("its spec must be edited first"),
        Ok(Reason::AccountNotAllowed) if is_current => Some("its namespace may not use the AWS account"),
        Ok(Reason::TooManyDestinations) if is_current => Some("its namespace has too many destinations"),
        _ => None,
    }
}

/// Shows that time passes: on a terminal in place, elsewhere once.
async fn progress() -> std::convert::Infallible {
    let began = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let is_terminal = std::io::stderr().is_terminal();
    if !is_terminal {
        note("the operator was asked to validate; waiting for its answer");
    }
    loop {
        ticks.tick().await;
        if is_terminal {
            eprint!("\rwaiting for the operator to validate … {} s ", began.elapsed().as_secs());
            // Progress that cannot be shown does not matter.
            _ = std::io::stderr().flush();
        }
    }
}

fn end_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
