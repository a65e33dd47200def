//! External IDs that could be guessed.

use crate::secret::ExternalID;

/// Why an External ID could be guessed, in words that follow "the External ID".
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Weakness {
    /// It is an example of a manual.
    #[strum(serialize = "is an example or a placeholder, which everybody knows")]
    Example,
    /// Too few possibilities.
    #[strum(serialize = "is too short to be hard to guess")]
    Short,
    /// Made of what is known of the tenant.
    #[strum(serialize = "is made of the tenant's own names, which others know")]
    Names,
    /// Made of words.
    #[strum(serialize = "looks like words, which can be guessed")]
    Words,
}

/// Examples in manuals: the operator's own, the RFC's and AWS's.
const EXAMPLES: [&str; 6] = [
    "5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19",
    "123e4567-e89b-12d3-a456-426614174000",
    "12345678-1234-1234-1234-123456789012",
    "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "00000000-0000-0000-0000-000000000000",
    "1234567890123456",
];

/// Parts of what is to be replaced.
const PLACEHOLDERS: [&str; 7] =
    ["example", "placeholder", "changeme", "change-me", "replaceme", "replace-me", "your-external-id"];

/// Bits that cannot be guessed through a slow, logged API. A GUID has 122.
const ENOUGH: f64 = 80.0;

/// Whether the External ID could be guessed by knowing `names`: the tenant's namespace, bucket, account.
pub fn weakness(id: &ExternalID, names: &[&str]) -> Option<Weakness> {
    let value = id.expose().to_ascii_lowercase();
    if EXAMPLES.contains(&value.as_str()) || PLACEHOLDERS.iter().any(|part| value.contains(part)) {
        return Some(Weakness::Example);
    }
    if bits(id.expose()) < ENOUGH {
        return Some(Weakness::Short);
    }
    let mut longest_first: Vec<_> = names.iter().filter(|name| name.len() > 2).collect();
    longest_first.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let rest =
        longest_first.iter().fold(value.clone(), |rest, name| rest.replace(&name.to_ascii_lowercase(), ""));
    if rest != value && bits(&rest) < ENOUGH {
        return Some(Weakness::Names);
    }
    let words = value.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    (!words.is_empty() && !words.contains(|c: char| c.is_ascii_digit())).then_some(Weakness::Words)
}

/// An upper bound of the entropy, in bits. Few different characters cannot have been drawn at random.
fn bits(value: &str) -> f64 {
    let has = |kind: fn(&u8) -> bool| value.bytes().any(|b| kind(&b));
    let of = |size: f64, kind| if has(kind) { size } else { 0.0 };
    let pool =
        of(10.0, u8::is_ascii_digit) + of(26.0, u8::is_ascii_lowercase) + of(26.0, u8::is_ascii_uppercase);
    let is_hex = value.bytes().all(|b| b.is_ascii_hexdigit() || !b.is_ascii_alphanumeric());
    let pool = if is_hex { pool.min(16.0) } else { pool };
    let mut different: Vec<u8> = value.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let drawn = different.len() as f64;
    different.sort_unstable();
    different.dedup();
    drawn * pool.min(2.0 * different.len() as f64).max(1.0).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_guessed_is_told_from_what_is_random() {
        let names = ["acme", "tenant-acme", "acme-recordings", "111111111111", "c7"];
        for (value, expected) in [
            ("c7f1e0b2-8f0a-4a52-9c1e-1f2d3c4b5a69", None),
            ("C7F1E0B2-8F0A-4A52-9C1E-1F2D3C4B5A69", None),
            ("kR7vQ2mX9pL4tW8z", None),
            ("acme-c7f1e0b28f0a4a529c1e1f2d3c4b5a69", None),
            ("83920174650192837465019283", None),
            // Just enough: of sixteen different characters, in one case, after a name, as of three in 32 places.
            ("kr7vq2mx9pl4tw8z", None),
            ("aAbBcCdDeE1fFgGh", None),
            ("acme-kR7vQ2mX9pL4tW8z", None),
            ("x1yx1yx1yx1yx1yx1yx1yx1yx1yx1yx1", None),
            // Names of two characters stand in anything.
            ("c7c7c7c7c7c7c7c7c7c7c7c7d3e9", None),
            ("5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19", Some(Weakness::Example)),
            ("5F0C2F7E-9A41-4A55-8A0E-3F1F6A2D7C19", Some(Weakness::Example)),
            ("my-example-1f2d3c4b5a69", Some(Weakness::Example)),
            ("acme", Some(Weakness::Short)),
            ("12345", Some(Weakness::Short)),
            ("1f2d3c4b5a69", Some(Weakness::Short)),
            // Digits of a GUID have sixteen values.
            ("c7f1e0b2-8f0a4a529d", Some(Weakness::Short)),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Some(Weakness::Short)),
            ("tenant-acme-111111111111-acme-recordings", Some(Weakness::Names)),
            ("revenue-recordings-production-2024", Some(Weakness::Words)),
        ] {
            assert_eq!(weakness(&ExternalID::parse(value).unwrap(), &names), expected, "{value}");
        }
    }
}
