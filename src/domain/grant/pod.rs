//! The pod behind a token, as far as it is read.
//!
//! A pod is as large as its tenant makes it: decoding keeps nothing of it that grows with its lists.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::spool::spool_of;
use crate::api::{DEFAULT_SPOOL_VOLUME, UPLOADER_BINARY, UPLOADER_CONTAINER};

/// What a decision about a pod is made from. Everything else is skipped unparsed.
#[derive(Clone, Debug, Deserialize)]
pub struct BoundPod {
    #[serde(default)]
    pub(super) metadata: Metadata,
    pub(super) spec: Option<Spec>,
    pub(super) status: Option<Status>,
    /// The kind of volume that the spool is on; empty where it could not be read.
    #[serde(skip)]
    pub(super) spool: String,
}

impl BoundPod {
    /// Reads a pod, and of its volumes the one that the spool is on.
    pub fn from_json(text: &[u8]) -> serde_json::Result<BoundPod> {
        let mut pod: BoundPod = serde_json::from_slice(text)?;
        // Nobody asks for the spool of another pod, and its volumes cost a second pass.
        if pod.spec.as_ref().is_some_and(|spec| spec.has_sidecar) {
            let annotations = pod.metadata.annotations.as_ref();
            let volume = annotations.and_then(|all| all.spool_volume.as_deref());
            pod.spool = spool_of(text, volume.unwrap_or(DEFAULT_SPOOL_VOLUME));
        }
        Ok(pod)
    }

    pub(super) fn is_terminal(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) uid: Option<String>,
    pub(super) labels: Option<Labels>,
    pub(super) annotations: Option<Annotations>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Labels {
    #[serde(rename = "recordings.revenue.io/inject")]
    pub(super) inject: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Annotations {
    #[serde(rename = "recordings.revenue.io/destination")]
    pub(super) destination: Option<String>,
    #[serde(rename = "recordings.revenue.io/spool-volume")]
    pub(super) spool_volume: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Spec {
    #[serde(rename = "serviceAccountName")]
    pub(super) service_account_name: Option<String>,
    /// Whether the operator's native sidecar is among the init containers. Any image is accepted, so that running pods keep
    /// their rights when the operator is upgraded.
    #[serde(rename = "initContainers", default, deserialize_with = "has_sidecar")]
    pub(super) has_sidecar: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) phase: Option<String>,
}

fn has_sidecar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    deserializer.deserialize_any(Containers)
}

struct Containers;

impl<'de> Visitor<'de> for Containers {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of containers")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut containers: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(container) = containers.next_element::<Container>()? {
            found |= container.is_sidecar();
        }
        Ok(found)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: Option<String>,
    restart_policy: Option<String>,
    command: Option<Arguments>,
    args: Option<Arguments>,
}

impl Container {
    fn is_sidecar(&self) -> bool {
        let started = self.command.as_ref().map(|Arguments(words)| words.as_slice());
        self.name.as_deref() == Some(UPLOADER_CONTAINER)
            && self.restart_policy.as_deref() == Some("Always")
            && started.is_some_and(|command| command == [UPLOADER_BINARY])
            && self.args.as_ref().is_none_or(|Arguments(words)| words.is_empty())
    }
}

/// The first two strings of a list, which tell one that has a single string or none.
struct Arguments(Vec<String>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstTwo;

        impl<'de> Visitor<'de> for FirstTwo {
            type Value = Arguments;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Arguments, A::Error> {
                let mut words = Vec::new();
                while words.len() < 2 {
                    match entries.next_element()? {
                        Some(word) => words.push(word),
                        None => return Ok(Arguments(words)),
                    }
                }
                while entries.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Arguments(words))
            }
        }

        deserializer.deserialize_seq(FirstTwo)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn nothing_of_a_pod_is_kept_that_grows_with_its_lists() {
        let sidecar = json!({"name": "recording-uploader", "restartPolicy": "Always", "command": ["/recording-uploader"]});
        let large = |more: Vec<Value>| {
            json!({
                "metadata": {"uid": "u", "labels": {"a": "b"}, "managedFields": [{"time": "+10000-01-01T00:00:00Z"}]},
                "spec": {"volumes": vec![json!({"emptyDir": {}}); 45_000], "initContainers": more},
            })
        };
        for (containers, expected) in [
            (vec![json!({}); 45_000], false),
            (vec![json!({"name": "recording-uploader", "args": vec![""; 45_000]})], false),
            (vec![json!({}), sidecar], true),
        ] {
            let text = large(containers).to_string();
            let pod: BoundPod = serde_json::from_str(&text).unwrap();
            assert_eq!(pod.spec.map(|spec| spec.has_sidecar), Some(expected));
        }
        assert!(size_of::<BoundPod>() < 256, "all that is kept, but for a few names");
    }
}
