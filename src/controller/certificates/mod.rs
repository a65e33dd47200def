//! The self-managed certificates of webhook and broker: stored in Secrets, renewed in time, and signed by a CA that is
//! published before it signs.

mod lifetimes;
#[cfg(test)]
mod tests;
mod x509;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use secrecy::{ExposeSecret as _, SecretString};

use crate::cluster::CallError;
use crate::cluster::certificates::{CertificateSecret, publish_authorities};
use lifetimes::{AuthorityStep, authority_step, server_is_due};
use x509::Keyed;

/// Between successful reconciliations. Others may overwrite what is written here, as cert-manager does while its
/// Certificates exist, and labelled pods are refused until it is restored.
const INTERVAL: Duration = Duration::from_secs(60);
/// Until the next reconciliation after an error.
const RETRY: Duration = Duration::from_secs(5);

/// Where the certificates are kept. All of the flags are given, or none.
#[derive(Clone, Debug, clap::Args)]
#[group(
    id = "certificates",
    requires_all = ["certificates_namespace", "webhook_service", "broker_service", "mutating_webhook_configuration"],
)]
pub struct Config {
    /// Namespace of the Services and of the Secrets.
    #[arg(long, required = false)]
    pub certificates_namespace: String,
    /// Service of the webhook. Secrets: this name with -tls, and with -ca for the CA of both.
    #[arg(long, required = false)]
    pub webhook_service: String,
    /// Service of the broker. Secret: this name with -tls.
    #[arg(long, required = false)]
    pub broker_service: String,
    /// MutatingWebhookConfiguration whose webhooks are to be trusted by the CA.
    #[arg(long, required = false)]
    pub mutating_webhook_configuration: String,
}

/// Why a reconciliation of the certificates failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("creating a certificate failed: {0}")]
    Making(#[from] rcgen::Error),
}

/// Keeps the certificates for as long as it is polled.
pub async fn keep(client: Client, config: Config) -> Infallible {
    loop {
        let pause = match reconcile(&client, &config, Timestamp::now()).await {
            Ok(()) => INTERVAL,
            Err(error) => {
                tracing::error!(%error, "reconciling the certificates failed; trying again");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Reconciles the CA, its publication and the servers' certificates. Each is written only when it has to change.
async fn reconcile(client: &Client, config: &Config, now: Timestamp) -> Result<(), Error> {
    let (authority, bundle) = authority(client, config, now).await?;
    let published = publish_authorities(client, &config.mutating_webhook_configuration, &bundle).await;
    for service in [&config.webhook_service, &config.broker_service] {
        server(client, &config.certificates_namespace, service, &authority, &bundle, now).await?;
    }
    // Last, as the broker needs its certificate whatever is wrong with the configuration.
    if published? {
        tracing::info!(configuration = config.mutating_webhook_configuration, "published the CA");
    }
    Ok(())
}

/// The CA that signs, and the bundle of all that are to be trusted.
async fn authority(client: &Client, config: &Config, now: Timestamp) -> Result<(Keyed, String), Error> {
    let name = format!("{}-ca", config.webhook_service);
    let found = CertificateSecret::get(client, &config.certificates_namespace, &name).await?;
    let mut secret =
        found.unwrap_or_else(|| CertificateSecret::new(&config.certificates_namespace, &name, "Opaque"));
    let usable = |keyed: Option<Keyed>| keyed.and_then(|keyed| Some((x509::read_authority(&keyed)?, keyed)));
    let signing = usable(keyed(&secret, "tls"));
    let successor = usable(keyed(&secret, "next"));
    let validity = |of: &Option<(lifetimes::Validity, Keyed)>| of.as_ref().map(|(validity, _)| *validity);

    let step = authority_step(validity(&signing), validity(&successor), now);
    let (signing, successor) = match (step, signing, successor) {
        (AuthorityStep::Introduce, Some((_, signing)), _) => (signing, Some(x509::new_authority(now)?)),
        (AuthorityStep::Promote, _, Some((_, successor))) => (successor, None),
        (AuthorityStep::Keep, Some((_, signing)), successor) => (signing, successor.map(|(_, keyed)| keyed)),
        _ => (x509::new_authority(now)?, None),
    };
    // Earlier CAs stay published until they expire, because what they signed may still be in use.
    let before = secret.data.get("ca.crt").cloned();
    let published = [Some(&*signing.certificate), successor.as_ref().map(|keyed| &*keyed.certificate)];
    let published = published.into_iter().flatten().chain(before.as_ref().map(|pem| pem.expose_secret()));
    let bundle = x509::bundle(published, now);

    if step != AuthorityStep::Keep || before.is_none_or(|before| before.expose_secret() != bundle) {
        secret.data.clear();
        put(&mut secret, "tls", &signing);
        if let Some(successor) = &successor {
            put(&mut secret, "next", successor);
        }
        secret.data.insert("ca.crt".to_owned(), bundle.clone().into());
        secret.write(client).await?;
        tracing::info!(secret = name, ?step, "wrote the CA");
    }
    Ok((signing, bundle))
}

/// A Service's certificate, with the bundle of trusted CAs beside it.
async fn server(
    client: &Client,
    namespace: &str,
    service: &str,
    authority: &Keyed,
    bundle: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let name = format!("{service}-tls");
    let found = CertificateSecret::get(client, namespace, &name).await?;
    let mut secret = found.unwrap_or_else(|| CertificateSecret::new(namespace, &name, "kubernetes.io/tls"));
    let present = keyed(&secret, "tls").and_then(|keyed| x509::read_server(&keyed, authority));
    let names = ["", &format!(".{namespace}.svc"), &format!(".{namespace}.svc.cluster.local")]
        .map(|suffix| format!("{service}{suffix}"));
    let names = BTreeSet::from(names);

    let is_due = server_is_due(present.as_ref(), &names, now);
    let is_published = secret.data.get("ca.crt").is_some_and(|before| before.expose_secret() == bundle);
    if is_due || !is_published {
        if is_due {
            put(&mut secret, "tls", &x509::new_server(authority, &names, now)?);
        }
        secret.data.insert("ca.crt".to_owned(), bundle.into());
        secret.write(client).await?;
        tracing::info!(secret = name, renewed = is_due, "wrote a server certificate");
    }
    Ok(())
}

fn keyed(secret: &CertificateSecret, name: &str) -> Option<Keyed> {
    Some(Keyed {
        certificate: secret.data.get(&format!("{name}.crt"))?.expose_secret().to_owned(),
        key: secret.data.get(&format!("{name}.key"))?.clone(),
    })
}

fn put(secret: &mut CertificateSecret, name: &str, keyed: &Keyed) {
    secret.data.insert(format!("{name}.crt"), SecretString::from(keyed.certificate.clone()));
    secret.data.insert(format!("{name}.key"), keyed.key.clone());
}
