//! The service accounts whose pods may use a destination. A list has up to 16 KiB, and the broker keeps thousands of them.

use sha2::{Digest as _, Sha256};

/// Bytes above which the names of a list are kept as digests.
const LONG: usize = 1024;
/// Before digests. No name of a service account begins with it.
const MARK: char = '#';
/// Bytes of one digest in hexadecimal: 96 bits, as whoever may create service accounts chooses the names.
const DIGEST: usize = 24;

/// A list as [`is_allowed`] accepts it, of at most 1.5 KiB.
pub fn compact_accounts(mut names: Vec<String>) -> Vec<String> {
    if names.iter().map(String::len).sum::<usize>() <= LONG {
        names.shrink_to_fit();
        return names;
    }
    let mut digests = String::with_capacity(1 + DIGEST * names.len());
    digests.push(MARK);
    digests.extend(names.iter().map(|name| digest(name)));
    vec![digests]
}

/// Whether the list has the name, or allows all by being empty.
pub(super) fn is_allowed(list: &[String], name: &str) -> bool {
    match list {
        [] => true,
        [one] if one.starts_with(MARK) => {
            let wanted = digest(name);
            one.as_bytes()[1..].chunks(DIGEST).any(|digest| digest == wanted.as_bytes())
        }
        names => names.iter().any(|allowed| allowed == name),
    }
}

fn digest(name: &str) -> String {
    Sha256::digest(name.as_bytes())[..DIGEST / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_any_length_allows_the_same_accounts_in_little_memory() {
        let names = |count: usize, length: usize| -> Vec<String> {
            (0..count).map(|number| format!("{number:0length$}")).collect()
        };
        for list in [names(1, 8), names(64, 8), names(64, 253), names(5, 253)] {
            let kept = compact_accounts(list.clone());
            let bytes: usize = kept.iter().map(String::len).sum();
            assert!(bytes <= 1 + 64 * DIGEST, "{bytes}");
            assert!(list.iter().all(|name| is_allowed(&kept, name)), "{kept:?}");
            for other in ["archiver", "", "#", &digest("archiver"), &kept[0]] {
                assert_eq!(is_allowed(&kept, other), list.iter().any(|name| name == other), "{other}");
            }
        }
        assert!(is_allowed(&compact_accounts(Vec::new()), "anyone"), "an empty list allows all");
    }
}
