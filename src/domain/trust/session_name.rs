//! Session names: what the customer reads in CloudTrail.

/// Longest session name that AWS accepts.
const LONGEST: usize = 64;

/// A session name of namespace and destination. Longer names are cut and end in a hash of the whole, so that no two
/// destinations share one.
///
/// Kubernetes names are subsets of AWS's `[A-Za-z0-9_+=,.@-]`, and hold no `@`.
pub fn session_name(namespace: &str, name: &str) -> String {
    let whole = format!("{namespace}@{name}");
    if whole.len() <= LONGEST {
        return whole;
    }
    let hash = format!("{:016x}", fnv1a(whole.as_bytes()));
    let room = LONGEST - hash.len() - 1;
    format!("{}={hash}", &whole[..room])
}

/// FNV-1a, 64 bits: the name must be stable from release to release, which `std`'s hasher is not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_kept_whole() {
        assert_eq!(session_name("tenant-acme", "acme"), "tenant-acme@acme");
    }

    #[test]
    fn long_names_fit_and_stay_distinct() {
        let (namespace, name) = ("n".repeat(63), "d".repeat(253));
        let cut = session_name(&namespace, &name);
        assert_eq!(cut.len(), 64);
        assert_ne!(cut, session_name(&namespace, &format!("{}e", &name[1..])));
        assert!(cut.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b)));
    }
}
