//! Destinations as few bytes.
//!
//! A destination has some 6 KiB as JSON, and nearly all of it is what every other one has as well: names of fields and the
//! sentences of its conditions and checks. Compressed against another destination, only what is its own takes room.

use std::sync::Arc;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};

use crate::api::{ConditionType, RecordingDestination};

/// A destination as few bytes.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    dictionary: Option<Arc<Vec<u8>>>,
    bytes: Arc<[u8]>,
}

/// Packs destinations.
#[derive(Debug, Default)]
pub(super) struct Packer {
    /// The first destination that was Ready. Its status is the controller's own text, so that no tenant decides how small the
    /// others become.
    dictionary: Option<Arc<Vec<u8>>>,
}

impl Packer {
    pub(super) fn pack(&mut self, destination: &RecordingDestination) -> Packed {
        let text = serde_json::to_vec(destination).expect("texts and numbers serialize");
        let is_ready =
            destination.condition(ConditionType::Ready).is_some_and(|ready| ready.status == "True");
        if self.dictionary.is_none() && is_ready {
            self.dictionary = Some(Arc::new(text.clone()));
        }
        let dictionary = self.dictionary.clone();
        let bytes = compress_prepend_size_with_dict(&text, words(dictionary.as_ref()));
        Packed { dictionary, bytes: bytes.into() }
    }
}

impl Packed {
    /// The destination that was packed.
    pub(super) fn unpack(&self) -> RecordingDestination {
        let text = decompress_size_prepended_with_dict(&self.bytes, words(self.dictionary.as_ref()));
        let text = text.expect("these bytes are of our own making");
        serde_json::from_slice(&text).expect("this text was a destination")
    }
}

fn words(dictionary: Option<&Arc<Vec<u8>>>) -> &[u8] {
    dictionary.map_or(&[], |dictionary| dictionary)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn destination(name: &str, message: &str) -> RecordingDestination {
        let condition = |kind: ConditionType| {
            json!({
                "type": kind.to_string(), "status": "True", "reason": "Validated", "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
            })
        };
        serde_json::from_value(json!({
            "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
            "metadata": {
                "namespace": "tenant-acme", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "7",
                "deletionTimestamp": "9999-01-01T00:00:00Z", "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"recordings.revenue.io/revalidate": "\u{0}\"\u{1F4DE}"},
            },
            "spec": {
                "bucket": format!("{name}-recordings"), "region": "us-east-1", "prefix": "",
                "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "acme"},
            },
            "status": {
                "observedGeneration": 1, "establishedTime": "2026-01-01T00:00:00Z",
                "conditions": [condition(ConditionType::Ready), condition(ConditionType::Exclusive)],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_destination_comes_out_as_it_went_in() {
        let bare = RecordingDestination { status: None, ..destination("bare", "") };
        let mut packer = Packer::default();
        // The first is packed without another to compare it with, the third against the second.
        let all =
            [bare, destination("first", "It is proved."), destination("second", &"\u{e9}\n".repeat(40_000))];
        for destination in all {
            assert!(packer.pack(&destination).unpack() == destination, "{:?}", destination.metadata.name);
        }
    }

    #[test]
    fn what_another_destination_says_as_well_takes_no_room() {
        let sentence: String = (0..300).map(|number| format!("Sentence {number}. ")).collect();
        let mut packer = Packer::default();
        packer.pack(&destination("first", &sentence));
        let second = packer.pack(&destination("second", &sentence));
        assert!(second.bytes.len() < 300, "{}", second.bytes.len());
        let other = packer.pack(&destination("second", &sentence.replace("Sentence", "Another")));
        assert!(other.bytes.len() > 1000, "{}", other.bytes.len());
    }
}
