//! Values that must never be shown: External IDs, keys, tokens. Each is wrapped when it is read, and `Debug` and `Display`
//! of a wrapped value are redacted.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// An External ID that AWS would accept as one.
#[derive(Clone)]
pub struct ExternalID(SecretString);

/// The rule that a value breaks, without the value. Limits: AWS STS API reference, AssumeRole, `ExternalId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedExternalID {
    /// Shorter than 2 or longer than 1,224 characters.
    #[error("it must have 2 to 1224 characters")]
    Length,
    /// Ends in a line break, the usual slip of `echo`.
    #[error(
        "it ends in a line break; write the value without one, with printf %s, or with stringData and no block scalar"
    )]
    TrailingNewline,
    /// A character outside AWS's set.
    #[error("it may hold only letters, digits and _ + = , . @ : / -")]
    Character,
}

impl ExternalID {
    /// Checks a value by AWS's rules. It is not trimmed, because AWS compares it as it is.
    pub fn parse(value: &str) -> Result<Self, MalformedExternalID> {
        if value.ends_with(['\n', '\r']) {
            return Err(MalformedExternalID::TrailingNewline);
        }
        if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b)) {
            return Err(MalformedExternalID::Character);
        }
        if !(2..=1224).contains(&value.len()) {
            return Err(MalformedExternalID::Length);
        }
        Ok(ExternalID(SecretString::from(value)))
    }

    /// The value, for AssumeRole and for deriving probes from it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ExternalID {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExternalID(redacted)")
    }
}

/// Compares External IDs without keeping them. The hash key is random and lost with the process, so a fingerprint is
/// useless elsewhere.
#[derive(Debug, Default)]
pub struct Fingerprints(RandomState);

/// The keyed hash of an External ID, comparable with others of the same process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprints {
    /// The SipHash of an External ID.
    pub fn of(&self, id: &ExternalID) -> Fingerprint {
        Fingerprint(self.0.hash_one(id.expose()))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(redacted)")
    }
}

/// The platform's own long-lived access key.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Not secret: AWS logs it.
    pub id: String,
    pub secret: SecretString,
}

#[derive(Clone, Debug)]
pub struct SessionCredentials {
    /// Not secret: AWS and the broker log it.
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    /// Empty with a long-lived key, which has none.
    pub session_token: SecretString,
    pub expiration: Timestamp,
}

/// The container-credentials document of the AWS SDKs, which the broker and the sidecar serve.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerCredentials<'a> {
    access_key_id: std::borrow::Cow<'a, str>,
    secret_access_key: std::borrow::Cow<'a, str>,
    token: std::borrow::Cow<'a, str>,
    expiration: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account_id: Option<std::borrow::Cow<'a, str>>,
}

impl SessionCredentials {
    /// The container-credentials document: the one place where a session leaves its wrapper.
    pub fn to_container_json(&self, account_id: Option<&str>) -> SecretString {
        let document = ContainerCredentials {
            access_key_id: self.access_key_id.as_str().into(),
            secret_access_key: self.secret_access_key.expose_secret().into(),
            token: self.session_token.expose_secret().into(),
            expiration: self.expiration,
            account_id: account_id.map(Into::into),
        };
        SecretString::from(serde_json::to_string(&document).expect("strings and a timestamp serialize"))
    }

    /// Parses a container-credentials document. The error names the position and shows nothing of the text.
    pub fn from_container_json(json: &[u8]) -> Result<Self, MalformedCredentials> {
        let document: ContainerCredentials<'_> =
            serde_json::from_slice(json).map_err(|error| MalformedCredentials { column: error.column() })?;
        Ok(SessionCredentials {
            access_key_id: document.access_key_id.into_owned(),
            secret_access_key: SecretString::from(document.secret_access_key.into_owned()),
            session_token: SecretString::from(document.token.into_owned()),
            expiration: document.expiration,
        })
    }
}

/// A container-credentials document could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a container-credentials document (at column {column})")]
pub struct MalformedCredentials {
    column: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_id_is_what_aws_accepts_as_one() {
        for (value, expected) in [
            ("ab", None),
            ("a", Some(MalformedExternalID::Length)),
            ("", Some(MalformedExternalID::Length)),
            ("c7f1e0b2-8f0a-4a52-9c1e-1f2d3c4b5a69", None),
            ("_+=,.@:/-", None),
            // In AWS's pattern the backslash only escapes the slash.
            ("back\\slash", Some(MalformedExternalID::Character)),
            ("with space", Some(MalformedExternalID::Character)),
            ("ümlaut", Some(MalformedExternalID::Character)),
            ("value\n", Some(MalformedExternalID::TrailingNewline)),
        ] {
            assert_eq!(ExternalID::parse(value).err(), expected, "{value:?}");
        }
        assert!(ExternalID::parse(&"x".repeat(1224)).is_ok());
        assert_eq!(ExternalID::parse(&"x".repeat(1225)).err(), Some(MalformedExternalID::Length));
    }

    #[test]
    fn nothing_of_a_secret_shows_in_debug_output() {
        let credentials = SessionCredentials {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: "marker-secret".into(),
            session_token: "marker-token".into(),
            expiration: Timestamp::UNIX_EPOCH,
        };
        let id = ExternalID::parse("marker-external-id").unwrap();
        let shown = format!(
            "{credentials:?} {id:?} {:?}",
            AccessKey { id: "AKIA".into(), secret: "marker-key".into() }
        );
        assert!(!shown.contains("marker"), "{shown}");
    }

    #[test]
    fn fingerprints_distinguish_external_ids_within_one_process_only() {
        let id = |value| ExternalID::parse(value).unwrap();
        let ours = Fingerprints::default();
        assert_eq!(ours.of(&id("acme-1")), ours.of(&id("acme-1")));
        assert_ne!(ours.of(&id("acme-1")), ours.of(&id("acme-2")));
        assert_ne!(ours.of(&id("acme-1")), Fingerprints::default().of(&id("acme-1")));
    }

    #[test]
    fn a_session_survives_the_way_to_the_sidecar() {
        let credentials = SessionCredentials {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: "secret".into(),
            session_token: "token".into(),
            expiration: "2030-01-01T00:00:00Z".parse().unwrap(),
        };
        let json = credentials.to_container_json(Some("111111111111"));
        let read = SessionCredentials::from_container_json(json.expose_secret().as_bytes()).unwrap();
        assert_eq!(read.access_key_id, "ASIAEXAMPLE");
        assert_eq!(read.session_token.expose_secret(), "token");
        assert_eq!(read.expiration, credentials.expiration);
    }
}
