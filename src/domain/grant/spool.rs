//! The kind of volume that a pod's spool is on.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api::is_object_name;

/// What the file system of a container is called, where the pod has no volume of that name.
const CONTAINER: &str = "container";
/// What a volume is that names no source, by the Kubernetes API.
const DEFAULT_SOURCE: &str = "emptyDir";
/// Longest name of a kind that is kept: longer ones are no field of Kubernetes.
const LONGEST: usize = 64;

/// The kind of the volume of that name in a pod, as the name of its source; of a claim, `persistentVolumeClaim/NAME`. Empty
/// where the volumes cannot be read. Nothing of the others is kept.
pub(super) fn spool_of(pod: &[u8], volume: &str) -> String {
    let mut json = serde_json::Deserializer::from_slice(pod);
    match In("spec", In("volumes", Named(volume))).deserialize(&mut json) {
        Ok(found) => found.flatten().flatten().unwrap_or_else(|| CONTAINER.to_owned()),
        Err(_) => String::new(),
    }
}

/// Reads one field of an object; `None`: there is none, or no object.
struct In<'a, S>(&'a str, S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for In<'_, S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for In<'_, S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let In(name, seed) = self;
        let (mut seed, mut found) = (Some(seed), None);
        while let Some(field) = fields.next_key::<String>()? {
            match seed.take() {
                Some(seed) if field == name => found = Some(fields.next_value_seed(seed)?),
                other => {
                    seed = other;
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// The kind of the volume of that name in a list.
struct Named<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Named<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of volumes")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut volumes: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(volume) = volumes.next_element::<Volume>()? {
            if found.is_none() && volume.name.as_deref() == Some(self.0) {
                found = Some(volume.kind.unwrap_or_else(|| DEFAULT_SOURCE.to_owned()));
            }
        }
        Ok(found)
    }
}

struct Volume {
    name: Option<String>,
    kind: Option<String>,
}

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Volume;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Volume, A::Error> {
                let mut volume = Volume { name: None, kind: None };
                while let Some(field) = fields.next_key::<String>()? {
                    match field.as_str() {
                        "name" => volume.name = fields.next_value()?,
                        "persistentVolumeClaim" => {
                            let claim = fields.next_value::<Claim>()?.claim_name;
                            if !is_object_name(&claim) {
                                return Err(A::Error::custom("a claim whose name is none"));
                            }
                            volume.kind = Some(format!("{field}/{claim}"));
                        }
                        // A source that is null is none.
                        _ => {
                            let is_there = fields.next_value::<Option<IgnoredAny>>()?.is_some();
                            if is_there && volume.kind.is_none() && field.len() <= LONGEST {
                                volume.kind = Some(field);
                            }
                        }
                    }
                }
                Ok(volume)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[derive(Deserialize)]
struct Claim {
    #[serde(rename = "claimName")]
    claim_name: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spool(volumes: Value) -> String {
        let pod = json!({
            "metadata": {"name": "recorder-0"},
            "spec": {"containers": [], "volumes": volumes},
            "status": {"phase": "Running"},
        });
        spool_of(pod.to_string().as_bytes(), "recordings")
    }

    #[test]
    fn the_kind_of_a_spool_is_the_source_of_its_volume() {
        let named = |source: Value| {
            let mut volume = source;
            volume["name"] = json!("recordings");
            json!([{"name": "other", "configMap": {"name": "a"}}, volume])
        };
        let claim = json!({"persistentVolumeClaim": {"claimName": "recordings-recorder-0"}});
        for (what, volumes, expected) in [
            ("emptyDir", named(json!({"emptyDir": {"medium": "Memory"}})), "emptyDir"),
            ("a claim", named(claim), "persistentVolumeClaim/recordings-recorder-0"),
            ("hostPath", named(json!({"hostPath": {"path": "/var/recordings"}})), "hostPath"),
            (
                "a generic ephemeral volume",
                named(json!({"ephemeral": {"volumeClaimTemplate": {}}})),
                "ephemeral",
            ),
            ("nfs", named(json!({"nfs": {"server": "s", "path": "/calls/+15551234"}})), "nfs"),
            ("no source", named(json!({})), "emptyDir"),
            ("a source that is null", named(json!({"emptyDir": null, "csi": {"driver": "d"}})), "csi"),
            ("no volume of that name", json!([{"name": "other", "emptyDir": {}}]), "container"),
            ("no volumes", json!(null), "container"),
            ("volumes that are no list", json!({"recordings": 1}), ""),
            ("a volume that is no object", json!(["recordings"]), ""),
            ("a claim without a name", named(json!({"persistentVolumeClaim": {}})), ""),
            (
                "a claim of a long name",
                named(json!({"persistentVolumeClaim": {"claimName": "a".repeat(254)}})),
                "",
            ),
            ("a source of a long name", named(json!({"a".repeat(65): {}})), "emptyDir"),
        ] {
            assert_eq!(spool(volumes), expected, "{what}");
        }
        assert_eq!(spool_of(b"{}", "recordings"), "container");
        assert_eq!(spool_of(b"{", "recordings"), "");
    }

    #[test]
    fn one_spool_is_found_among_45_000_volumes() {
        let mut volumes = vec![json!({"name": "v", "emptyDir": {}}); 45_000];
        volumes.push(json!({"name": "recordings", "persistentVolumeClaim": {"claimName": "c"}}));
        assert_eq!(spool(json!(volumes)), "persistentVolumeClaim/c");
    }
}
