//! X.509 certificates, created and parsed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::lifetimes::{AUTHORITY_LIFE, SERVER_LIFE, ServerCertificate, Validity};

/// How far the clock of a verifier may be behind this one.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub certificate: String,
    pub key: SecretString,
}

/// A new self-signed CA.
pub(super) fn new_authority(now: Timestamp) -> Result<Keyed, Error> {
    let mut params = params(now, AUTHORITY_LIFE)?;
    // The date distinguishes two of them.
    let name = format!("recording-operator CA {}", now.strftime("%F"));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(keyed(params.self_signed(&key)?, &key))
}

/// A new server certificate for those DNS names, signed by the CA.
pub(super) fn new_server(
    authority: &Keyed,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> Result<Keyed, Error> {
    let signer = KeyPair::from_pem(authority.key.expose_secret())?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer)?;
    let mut params = params(now, SERVER_LIFE)?;
    for name in names {
        params.subject_alt_names.push(rcgen::SanType::DnsName(name.as_str().try_into()?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok(keyed(params.signed_by(&key, &issuer)?, &key))
}

/// When a CA is valid; `None` when certificate or key cannot be parsed or do not match.
pub(super) fn read_authority(authority: &Keyed) -> Option<Validity> {
    let der = der(&authority.certificate)?;
    let certificate = parse(&der)?;
    (certificate.is_ca() && fits(&certificate, &authority.key)).then(|| validity(&certificate))?
}

/// A server's certificate; `None` when it cannot be parsed.
pub(super) fn read_server(server: &Keyed, authority: &Keyed) -> Option<ServerCertificate> {
    let (der, authority) = (der(&server.certificate)?, der(&authority.certificate)?);
    let (certificate, authority) = (parse(&der)?, parse(&authority)?);
    let names = certificate.subject_alternative_name().ok()??.value;
    let names = names.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Some(ServerCertificate {
        validity: validity(&certificate)?,
        names: names.collect(),
        is_signed_by_authority: certificate.verify_signature(Some(authority.public_key())).is_ok(),
        fits_key: fits(&certificate, &server.key),
    })
}

/// The certificates that have not expired, each once: what clients are to trust, PEM.
pub(super) fn bundle<'a>(certificates: impl IntoIterator<Item = &'a str>, now: Timestamp) -> String {
    let mut bundle = String::new();
    let texts = certificates.into_iter().flat_map(|pem| pem.split_inclusive("-----END CERTIFICATE-----"));
    for text in texts.map(str::trim) {
        let der = der(text);
        let validity = der.as_deref().and_then(parse).and_then(|certificate| validity(&certificate));
        if validity.is_some_and(|validity| !validity.has_ended(now)) && !bundle.contains(text) {
            bundle.push_str(text);
            bundle.push('\n');
        }
    }
    bundle
}

fn params(now: Timestamp, life: SignedDuration) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let time = |at: Timestamp| ASN1Time::from_timestamp(at.as_second()).map_err(|_| Error::Time);
    params.not_before = time(now - CLOCK_SKEW)?.to_datetime();
    params.not_after = time(now + life)?.to_datetime();
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params)
}

fn keyed(certificate: rcgen::Certificate, key: &KeyPair) -> Keyed {
    Keyed { certificate: certificate.pem(), key: SecretString::from(key.serialize_pem()) }
}

fn der(pem: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

fn validity(certificate: &X509Certificate) -> Option<Validity> {
    let of = |time: ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let validity = certificate.validity();
    Some(Validity { from: of(validity.not_before)?, until: of(validity.not_after)? })
}

fn fits(certificate: &X509Certificate, key: &SecretString) -> bool {
    KeyPair::from_pem(key.expose_secret())
        .is_ok_and(|key| key.subject_public_key_info() == certificate.public_key().raw)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::UnixTime;

    use super::*;

    const NAME: &str = "broker.test.svc";

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    /// What a TLS client would say.
    pub(crate) fn is_trusted(server: &str, name: &str, bundle: &str, at: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_second() as u64));
        let (certificate, name) = (der(server).unwrap(), name.try_into().unwrap());
        verifier.verify_server_cert(&certificate, &[], &name, &[], at).is_ok()
    }

    #[test]
    fn a_server_certificate_is_trusted_by_its_ca_alone_for_ninety_days() {
        let (authority, other) = (new_authority(now()).unwrap(), new_authority(now()).unwrap());
        let names = BTreeSet::from([NAME.to_owned(), "broker".to_owned()]);
        let server = new_server(&authority, &names, now()).unwrap();

        let trusted = |bundle: &str, days: i64| {
            is_trusted(&server.certificate, NAME, bundle, now() + SignedDuration::from_hours(24 * days))
        };
        assert!(trusted(&authority.certificate, 0) && trusted(&authority.certificate, 89));
        assert!(!trusted(&authority.certificate, 91));
        assert!(!trusted(&other.certificate, 0));
        assert!(trusted(&bundle([&*other.certificate, &authority.certificate], now()), 0));

        let read = read_server(&server, &authority).unwrap();
        assert_eq!(read.names, names);
        assert!(read.is_signed_by_authority && read.fits_key);
        assert!(!read_server(&server, &other).unwrap().is_signed_by_authority);
        let with_another_key = Keyed { key: other.key.clone(), ..server };
        assert!(!read_server(&with_another_key, &authority).unwrap().fits_key);
    }

    #[test]
    fn a_ca_whose_key_is_not_its_own_cannot_sign() {
        let (authority, other) = (new_authority(now()).unwrap(), new_authority(now()).unwrap());
        assert_eq!(read_authority(&authority).unwrap().until, now() + AUTHORITY_LIFE);
        assert_eq!(read_authority(&Keyed { key: other.key, ..authority.clone() }), None);
        assert_eq!(read_authority(&Keyed { certificate: "nonsense".into(), ..authority }), None);
    }

    #[test]
    fn a_bundle_holds_each_certificate_once_and_none_that_has_ended() {
        let (old, new) = (new_authority(now()).unwrap(), new_authority(now() + AUTHORITY_LIFE).unwrap());
        let both = bundle([&*new.certificate, &old.certificate, &new.certificate], now());
        assert_eq!(both, format!("{}{}", new.certificate, old.certificate));
        assert_eq!(bundle([&*both, "nonsense"], now() + AUTHORITY_LIFE), new.certificate);
    }
}
