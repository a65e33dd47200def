//! The secret path at which the API server calls the webhook. It tells the API server from every other caller of the port.
//!
//! A path is replaced from time to time, because Kubernetes shows it where a call fails: in the message to whoever creates
//! a pod while no webhook answers. Webhooks accept whatever path the configuration has, and for a while the one before.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use kube::Client;
use secrecy::{ExposeSecret as _, SecretString};

use crate::cluster;
use crate::cluster::webhook_paths::{WebhookPath, is_rolled_out};

const INTERVAL: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(5);
/// How long a path is used.
const LIFE: Duration = Duration::from_secs(3600);
/// How long the path of an earlier release may stay before that is logged, and again after as long.
const OVERDUE: Duration = Duration::from_secs(600);
/// How long all pods of the webhook must have been of one template before the path of an earlier release is replaced: an
/// old pod serves for up to 40 seconds after its Deployment has gone over to new ones.
const SETTLED: Duration = Duration::from_secs(60);
/// A segment after this is the secret. Kubernetes admits only DNS names for segments.
const PREFIX: &str = "/inject/";

/// Whose path is kept. All of the flags are given, or none.
#[derive(Clone, Debug, clap::Args)]
#[group(
    id = "webhook_path",
    requires_all = ["webhook_path_configuration", "webhook_path_namespace", "webhook_path_deployment"],
)]
pub struct Config {
    /// MutatingWebhookConfiguration that gets a secret path.
    #[arg(long, required = false)]
    pub webhook_path_configuration: String,
    /// Namespace of the webhook's Deployment.
    #[arg(long, required = false)]
    pub webhook_path_namespace: String,
    /// Deployment of the webhook: the path of an earlier release is replaced once all of its pods are of this one.
    #[arg(long, required = false)]
    pub webhook_path_deployment: String,
}

/// What was seen, and since when.
#[derive(Default)]
struct Observed {
    path: Option<(SecretString, Instant)>,
    settled: Option<Instant>,
    /// Since when the path of an earlier release has been there, or was last logged.
    overdue: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Replace,
}

/// Keeps the path secret for as long as it is polled.
pub async fn keep(client: Client, config: Config) -> Infallible {
    let mut observed = Observed::default();
    // A new installation's CA goes first: both are fields of one object, and of two writes at a time one fails.
    tokio::time::sleep(RETRY).await;
    loop {
        let pause = match reconcile(&client, &config, &mut observed).await {
            Ok(()) => INTERVAL,
            Err(error) => {
                tracing::error!(%error, "reconciling the webhook's path failed; trying again");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn reconcile(client: &Client, config: &Config, observed: &mut Observed) -> cluster::Result<()> {
    let configuration = &config.webhook_path_configuration;
    let found = WebhookPath::get(client, configuration).await?;
    let path = found.path();
    let now = Instant::now();
    let known = observed.path.take();
    // Somebody else wrote it, such as `helm rollback`: the path may be one that was seen before.
    let is_foreign = known.as_ref().is_some_and(|(known, _)| {
        path.as_ref().is_none_or(|path| path.expose_secret() != known.expose_secret())
    });
    observed.path = path.clone().map(|path| match known {
        Some((known, since)) if !is_foreign => (known, since),
        _ => (path, now),
    });
    let age = observed.path.as_ref().map(|(_, since)| now.duration_since(*since)).unwrap_or_default();
    let path = path.as_ref().map(|path| path.expose_secret());
    if path.is_some_and(|path| !is_unguessable(path)) {
        let (namespace, deployment) = (&config.webhook_path_namespace, &config.webhook_path_deployment);
        let is_rolled_out = is_rolled_out(client, namespace, deployment).await?;
        observed.settled = is_rolled_out.then(|| observed.settled.unwrap_or(now));
        if is_overdue(&mut observed.overdue, now) {
            tracing::warn!(
                namespace,
                deployment,
                "the webhook's path is that of an earlier release, which is no secret: it is replaced once all pods of \
                 the deployment are of this release and available"
            );
        }
    } else {
        observed.overdue = None;
    }
    let settled = observed.settled.map(|since| now.duration_since(since));
    if step(path, age, is_foreign, settled) == Step::Replace {
        let new = unguessable(rand::random());
        found.replace(client, &new).await?;
        observed.path = Some((new, now));
        tracing::info!(configuration, "gave the webhook a new path");
    }
    Ok(())
}

/// What to do about a path that has been in use for so long, with pods that have been of one template for so long.
fn step(path: Option<&str>, age: Duration, is_foreign: bool, settled: Option<Duration>) -> Step {
    let is_due = match path {
        // No release wrote a configuration without a path, so no webhook depends on that one.
        None => true,
        Some(path) if is_unguessable(path) => is_foreign || age >= LIFE,
        Some(_) => settled.is_some_and(|settled| settled >= SETTLED),
    };
    if is_due { Step::Replace } else { Step::Keep }
}

/// Whether it must be logged now that a path has not been replaced.
fn is_overdue(since: &mut Option<Instant>, now: Instant) -> bool {
    let is_overdue = now.duration_since(*since.get_or_insert(now)) >= OVERDUE;
    if is_overdue {
        *since = Some(now);
    }
    is_overdue
}

fn unguessable(random: [u8; 16]) -> SecretString {
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hex}").into()
}

fn is_unguessable(path: &str) -> bool {
    let hex = |secret: &str| secret.len() >= 32 && secret.bytes().all(|b| b.is_ascii_hexdigit());
    path.strip_prefix(PREFIX).is_some_and(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_replaced_when_it_is_old_or_of_a_release_whose_pods_are_gone() {
        let seconds = Duration::from_secs;
        let secret = unguessable([0xa7; 16]);
        assert_eq!(secret.expose_secret(), "/inject/a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7");
        let secret = Some(secret.expose_secret());
        for (path, age, is_foreign, settled, expected) in [
            (None, seconds(0), false, None, Step::Replace),
            (secret, seconds(0), false, None, Step::Keep),
            (secret, seconds(0), true, None, Step::Replace),
            (secret, LIFE - seconds(1), false, Some(LIFE), Step::Keep),
            (secret, LIFE, false, None, Step::Replace),
            (Some("/inject"), LIFE, true, None, Step::Keep),
            (Some("/inject"), seconds(90), false, Some(seconds(30)), Step::Keep),
            (Some("/inject"), seconds(90), false, Some(SETTLED), Step::Replace),
            (Some("/inject/short"), seconds(90), false, Some(SETTLED), Step::Replace),
        ] {
            let found = step(path, age, is_foreign, settled);
            assert_eq!(found, expected, "{path:?}, {age:?}, {is_foreign}, {settled:?}");
        }
        assert!(LIFE <= seconds(3600), "who has seen the path knows it for an hour");
    }

    #[test]
    fn a_path_of_an_earlier_release_is_logged_every_ten_minutes() {
        let (mut since, began) = (None, Instant::now());
        let minutes =
            (0..35).filter(|minute| is_overdue(&mut since, began + Duration::from_secs(60 * minute)));
        assert_eq!(minutes.collect::<Vec<_>>(), [10, 20, 30]);
    }
}
