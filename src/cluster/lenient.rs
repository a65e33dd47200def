//! Objects that tenants write, decoded so that one of them never spoils a list or a watch.
//!
//! Tenants control labels, annotations and managed fields: their number, their size, and times that no clock can hold.
//! Decoding skips whatever this process does not read, and a content that cannot be decoded stays within its object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::{
    ALLOWED_ACCOUNTS_ANNOTATION, LONGEST_REVALIDATE, REVALIDATE_ANNOTATION, RecordingDestination,
};
use crate::printable::printable;

/// Most bytes kept of a Namespace's accounts. What is cut off names no account, so the namespace may use fewer.
const MOST_OF_ACCOUNTS: usize = 16 * 1024;

/// A destination as the API server sent it, or why it cannot be decoded. Of its metadata only what this process reads is
/// kept.
#[derive(Clone, Debug)]
pub struct LenientDestination(pub(super) Result<RecordingDestination, Undecodable>);

/// An object of which only the metadata can be decoded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}/{} cannot be decoded: {error}", namespace_of(metadata), name_of(metadata))]
pub struct Undecodable {
    pub(super) metadata: Box<ObjectMeta>,
    pub(super) error: String,
}

/// A Namespace, of which only the binding to AWS accounts is read.
#[derive(Clone, Debug)]
pub(super) struct LenientNamespace {
    metadata: ObjectMeta,
}

impl LenientNamespace {
    /// The value of the annotation, if the namespace has it.
    pub(super) fn accounts(&self) -> Option<&str> {
        Some(self.metadata.annotations.as_ref()?.get(ALLOWED_ACCOUNTS_ANNOTATION)?.as_str())
    }
}

impl Resource for LenientDestination {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        RecordingDestination::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        RecordingDestination::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        RecordingDestination::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        RecordingDestination::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(destination) => &destination.metadata,
            Err(undecodable) => &undecodable.metadata,
        }
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(destination) => &mut destination.metadata,
            Err(undecodable) => &mut undecodable.metadata,
        }
    }
}

impl Resource for LenientNamespace {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        <Namespace as Resource>::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        <Namespace as Resource>::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        <Namespace as Resource>::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        <Namespace as Resource>::plural(&())
    }
    /// The API server is to send no spec and no status.
    fn metadata_api() -> bool {
        true
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl From<Undecodable> for kube::Error {
    fn from(error: Undecodable) -> Self {
        kube::Error::SerdeError(serde_json::Error::custom(error))
    }
}

impl<'de> Deserialize<'de> for LenientDestination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            metadata: Metadata,
            // The CRD bounds both, so they may be held while they are decoded.
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }
        let Wire { metadata, spec, status } = Wire::deserialize(deserializer)?;
        let metadata = ObjectMeta::from(metadata);
        let content = part("spec", spec).and_then(|spec| Ok((spec, part("status", status)?)));
        Ok(LenientDestination(match content {
            Ok((spec, status)) => Ok(RecordingDestination { metadata, spec, status }),
            Err(error) => Err(Undecodable { metadata: Box::new(metadata), error }),
        }))
    }
}

impl<'de> Deserialize<'de> for LenientNamespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            metadata: Metadata,
        }
        Ok(LenientNamespace { metadata: Wire::deserialize(deserializer)?.metadata.into() })
    }
}

fn part<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| printable(&format!("{name}: {error}")).into_owned())
}

/// The metadata that this process reads. Everything else is skipped unparsed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    #[serde(deserialize_with = "or_none")]
    name: Option<String>,
    #[serde(deserialize_with = "or_none")]
    namespace: Option<String>,
    #[serde(deserialize_with = "or_none")]
    uid: Option<String>,
    #[serde(deserialize_with = "or_none")]
    resource_version: Option<String>,
    #[serde(deserialize_with = "or_none")]
    generation: Option<i64>,
    #[serde(deserialize_with = "or_none")]
    creation_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "or_none")]
    deletion_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "or_none")]
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "recordings.revenue.io/revalidate", deserialize_with = "or_none")]
    revalidate: Option<String>,
    #[serde(rename = "recordings.revenue.io/allowed-accounts", deserialize_with = "or_none")]
    allowed_accounts: Option<String>,
}

/// The value, or `None` where it is another type than it should be.
pub(super) fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Lenient<T> {
        Is(T),
        IsNot(IgnoredAny),
    }
    Ok(match Lenient::deserialize(deserializer)? {
        Lenient::Is(value) => Some(value),
        Lenient::IsNot(_) => None,
    })
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        let Annotations { revalidate, allowed_accounts } = metadata.annotations.unwrap_or_default();
        let revalidate = revalidate.filter(|value| value.len() <= LONGEST_REVALIDATE);
        let allowed_accounts = allowed_accounts.map(|mut value| {
            value.truncate(value.floor_char_boundary(MOST_OF_ACCOUNTS));
            value
        });
        let annotations =
            [(REVALIDATE_ANNOTATION, revalidate), (ALLOWED_ACCOUNTS_ANNOTATION, allowed_accounts)];
        let annotations = annotations.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        ObjectMeta {
            // Caches find an object by its name, and the API server leaves none without.
            name: Some(metadata.name.unwrap_or_default()),
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp.map(Time),
            deletion_timestamp: metadata.deletion_timestamp.map(Time),
            annotations: Some(annotations.collect()).filter(|all: &BTreeMap<_, _>| !all.is_empty()),
            ..ObjectMeta::default()
        }
    }
}

pub(super) fn namespace_of(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or_default()
}

pub(super) fn name_of(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}
