//! The wrong callers that a role must refuse.
//!
//! Each near miss differs from the right External ID in one respect, so that one of them finds a trust policy with a
//! wildcard, an `IgnoreCase` or an `IfExists`.

use crate::api::WrongCaller;
use crate::secret::ExternalID;

/// Whether a wrong caller reveals nothing of the right External ID, so that other roles may be tried with it.
pub fn is_unlike_the_right_one(caller: WrongCaller) -> bool {
    matches!(caller, WrongCaller::AssumeRoleWithoutExternalID | WrongCaller::AssumeRoleWithRandomExternalID)
}

/// One wrong caller to try.
#[derive(Clone, Debug)]
pub struct NegativeProbe {
    pub caller: WrongCaller,
    /// What it sends; `None` for no External ID. The outer `None` means that this External ID has
    /// no such near miss (no letters to flip).
    pub external_id: Option<Option<ExternalID>>,
}

/// Longest External ID. A longer one would be refused for its length, which proves nothing.
const LONGEST: usize = 1224;

/// The wrong callers for one window. `random` decides the random External ID and the position of
/// the replaced character; a caller passes another value in each window.
pub fn negative_probes(right: &ExternalID, random: u64) -> Vec<NegativeProbe> {
    let right = right.expose().as_bytes();
    let mut random = Random(random);
    let probe = |caller, value: Option<Vec<u8>>| NegativeProbe {
        caller,
        external_id: value.map(|bytes| Some(external_id(bytes))),
    };
    let sibling = |at: usize| sibling(right[at]);

    let mut appended = right.to_vec();
    let mut prepended = right.to_vec();
    if right.len() < LONGEST {
        appended.push(b'x');
        prepended.insert(0, b'x');
    } else {
        let last = right.len() - 1;
        appended[last] = sibling(last);
        prepended[0] = sibling(0);
    }

    let flipped: Vec<u8> = right.iter().map(|&b| flip_case(b)).collect();

    let last = right.len() - 1;
    let replaced = |at: usize| {
        let mut replaced = right.to_vec();
        replaced[at] = sibling(at);
        replaced
    };
    let random_like = random_like(right, &mut random);
    let position = (random.next() % last as u64) as usize;

    vec![
        NegativeProbe { caller: WrongCaller::AssumeRoleWithoutExternalID, external_id: Some(None) },
        probe(WrongCaller::AssumeRoleWithRandomExternalID, Some(random_like)),
        probe(WrongCaller::AssumeRoleWithExternalIDAppended, Some(appended)),
        probe(WrongCaller::AssumeRoleWithExternalIDPrepended, Some(prepended)),
        probe(WrongCaller::AssumeRoleWithExternalIDCaseFlipped, (flipped != right).then_some(flipped)),
        probe(WrongCaller::AssumeRoleWithLastCharacterReplaced, Some(replaced(last))),
        probe(WrongCaller::AssumeRoleWithCharacterReplaced, Some(replaced(position))),
    ]
}

fn external_id(bytes: Vec<u8>) -> ExternalID {
    let text = String::from_utf8(bytes).expect("External IDs are ASCII");
    ExternalID::parse(&text).expect("near misses keep to AWS's rules")
}

/// Another character of the same class.
fn sibling(byte: u8) -> u8 {
    match byte {
        b'z' => b'a',
        b'Z' => b'A',
        b'9' => b'0',
        b'a'..=b'y' | b'A'..=b'Y' | b'0'..=b'8' => byte + 1,
        b'-' => b'_',
        _ => b'-',
    }
}

fn flip_case(byte: u8) -> u8 {
    if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
}

/// Same length and character classes, with random letters and digits; never the right value.
fn random_like(right: &[u8], random: &mut Random) -> Vec<u8> {
    let mut drawn: Vec<u8> = right
        .iter()
        .map(|&b| match b {
            b'a'..=b'z' => b'a' + random.below(26),
            b'A'..=b'Z' => b'A' + random.below(26),
            b'0'..=b'9' => b'0' + random.below(10),
            other => other,
        })
        .collect();
    if drawn == right {
        drawn[0] = sibling(drawn[0]);
    }
    drawn
}

/// SplitMix64 (Steele, Lea and Flood 2014): wrong External IDs must vary, they need not be secret.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u8) -> u8 {
        (self.next() % u64::from(bound)) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(right: &str, random: u64) -> Vec<(WrongCaller, Option<String>)> {
        negative_probes(&ExternalID::parse(right).unwrap(), random)
            .into_iter()
            .filter_map(|probe| {
                probe.external_id.map(|sent| (probe.caller, sent.map(|id| id.expose().to_owned())))
            })
            .collect()
    }

    #[test]
    fn every_wrong_caller_differs_from_the_right_one() {
        let longest = "y".repeat(1224);
        for right in ["ab", "00", "a1B2-c3D4", "zzZ9", "____", &longest] {
            for random in 0..200 {
                for (caller, sent) in values(right, random) {
                    assert_ne!(sent.as_deref(), Some(right), "{caller} of {right}");
                }
            }
        }
    }

    #[test]
    fn near_misses_differ_in_one_respect() {
        let sent = values("Acme-7", 1);
        let of = |caller| sent.iter().find(|(c, _)| *c == caller).unwrap().1.clone();
        assert_eq!(of(WrongCaller::AssumeRoleWithoutExternalID), None);
        assert_eq!(of(WrongCaller::AssumeRoleWithExternalIDAppended).unwrap(), "Acme-7x");
        assert_eq!(of(WrongCaller::AssumeRoleWithExternalIDPrepended).unwrap(), "xAcme-7");
        assert_eq!(of(WrongCaller::AssumeRoleWithExternalIDCaseFlipped).unwrap(), "aCME-7");
        let random = of(WrongCaller::AssumeRoleWithRandomExternalID).unwrap();
        assert_eq!(random.len(), 6);
        assert_eq!(&random[4..5], "-");
        assert_eq!(of(WrongCaller::AssumeRoleWithLastCharacterReplaced).unwrap(), "Acme-8");
        let replaced = of(WrongCaller::AssumeRoleWithCharacterReplaced).unwrap();
        assert_eq!(replaced.bytes().zip("Acme-7".bytes()).filter(|(a, b)| a != b).count(), 1);
        assert!(replaced.ends_with('7'));
    }

    #[test]
    fn a_replaced_character_is_another_of_its_class() {
        for (last, replaced) in
            [('a', 'b'), ('y', 'z'), ('z', 'a'), ('Z', 'A'), ('8', '9'), ('9', '0'), ('-', '_'), ('/', '-')]
        {
            let sent = values(&format!("x{last}"), 1);
            let of = |(c, _): &&_| *c == WrongCaller::AssumeRoleWithLastCharacterReplaced;
            assert_eq!(sent.iter().find(of).unwrap().1, Some(format!("x{replaced}")));
        }
    }

    /// The generator's published values: https://prng.di.unimi.it/splitmix64.c, started at 0.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = Random(0);
        let drawn = [random.next(), random.next(), random.next()];
        assert_eq!(drawn, [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]);
        let below: Vec<u8> = (0..6).map(|_| Random(0).below(26)).chain([Random(7).below(26)]).collect();
        assert!(below.iter().all(|&drawn| drawn < 26) && below[6] != below[0], "{below:?}");
    }

    #[test]
    fn in_time_every_character_is_replaced() {
        let mut seen = [false; 6];
        for random in 0..200 {
            for (_, sent) in values("abcdef", random).split_off(5) {
                let at = sent.unwrap().bytes().zip("abcdef".bytes()).position(|(a, b)| a != b).unwrap();
                seen[at] = true;
            }
        }
        assert_eq!(seen, [true; 6]);
    }

    #[test]
    fn the_platforms_own_control_role_is_shown_nothing_of_an_external_id() {
        let right = "c7f1e0b2-8f0a-4a52";
        let shown = values(right, 3).into_iter().filter(|(caller, _)| is_unlike_the_right_one(*caller));
        let shown: Vec<_> = shown.filter_map(|(_, sent)| sent).collect();
        assert_eq!(shown.len(), 1, "and none");
        let same = shown[0].bytes().zip(right.bytes()).filter(|(a, b)| a == b && *a != b'-').count();
        assert!(same < right.len() / 2, "{same} characters are as they were");
    }

    #[test]
    fn without_letters_there_is_no_case_to_flip() {
        assert!(
            !values("1234", 7).iter().any(|(c, _)| *c == WrongCaller::AssumeRoleWithExternalIDCaseFlipped)
        );
        assert_eq!(values("1234", 7).len(), 6);
    }

    #[test]
    fn at_the_longest_nothing_is_lengthened() {
        assert!(
            values(&"k".repeat(1224), 3)
                .iter()
                .all(|(_, sent)| sent.as_ref().is_none_or(|s| s.len() == 1224))
        );
    }
}
