//! Who is woken when a claim ends, begins or moves.

use super::*;

fn names(index: &mut ClaimIndex) -> Vec<String> {
    index.take_woken().into_iter().map(|woken| woken.name).collect()
}

/// A claim on the bucket `acme`.
fn on(name: &str, prefix: &str, proved: i64) -> Claim {
    let (claim, _) = apart();
    Claim {
        uid: format!("uid-{name}").into(),
        namespace: format!("tenant-{name}"),
        name: name.into(),
        proved: Some(at(proved)),
        bucket: "acme".into(),
        prefix: prefix.into(),
        external_id: None,
        ..claim
    }
}

/// The first two have their prefixes, `third` is refused for `first`, and `fourth` for `second`.
fn four() -> ([Claim; 4], ClaimIndex) {
    let claims = [on("first", "a/", 1), on("second", "b/", 2), on("third", "a/", 3), on("fourth", "b/x/", 4)];
    let mut index = index(&claims, &unbound, RULE);
    let refused = claims.each_ref().map(|claim| index.standing(claim, |_| true).is_err());
    assert_eq!(refused, [false, false, true, true]);
    index.take_woken();
    (claims, index)
}

#[test]
fn when_a_claim_ends_those_that_lost_to_it_are_woken_and_no_others() {
    type Change = fn(&mut ClaimIndex, Claim);
    let rows: &[(&str, Change, &[&str])] = &[
        ("nothing happens", |_, _| (), &[]),
        ("it is validated again", |index, first| index.put(first), &[]),
        ("it is deleted", |index, first| index.remove(&first.uid), &["third"]),
        ("its proof ends", |index, first| index.put(Claim { proved: None, ..first }), &["third"]),
        (
            "it moves to another bucket",
            |index, first| index.put(Claim { bucket: "b".into(), ..first }),
            &["third"],
        ),
        (
            "it moves to a prefix that another has",
            |index, first| index.put(Claim { prefix: "b/".into(), ..first }),
            &["second", "third"],
        ),
        (
            "its namespace may no longer use the account",
            |index, first| index.bind(&first.namespace, Binding::read(Some("999999999999"))),
            &["third"],
        ),
        (
            "it is found to be dead",
            |index, first| _ = index.standing(&on("third", "a/", 3), |claim| claim.uid != first.uid),
            &["third"],
        ),
    ];
    for (what, change, woken) in rows {
        let ([first, ..], mut index) = four();
        change(&mut index, first);
        assert_eq!(names(&mut index), *woken, "{what}");
    }
}

#[test]
fn a_bound_newcomer_wakes_those_that_it_overtakes() {
    let (_, mut index) = four();
    index.put(on("late", "a/", 9));
    assert_eq!(names(&mut index), [""; 0], "it comes after all");
    index.bind("tenant-late", Binding::read(Some("111111111111")));
    assert_eq!(names(&mut index), ["first"], "the others are refused already");
}

#[test]
fn a_refused_claim_that_is_gone_is_woken_no_more() {
    let ([first, _, third, _], mut index) = four();
    index.remove(&third.uid);
    index.remove(&first.uid);
    assert_eq!(names(&mut index), [""; 0]);
}

#[test]
fn claims_of_destinations_that_are_gone_are_dropped() {
    let ([first, ..], mut index) = four();
    index.retain(|claim| claim.uid != first.uid);
    assert_eq!((index.len(), names(&mut index)), (3, vec!["third".to_owned()]));
}
