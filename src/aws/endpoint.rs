//! The flags for an endpoint override.

use rustls::RootCertStore;
use rustls::pki_types::pem::{PemObject as _, SectionKind};

use crate::api::Endpoint;

/// An endpoint override: the operator's to set, never a tenant's.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EndpointArgs {
    /// Endpoint that replaces AWS's own, here and for the sidecars.
    #[arg(long)]
    pub aws_endpoint_url: Option<String>,
    /// CA certificates by which that endpoint is known instead of the public ones, PEM.
    #[arg(long, requires = "aws_endpoint_url", value_parser = usable)]
    pub aws_endpoint_ca: Option<String>,
}

/// Text that is no CA bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no CA certificates in PEM form, each from -----BEGIN CERTIFICATE----- to its END, and nothing else: every sidecar is told of it"
)]
pub struct UnusableCA;

impl EndpointArgs {
    /// The endpoint, if one is set.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let url = self.aws_endpoint_url.clone()?;
        Some(Endpoint { url, ca_bundle: self.aws_endpoint_ca.clone() })
    }
}

/// The bundle, if it is certificates that can be used, and nothing else.
pub(super) fn usable(bundle: &str) -> Result<String, UnusableCA> {
    let mut roots = RootCertStore::empty();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bundle.as_bytes()) {
        let (SectionKind::Certificate, certificate) = section.map_err(|_| UnusableCA)? else {
            return Err(UnusableCA);
        };
        roots.add(certificate.into()).map_err(|_| UnusableCA)?;
    }
    if roots.is_empty() { Err(UnusableCA) } else { Ok(bundle.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        endpoint: EndpointArgs,
    }

    #[test]
    fn a_ca_bundle_is_one_of_certificates_and_belongs_to_an_endpoint() {
        let made = rcgen::generate_simple_self_signed(["aws.test".to_owned()]).unwrap();
        let (made, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let broken = made.replacen('M', "#", 1);
        let url = "--aws-endpoint-url=https://aws.test";
        for (arguments, expected) in [
            (vec![], Ok(None)),
            (vec![url.to_owned()], Ok(Some(None))),
            (vec![url.to_owned(), format!("--aws-endpoint-ca={made}")], Ok(Some(Some(made.clone())))),
            (vec![format!("--aws-endpoint-ca={made}")], Err("--aws-endpoint-url")),
            (vec![url.to_owned(), "--aws-endpoint-ca=".to_owned()], Err("--aws-endpoint-ca")),
            (vec![url.to_owned(), format!("--aws-endpoint-ca={broken}")], Err("--aws-endpoint-ca")),
            (vec![url.to_owned(), format!("--aws-endpoint-ca={made}{key}")], Err("--aws-endpoint-ca")),
        ] {
            let parsed = Command::try_parse_from(std::iter::once("x".to_owned()).chain(arguments.clone()));
            match (parsed, expected) {
                (Ok(command), Ok(expected)) => {
                    assert_eq!(command.endpoint.endpoint().map(|endpoint| endpoint.ca_bundle), expected);
                }
                (Err(error), Err(named)) => assert!(error.to_string().contains(named), "{error}"),
                (parsed, _) => panic!("{arguments:?}: {parsed:?}"),
            }
        }
    }
}
