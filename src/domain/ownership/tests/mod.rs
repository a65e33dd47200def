//! Which claim comes first, as tables. Each row differs from a world without conflict in what it names.

mod histories;
mod wake_ups;

use std::cell::Cell;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::*;
use crate::api::{Objection, Reason, RecordingDestination, RecordingDestinationStatus};
use crate::secret::{ExternalID, Fingerprints};

const RULE: AccountBinding = AccountBinding::WhenPresent;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Called for each comparison of two entries of the index.
pub(super) fn count_step() {
    STEPS.set(STEPS.get() + 1);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Two claims that have nothing in common; `theirs` was proved first.
fn apart() -> (Claim, Claim) {
    let fingerprints = Fingerprints::default();
    let claim = |name: &str, account: char, proved| Claim {
        uid: format!("uid-{name}").into(),
        namespace: format!("tenant-{name}"),
        name: name.into(),
        created: Some(at(0)),
        proved: Some(at(proved)),
        role_arn: format!("arn:aws:iam::{}:role/writer", account.to_string().repeat(12)),
        bucket_owner: account.to_string().repeat(12),
        bucket: format!("{name}-recordings"),
        prefix: "calls/".into(),
        writable: true,
        external_id: Some(fingerprints.of(&ExternalID::parse(&format!("{name}-id")).unwrap())),
    };
    (claim("mine", '1', 20), claim("theirs", '2', 10))
}

fn unbound(_: &str) -> Binding {
    Binding::Absent
}

/// An index of those claims.
fn index<'a>(
    claims: impl IntoIterator<Item = &'a Claim>,
    binding_of: &impl Fn(&str) -> Binding,
    rule: AccountBinding,
) -> ClaimIndex {
    let mut index = ClaimIndex::new(rule);
    for claim in claims {
        index.bind(&claim.namespace, binding_of(&claim.namespace));
        index.put(claim.clone());
    }
    index
}

fn standing(
    mine: &Claim,
    others: &[&Claim],
    binding_of: &impl Fn(&str) -> Binding,
    rule: AccountBinding,
) -> Result<(), Objection> {
    let mut index = index(others.iter().copied(), binding_of, rule);
    index.bind(&mine.namespace, binding_of(&mine.namespace));
    index.standing(mine, |_| true)
}

fn reason(mine: &Claim, theirs: &Claim, binding_of: &impl Fn(&str) -> Binding) -> Option<Reason> {
    standing(mine, &[theirs], binding_of, RULE).err().map(|objection| objection.reason)
}

#[test]
fn a_later_claim_conflicts_when_it_needs_what_an_earlier_one_has() {
    type Change = fn(&mut Claim, &Claim);
    let rows: &[(&str, Change, bool)] = &[
        ("nothing in common", |_, _| (), false),
        ("the same External ID in another account", |m, t| m.external_id = t.external_id, true),
        (
            "the same External ID in the same account, another role",
            |m, t| {
                m.external_id = t.external_id;
                m.role_arn = t.role_arn.replace("writer", "other");
            },
            false,
        ),
        (
            "the same role and External ID from another namespace",
            |m, t| (m.external_id, m.role_arn) = (t.external_id, t.role_arn.clone()),
            true,
        ),
        (
            "the same role and External ID from the same namespace",
            |m, t| {
                (m.external_id, m.role_arn) = (t.external_id, t.role_arn.clone());
                m.namespace = t.namespace.clone();
            },
            false,
        ),
        (
            "two External IDs of which neither is known",
            |m, t| (m.external_id, m.role_arn) = (None, t.role_arn.clone()),
            false,
        ),
        ("the same bucket and prefix", |m, t| m.bucket = t.bucket.clone(), true),
        (
            "the same bucket, a prefix within theirs",
            |m, t| (m.bucket, m.prefix) = (t.bucket.clone(), "calls/eu/".into()),
            true,
        ),
        (
            "the same bucket, a prefix around theirs",
            |m, t| (m.bucket, m.prefix) = (t.bucket.clone(), String::new()),
            true,
        ),
        (
            "the same bucket, a prefix beside theirs",
            |m, t| (m.bucket, m.prefix) = (t.bucket.clone(), "calls2/".into()),
            false,
        ),
        (
            "the same bucket and prefix, in one namespace",
            |m, t| (m.bucket, m.namespace) = (t.bucket.clone(), t.namespace.clone()),
            true,
        ),
        (
            "the same bucket, which does not take ours",
            |m, t| (m.bucket, m.writable) = (t.bucket.clone(), false),
            false,
        ),
    ];
    for (what, change, conflicts) in rows {
        let (mut mine, theirs) = apart();
        change(&mut mine, &theirs);
        let expected = conflicts.then_some(Reason::DestinationConflict);
        assert_eq!(reason(&mine, &theirs, &unbound), expected, "{what}");
        assert_eq!(reason(&theirs, &mine, &unbound), None, "the earlier one keeps it: {what}");
    }
}

#[test]
fn a_squatter_whose_writes_the_bucket_refuses_keeps_nobody_out() {
    let (mut owner, mut squatter) = apart();
    squatter.bucket = owner.bucket.clone();
    squatter.writable = false;
    assert_eq!(reason(&owner, &squatter, &unbound), None);
    squatter.writable = true;
    assert_eq!(
        reason(&owner, &squatter, &unbound),
        Some(Reason::DestinationConflict),
        "who may write has a claim"
    );
    owner.writable = false;
    assert_eq!(reason(&owner, &squatter, &unbound), None, "who may not write sees only that");
}

#[test]
fn a_bucket_is_claimed_by_a_status_that_says_it_takes_objects() {
    let destination: RecordingDestination = serde_json::from_value(serde_json::json!({
        "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination", "metadata": {},
        "spec": {
            "bucket": "acme-recordings",
            "region": "us-east-1",
            "roleARN": "arn:aws:iam::111111111111:role/writer",
            "externalIDSecretRef": {"name": "acme-external-id"},
        },
    }))
    .unwrap();
    for (what, conditions, writable) in [
        ("nothing known", vec![], false),
        ("it takes objects", vec![("BucketWritable", "True")], true),
        ("it does not", vec![("RoleAssumable", "True"), ("BucketWritable", "False")], false),
    ] {
        let conditions = conditions.into_iter().map(|(kind, status)| Condition {
            type_: kind.into(),
            status: status.into(),
            reason: "Validated".into(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(at(0)),
        });
        let status = RecordingDestinationStatus { conditions: conditions.collect(), ..Default::default() };
        assert_eq!(Claim::of(&destination, &status, None).writable, writable, "{what}");
        let as_left = Claim::as_left(&destination, &status, None).writable;
        assert_eq!(as_left, what != "it does not", "{what}, of an earlier process");
    }
}

/// What the claim was before, what it is by its status alone, and whether the bucket is claimed.
#[test]
fn a_bucket_that_once_took_objects_stays_claimed_by_the_same_proof() {
    let (mine, _) = apart();
    let claim = |proved, writable| Claim { proved, writable, ..mine.clone() };
    let (then, later) = (Some(at(20)), Some(at(30)));
    for (what, before, now, writable) in [
        ("it takes objects", None, claim(then, true), true),
        ("nothing known before", None, claim(then, false), false),
        ("a fault that passes", Some(claim(then, true)), claim(then, false), true),
        ("it never took any", Some(claim(then, false)), claim(then, false), false),
        ("another proof, as of another bucket", Some(claim(then, true)), claim(later, false), false),
        ("no proof any more", Some(claim(then, true)), claim(None, false), false),
        ("never a proof", Some(claim(None, true)), claim(None, false), false),
    ] {
        assert_eq!(now.following(before.as_ref()).writable, writable, "{what}");
    }
}

#[test]
fn a_claim_is_never_refused_for_what_its_own_destination_claimed_before() {
    let (mine, theirs) = apart();
    type Change = fn(&mut Claim);
    let edits: [(&str, Change); 3] = [
        ("nothing", |_| ()),
        ("a prefix around its own", |claim| claim.prefix = String::new()),
        ("a role in another account", |claim| claim.role_arn = "arn:aws:iam::333333333333:role/w".into()),
    ];
    for (what, edit) in edits {
        let mut edited = Claim { proved: None, ..mine.clone() };
        edit(&mut edited);
        assert_eq!(standing(&edited, &[&mine, &theirs], &unbound, RULE), Ok(()), "{what}");
    }
}

#[test]
fn a_claim_that_was_not_proved_is_none() {
    let (mut mine, mut theirs) = apart();
    mine.bucket = theirs.bucket.clone();
    theirs.proved = None;
    assert_eq!(reason(&mine, &theirs, &unbound), None);
    (mine.proved, theirs.proved) = (None, Some(at(99)));
    assert_eq!(
        reason(&mine, &theirs, &unbound),
        Some(Reason::DestinationConflict),
        "one proved now is the later"
    );
}

/// Bound beats unbound, then earlier proof, then creation, then UID.
#[test]
fn the_order_of_claims() {
    type Change = fn(&mut Claim, &mut Claim);
    let rows: &[(&str, Change, bool, bool, bool)] = &[
        ("theirs was proved earlier", |_, _| (), false, false, true),
        ("mine is bound, theirs is not", |_, _| (), true, false, false),
        (
            "theirs is bound, mine is not, though proved earlier",
            |m, _| m.proved = Some(at(1)),
            false,
            true,
            true,
        ),
        ("both bound: the earlier proof", |_, _| (), true, true, true),
        (
            "proved in the same second: the older",
            |m, t| (m.proved, m.created) = (t.proved, Some(at(-1))),
            false,
            false,
            false,
        ),
        ("as old: the lesser UID", |m, t| m.proved = t.proved, false, false, false),
        (
            "as old, and theirs is the lesser UID",
            |m, t| (m.proved, t.uid) = (t.proved, "a".into()),
            false,
            false,
            true,
        ),
    ];
    for (what, change, mine_bound, theirs_bound, refused) in rows {
        let (mut mine, mut theirs) = apart();
        mine.bucket = theirs.bucket.clone();
        change(&mut mine, &mut theirs);
        let binding_of = |namespace: &str| {
            let bound = if namespace == "tenant-mine" { mine_bound } else { theirs_bound };
            if *bound { Binding::read(Some("111111111111,222222222222")) } else { Binding::Absent }
        };
        assert_eq!(reason(&mine, &theirs, &binding_of).is_some(), *refused, "{what}");
        assert_eq!(reason(&theirs, &mine, &binding_of).is_some(), !refused, "one of two is first: {what}");
    }
}

#[test]
fn a_namespace_may_use_the_accounts_that_it_is_bound_to() {
    use AccountBinding::{Required, WhenPresent};
    for (annotation, rule, bucket_owner, allowed) in [
        (None, WhenPresent, "111111111111", true),
        (None, Required, "111111111111", false),
        (Some("111111111111"), WhenPresent, "111111111111", true),
        (Some("111111111111"), Required, "111111111111", true),
        (Some(" 222222222222 , 111111111111 "), WhenPresent, "111111111111", true),
        (Some("222222222222"), WhenPresent, "111111111111", false),
        (Some("111111111111"), WhenPresent, "333333333333", false),
        (Some("111111111111,333333333333"), WhenPresent, "333333333333", true),
        (Some(""), WhenPresent, "111111111111", false),
        (Some("1111-1111-1111"), WhenPresent, "111111111111", false),
        (Some("*"), WhenPresent, "111111111111", false),
    ] {
        let (mut mine, _) = apart();
        mine.bucket_owner = bucket_owner.into();
        let found = standing(&mine, &[], &|_: &str| Binding::read(annotation), rule);
        let said = found.as_ref().err().map(|objection| objection.reason);
        assert_eq!(
            said,
            (!allowed).then_some(Reason::AccountNotAllowed),
            "{annotation:?} {rule} {bucket_owner}"
        );
        if let Err(objection) = found {
            let command = format!("allowed-accounts={}", mine.accounts().join(","));
            assert!(objection.remedy.contains(&command), "{}", objection.remedy);
        }
    }
}

#[test]
fn a_claim_from_a_namespace_that_may_not_use_the_account_keeps_nobody_out() {
    let (mut mine, theirs) = apart();
    mine.bucket = theirs.bucket.clone();
    let elsewhere = |namespace: &str| Binding::read((namespace == "tenant-theirs").then_some("333333333333"));
    assert_eq!(reason(&mine, &theirs, &elsewhere), None);
    let at_home = |namespace: &str| Binding::read((namespace == "tenant-theirs").then_some("222222222222"));
    assert_eq!(reason(&mine, &theirs, &at_home), Some(Reason::DestinationConflict));
}

#[test]
fn the_refused_side_does_not_learn_whose_the_other_claim_is() {
    let (mut mine, theirs) = apart();
    mine.bucket = theirs.bucket.clone();
    mine.role_arn = theirs.role_arn.clone();
    mine.external_id = theirs.external_id;
    let objection = standing(&mine, &[&theirs], &unbound, RULE).unwrap_err();
    let said = format!("{} {}", objection.message, objection.remedy);
    for whose in [&*theirs.namespace, &*theirs.name, &*theirs.uid, &*theirs.bucket_owner] {
        assert!(!said.contains(whose), "{whose} in {said}");
    }
}

#[test]
fn of_two_that_are_proved_within_a_second_the_first_stays_the_first() {
    let now = at(100) + jiff::SignedDuration::from_millis(700);
    let (_, theirs) = apart();
    let proved =
        |second| Claim { proved: Some(at(second)), uid: format!("uid-{second}").into(), ..theirs.clone() };
    for (what, others, expected) in [
        ("nobody else", vec![], 100),
        ("long before", vec![proved(10)], 100),
        ("in the same second", vec![proved(100)], 101),
        ("two in the same second", vec![proved(101), proved(100)], 102),
        ("by a clock that ran ahead", vec![proved(500)], 501),
    ] {
        let mine = Claim { uid: "uid-mine".into(), proved: None, ..theirs.clone() };
        assert_eq!(index(&others, &unbound, RULE).proof_date(now, &mine), at(expected), "{what}");
    }
}

#[test]
fn a_namespace_has_proved_an_external_id_until_its_last_claim_on_it_ends() {
    let (mine, theirs) = apart();
    let id = mine.external_id.unwrap();
    let second = Claim { uid: "uid-second".into(), ..mine.clone() };
    let mut index = ClaimIndex::new(RULE);
    index.put(Claim { proved: None, ..mine.clone() });
    assert!(!index.has_proved(&mine.namespace, id), "it is only tried");
    for claim in [&mine, &mine, &second, &theirs] {
        index.put(claim.clone());
    }
    let proved = |index: &ClaimIndex| index.has_proved(&mine.namespace, id);
    assert!(proved(&index) && !index.has_proved(&theirs.namespace, id));
    index.remove(&mine.uid);
    assert!(proved(&index), "the second claim is left");
    index.put(Claim { external_id: None, ..second.clone() });
    assert!(!proved(&index), "it has another now");
    index.put(second.clone());
    assert!(proved(&index));
    index.remove(&second.uid);
    assert!(!proved(&index));
}
