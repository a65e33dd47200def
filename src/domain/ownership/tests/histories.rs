//! The index beside a scan of all claims, in random histories, and what a decision costs among many claims.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::secret::Fingerprint;

/// The oracle: a scan of all claims.
fn scan(mine: &Claim, all: &[Claim], binding_of: &impl Fn(&str) -> Binding) -> Option<Reason> {
    let refused = |claim: &Claim| claim.objection(&binding_of(&claim.namespace), RULE).is_some();
    if refused(mine) {
        return Some(Reason::AccountNotAllowed);
    }
    let rank = |claim: &Claim| {
        let unbound = binding_of(&claim.namespace) == Binding::Absent;
        (unbound, claim.proved.is_none(), claim.proved, claim.created, claim.uid.clone())
    };
    let earlier = |other: &&Claim| mine.is_contested_by(other) && !refused(other) && rank(other) < rank(mine);
    all.iter().find(earlier).map(|_| Reason::DestinationConflict)
}

/// A claim of few accounts, namespaces, buckets and External IDs, so that many are contested.
fn any_claim(random: &mut StdRng, ids: &[Fingerprint]) -> Claim {
    let mut one_of = |several: &[&str]| several[random.random_range(0..several.len())].to_owned();
    let role_arn = format!(
        "arn:aws:iam::{}:role/{}",
        one_of(&["111111111111", "222222222222"]),
        one_of(&["writer", "other"])
    );
    let namespace = one_of(&["tenant-a", "tenant-b", "tenant-c"]);
    let bucket_owner = one_of(&["111111111111", "111111111111", "333333333333"]);
    let bucket = one_of(&["acme", "globex"]);
    let prefix = one_of(&["", "calls/", "calls/eu/", "calls2/", "calls/eu/x/", "other/"]);
    let uid = format!("uid-{}", random.random_range(0..12));
    Claim {
        name: uid.clone(),
        uid: uid.into(),
        namespace,
        created: random.random_bool(0.9).then(|| at(random.random_range(0..3))),
        proved: random.random_bool(0.8).then(|| at(random.random_range(0..5))),
        role_arn,
        bucket_owner,
        bucket,
        prefix,
        writable: random.random_bool(0.7),
        external_id: random.random_bool(0.8).then(|| ids[random.random_range(0..ids.len())]),
    }
}

#[test]
fn the_index_decides_as_a_scan_of_all_claims_does() {
    let fingerprints = Fingerprints::default();
    let ids = ["one", "two", "three"].map(|id| fingerprints.of(&ExternalID::parse(id).unwrap()));
    let annotations = [None, None, Some("111111111111"), Some("111111111111,222222222222,333333333333")];
    let mut seen = HashMap::<_, usize>::new();
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut index = ClaimIndex::new(RULE);
        let mut claims = HashMap::new();
        let mut bindings = HashMap::new();
        for step in 0..60 {
            match random.random_range(0..10) {
                0 => {
                    let uid = any_claim(&mut random, &ids).uid;
                    index.remove(&uid);
                    claims.remove(&uid);
                }
                1 => {
                    let namespace = any_claim(&mut random, &ids).namespace;
                    let binding = Binding::read(annotations[random.random_range(0..annotations.len())]);
                    index.bind(&namespace, binding.clone());
                    bindings.insert(namespace, binding);
                }
                _ => {
                    let claim = any_claim(&mut random, &ids);
                    index.put(claim.clone());
                    claims.insert(claim.uid.clone(), claim);
                }
            }
            let binding_of = |namespace: &str| bindings.get(namespace).cloned().unwrap_or_default();
            let all: Vec<_> = claims.values().cloned().collect();
            let asked = all.iter().cloned().chain([any_claim(&mut random, &ids)]);
            for mine in asked {
                let found = index.standing(&mine, |_| true).err().map(|objection| objection.reason);
                let expected = scan(&mine, &all, &binding_of);
                assert_eq!(found, expected, "seed {seed}, step {step}: {mine:?}\namong {all:?}");
                *seen.entry(expected).or_default() += 1;

                let date = index.proof_date(at(2), &mine);
                let counts = |other: &&Claim| {
                    let binding = binding_of(&other.namespace);
                    mine.is_contested_by(other) && other.objection(&binding, RULE).is_none()
                };
                let last = all.iter().filter(counts).map(|other| other.proved).max();
                assert!(Some(date) > last.flatten(), "seed {seed}, step {step}: {date} of {mine:?}");
                assert!(
                    last.is_some() || date == at(2),
                    "seed {seed}, step {step}: nobody contests {mine:?}"
                );
            }
        }
    }
    assert!(seen.len() == 3 && seen.values().all(|count| *count > 1000), "all kinds were met: {seen:?}");
}

/// Many claims, the last of which is proved last.
fn crowd(size: usize, change: fn(&mut Claim, usize)) -> Vec<Claim> {
    let fingerprints = Fingerprints::default();
    let claims = (0..size).map(|number| {
        let mut claim = Claim {
            uid: format!("uid-{number}").into(),
            namespace: format!("tenant-{}", number / 10),
            name: format!("destination-{number}"),
            created: Some(at(0)),
            proved: Some(at(i64::try_from(number).unwrap())),
            role_arn: format!("arn:aws:iam::{number:012}:role/writer"),
            bucket_owner: format!("{number:012}"),
            bucket: format!("bucket-{number}"),
            prefix: "calls/".into(),
            writable: true,
            external_id: Some(fingerprints.of(&ExternalID::parse(&format!("id-{number}")).unwrap())),
        };
        change(&mut claim, number);
        claim
    });
    claims.collect()
}

#[test]
fn a_decision_costs_as_much_among_ten_thousand_claims_as_among_a_thousand() {
    const ROLE: &str = "arn:aws:iam::111111111111:role/writer";
    fn one_id(claim: &mut Claim) {
        // All crowds have the same External ID in them, under another key.
        static ID: std::sync::LazyLock<Fingerprint> =
            std::sync::LazyLock::new(|| Fingerprints::default().of(&ExternalID::parse("the-same").unwrap()));
        claim.external_id = Some(*ID);
    }
    type Crowd = (&'static str, fn(&mut Claim, usize));
    let crowds: [Crowd; 7] = [
        ("nothing in common", |_, _| ()),
        ("one bucket and prefix", |claim, _| claim.bucket = "acme".into()),
        ("one bucket, a prefix each", |claim, number| {
            (claim.bucket, claim.prefix) = ("acme".into(), format!("calls/{number}/"));
        }),
        ("one role and External ID", |claim, _| {
            claim.role_arn = ROLE.into();
            one_id(claim);
        }),
        ("one role and External ID in one namespace", |claim, _| {
            (claim.role_arn, claim.namespace) = (ROLE.into(), "tenant-0".into());
            one_id(claim);
        }),
        ("one External ID in as many accounts", |claim, _| one_id(claim)),
        ("one External ID in one account", |claim, number| {
            claim.role_arn = format!("{ROLE}-{number}");
            one_id(claim);
        }),
    ];
    for (what, change) in crowds {
        let steps = [1_000, 10_000].map(|size| {
            let mut claims = crowd(size + 1, change);
            let newcomer = claims.pop().unwrap();
            let mut index = index(&claims, &unbound, RULE);
            STEPS.set(0);
            for mine in [&claims[0], &claims[size / 2], &claims[size - 1]] {
                _ = index.standing(mine, |_| true);
                index.put(mine.clone());
            }
            let unproved = Claim { proved: None, ..newcomer.clone() };
            _ = index.standing(&unproved, |_| true);
            _ = index.proof_date(at(0), &unproved);
            index.put(newcomer.clone());
            _ = index.standing(&newcomer, |_| true);
            index.remove(&newcomer.uid);
            index.remove(&claims[0].uid);
            STEPS.get()
        });
        // Trees of ten times as many claims are one level higher.
        let [few, many] = steps;
        assert!(few > 0 && many < 2 * few, "{what}: {few} steps, and {many} among ten times as many");
    }
}
