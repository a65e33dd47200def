//! How much memory a review takes, reckoned from its text before any of it is decoded.
//!
//! A pod is held several times: as JSON, as a type, as JSON with the sidecar, and in the patch between the two. Lists of
//! small entries take a thousand times the bytes of their text, a long text only a few times.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Bytes of any value, e.g. one that the patch repeats with its path.
const VALUE: usize = 512;
/// Bytes of an object more than that: a map has room for eleven fields even when it holds one.
const OBJECT: usize = 2 * 1024;
/// Bytes of an object in a list more than that: as a type a volume takes 3 KiB, and a list that grows has room for twice
/// its entries beside a copy of them.
const LISTED: usize = 10 * 1024;
/// Copies of a text.
const TEXTS: usize = 6;

/// Bytes that a review takes while it is decoded and its pod injected. Text that is not JSON is reckoned up to its fault.
pub(super) fn weigh(review: &[u8]) -> usize {
    let mut weight = TEXTS * review.len();
    let scale = Scale { weight: &mut weight, is_listed: false };
    // Decoding fails at the same place, and says why.
    let _ = scale.deserialize(&mut serde_json::Deserializer::from_slice(review));
    weight
}

struct Scale<'a> {
    weight: &'a mut usize,
    is_listed: bool,
}

impl<'de> DeserializeSeed<'de> for Scale<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.weight += VALUE;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scale<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_element_seed(Scale { weight: self.weight, is_listed: true })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        *self.weight += if self.is_listed { OBJECT + LISTED } else { OBJECT };
        while entries.next_key::<serde::de::IgnoredAny>()?.is_some() {
            entries.next_value_seed(Scale { weight: self.weight, is_listed: false })?;
        }
        Ok(())
    }
}
