//! All claims, and which of them comes first.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;

use jiff::Timestamp;

use super::binding::{AccountBinding, Binding};
use super::claim::Claim;
use super::contests::{ContestKey, Contests, Seniority, Stake};
use crate::api::{Objection, Reason};
use crate::secret::Fingerprint;

const ID_IN_ANOTHER_ACCOUNT: &str = "another AWS account is claimed with the same External ID";
const ROLE_IN_ANOTHER_NAMESPACE: &str = "the role and External ID are claimed in another namespace";
const PREFIX_OVERLAPS: &str = "the bucket and prefix overlap with a claim that was proved earlier";

/// Namespace and name of a destination that is to be reconciled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Woken {
    pub namespace: String,
    pub name: String,
}

/// The claims of all destinations, indexed by what they contest.
#[derive(Debug)]
pub struct ClaimIndex {
    rule: AccountBinding,
    /// Of namespaces that have the annotation.
    bindings: HashMap<String, Binding>,
    /// Boxed, because a table has room for up to twice as many.
    claims: HashMap<Arc<str>, Box<Held>>,
    contests: Contests,
    /// How many proved claims each namespace has on each External ID, by the names of both.
    proved_ids: HashMap<u64, usize>,
    /// Names contests. Two of a hundred thousand have the same name with a probability of one in a thousand million.
    names: RandomState,
    /// The refused destinations, by UID.
    refused: HashMap<Arc<str>, Refused>,
    /// UID of a claim, and of a destination that was refused for it.
    refused_for: BTreeSet<(Arc<str>, Arc<str>)>,
    woken: BTreeSet<Woken>,
}

#[derive(Debug)]
struct Held {
    claim: Claim,
    /// Absent where the claim refuses no other: it is unproved, or its namespace may not use the accounts.
    seniority: Option<Seniority>,
}

#[derive(Debug)]
struct Refused {
    first: Arc<str>,
    destination: Woken,
}

impl ClaimIndex {
    pub fn new(rule: AccountBinding) -> Self {
        ClaimIndex {
            rule,
            bindings: HashMap::new(),
            claims: HashMap::new(),
            contests: Contests::default(),
            proved_ids: HashMap::new(),
            names: RandomState::new(),
            refused: HashMap::new(),
            refused_for: BTreeSet::new(),
            woken: BTreeSet::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.claims.len()
    }

    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    pub fn get(&self, uid: &str) -> Option<&Claim> {
        self.claims.get(uid).map(|held| &held.claim)
    }

    /// Whether a destination of the namespace has proved the External ID.
    pub fn has_proved(&self, namespace: &str, id: Fingerprint) -> bool {
        self.proved_ids.contains_key(&self.names.hash_one((id, namespace)))
    }

    /// Adds a claim, or replaces that of the same destination.
    pub fn put(&mut self, claim: Claim) {
        let seniority = self.seniority_in_contests(&claim);
        let uid = claim.uid.clone();
        let (mut begun, mut needed) = match seniority {
            Some(_) => (self.held_by(&claim), self.needed_by(&claim)),
            None => Default::default(),
        };
        self.count_proof(&claim);
        let held = Box::new(Held { claim, seniority: seniority.clone() });
        let before = self.claims.insert(uid.clone(), held);
        before.iter().for_each(|before| self.discount_proof(&before.claim));
        if let Some(Held { claim: before, seniority: Some(rank) }) = before.as_deref() {
            let mut ended = self.held_by(before);
            if seniority.as_ref() == Some(rank) {
                let kept: Vec<_> = ended.iter().filter(|stake| begun.contains(stake)).copied().collect();
                ended.retain(|stake| !kept.contains(stake));
                begun.retain(|stake| !kept.contains(stake));
                let known = self.needed_by(before);
                needed.retain(|stake| !known.contains(stake));
            }
            ended.iter().for_each(|stake| self.contests.leave(*stake, rank));
            if !ended.is_empty() {
                self.wake_refused_for(&uid);
            }
        }
        let Some(seniority) = seniority else { return };
        begun.iter().for_each(|stake| self.contests.join(*stake, &seniority));
        needed.iter().for_each(|(stake, _)| self.wake_overtaken(*stake, &seniority));
    }

    /// Ends the claim of a destination that is gone.
    pub fn remove(&mut self, uid: &str) {
        self.forget_refusal(uid);
        let Some((uid, held)) = self.claims.remove_entry(uid) else { return };
        let Held { claim, seniority } = *held;
        self.discount_proof(&claim);
        let Some(seniority) = seniority else { return };
        for stake in self.held_by(&claim) {
            self.contests.leave(stake, &seniority);
        }
        self.wake_refused_for(&uid);
    }

    /// Ends the claims of destinations that are gone.
    pub fn retain(&mut self, is_alive: impl Fn(&Claim) -> bool) {
        let dead = self.claims.values().filter(|held| !is_alive(&held.claim));
        let dead: Vec<_> = dead.map(|held| held.claim.uid.clone()).collect();
        dead.iter().for_each(|uid| self.remove(uid));
    }

    /// Binds a namespace to the accounts of its annotation, and ranks its claims anew where that is a change.
    pub fn bind(&mut self, namespace: &str, binding: Binding) {
        if *self.binding_of(namespace) == binding {
            return;
        }
        if binding == Binding::Absent {
            self.bindings.remove(namespace);
        } else {
            self.bindings.insert(namespace.to_owned(), binding);
        }
        let theirs = self.claims.values().filter(|held| held.claim.namespace == namespace);
        let theirs: Vec<_> = theirs.map(|held| held.claim.clone()).collect();
        theirs.into_iter().for_each(|claim| self.put(claim));
    }

    /// Whether `mine` stands: the namespace may use the accounts, and no claim of another destination comes first. Where
    /// one does, `mine` is woken when that claim ends. Claims that are met and not alive are removed.
    pub fn standing(&mut self, mine: &Claim, is_alive: impl Fn(&Claim) -> bool) -> Result<(), Objection> {
        let binding = self.binding_of(&mine.namespace);
        if let Some(objection) = mine.objection(binding, self.rule) {
            self.forget_refusal(&mine.uid);
            return Err(objection);
        }
        let rank = mine.seniority(binding);
        loop {
            let Some((first, what)) = self.first_before(mine, &rank) else {
                self.forget_refusal(&mine.uid);
                return Ok(());
            };
            if self.get(&first).is_some_and(&is_alive) {
                self.remember_refusal(mine, first);
                return Err(conflict(what));
            }
            self.remove(&first);
        }
    }

    /// The date of a proof of `mine` made at `now`: later than those of all claims that could refuse it, in whole seconds, as
    /// a status stores them, so that it shows their order.
    pub fn proof_date(&self, now: Timestamp, mine: &Claim) -> Timestamp {
        let contested = self.needed_by(mine).into_iter().map(|(stake, _)| stake);
        let contested = contested.filter(|stake| self.contests.first_of_another(*stake, &mine.uid).is_some());
        let latest = contested.filter_map(|stake| self.contests.latest_proof(stake)).max();
        let second = latest.map_or(now.as_second(), |latest| now.as_second().max(latest.saturating_add(1)));
        Timestamp::from_second(second).unwrap_or(now)
    }

    /// The destinations whose standing may have changed since this was last called.
    pub fn take_woken(&mut self) -> BTreeSet<Woken> {
        std::mem::take(&mut self.woken)
    }

    fn proved_id(&self, claim: &Claim) -> Option<u64> {
        let id = claim.external_id.filter(|_| claim.proved.is_some());
        id.map(|id| self.names.hash_one((id, claim.namespace.as_str())))
    }

    fn count_proof(&mut self, claim: &Claim) {
        if let Some(id) = self.proved_id(claim) {
            *self.proved_ids.entry(id).or_default() += 1;
        }
    }

    fn discount_proof(&mut self, claim: &Claim) {
        let Some(id) = self.proved_id(claim) else { return };
        if let Entry::Occupied(mut count) = self.proved_ids.entry(id) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn binding_of(&self, namespace: &str) -> &Binding {
        self.bindings.get(namespace).unwrap_or(&Binding::Absent)
    }

    /// A claim that is not proved, or of a namespace that may not use the accounts, refuses no other.
    fn seniority_in_contests(&self, claim: &Claim) -> Option<Seniority> {
        let binding = self.binding_of(&claim.namespace);
        let counts = claim.proved.is_some() && claim.objection(binding, self.rule).is_none();
        counts.then(|| claim.seniority(binding))
    }

    fn first_before(&self, mine: &Claim, rank: &Seniority) -> Option<(Arc<str>, &'static str)> {
        self.needed_by(mine).into_iter().find_map(|(stake, what)| {
            let first = self.contests.first_of_another(stake, &mine.uid)?;
            (first < rank).then(|| (first.uid.clone(), what))
        })
    }

    /// The contests in which the claim refuses others.
    fn held_by(&self, claim: &Claim) -> Vec<Stake> {
        let mut stakes: Vec<_> = self.of_external_id(claim).map(|(stake, _)| stake).collect();
        if claim.writable {
            let path = path(claim);
            stakes.push(self.stake(("at", &path), &claim.uid, false));
            stakes.extend(ancestors(&path).map(|above| self.stake(("under", above), &claim.uid, false)));
        }
        stakes
    }

    /// The contests in which the claim is refused for others: prefixes above its own, and below.
    fn needed_by(&self, claim: &Claim) -> Vec<(Stake, &'static str)> {
        let mut stakes: Vec<_> = self.of_external_id(claim).collect();
        if claim.writable {
            let path = path(claim);
            let above = ancestors(&path).map(|above| self.stake(("at", above), &claim.uid, false));
            let below = self.stake(("under", path.as_str()), &claim.uid, false);
            stakes.extend(above.chain([below]).map(|stake| (stake, PREFIX_OVERLAPS)));
        }
        stakes
    }

    fn of_external_id(&self, claim: &Claim) -> impl Iterator<Item = (Stake, &'static str)> {
        let stakes = claim.external_id.map(|id| {
            let role = (id, &claim.role_arn);
            [
                (self.stake(("id", id), &claim.account(), true), ID_IN_ANOTHER_ACCOUNT),
                (self.stake(("role", role), &claim.namespace, true), ROLE_IN_ANOTHER_NAMESPACE),
            ]
        });
        stakes.into_iter().flatten()
    }

    fn stake(&self, contest: impl Hash, group: &str, shared: bool) -> Stake {
        // One bit less, so that the next key exists.
        let contest = ContestKey(self.names.hash_one(contest) >> 1);
        Stake { contest, group: self.names.hash_one(group), shared }
    }

    fn remember_refusal(&mut self, mine: &Claim, first: Arc<str>) {
        self.forget_refusal(&mine.uid);
        let destination = Woken { namespace: mine.namespace.clone(), name: mine.name.clone() };
        self.refused_for.insert((first.clone(), mine.uid.clone()));
        self.refused.insert(mine.uid.clone(), Refused { first, destination });
    }

    fn forget_refusal(&mut self, uid: &str) {
        if let Some((uid, refused)) = self.refused.remove_entry(uid) {
            self.refused_for.remove(&(refused.first, uid));
        }
    }

    fn wake_refused_for(&mut self, first: &Arc<str>) {
        let theirs = self.refused_for.range((first.clone(), "".into())..);
        let theirs = theirs.take_while(|(of, _)| of == first).map(|(_, refused)| refused);
        let theirs =
            theirs.filter_map(|uid| self.refused.get(uid)).map(|refused| refused.destination.clone());
        self.woken.extend(theirs);
    }

    /// Wakes the claims that come after one that has just joined, but for those that are refused already. Those that it
    /// contests are found where it would find those that contest it.
    fn wake_overtaken(&mut self, stake: Stake, by: &Seniority) {
        let after = self.contests.after(stake, by).filter(|after| !self.refused.contains_key(&after.uid));
        let claims = after.filter_map(|after| self.claims.get(&after.uid)).map(|held| &held.claim);
        self.woken.extend(
            claims.map(|claim| Woken { namespace: claim.namespace.clone(), name: claim.name.clone() }),
        );
    }
}

/// The prefix below its bucket. A bucket's name has no slash, and a prefix is empty or ends in one.
fn path(claim: &Claim) -> String {
    format!("{}/{}", claim.bucket, claim.prefix)
}

/// The path itself and the prefixes that it is in, the bucket first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(slash, _)| &path[..=slash])
}

/// Does not identify the other claim.
fn conflict(what: &str) -> Objection {
    Objection {
        reason: Reason::DestinationConflict,
        message: format!("{what}; a claim proved earlier comes first, and one of a bound namespace before any"),
        remedy: "Use a bucket and prefix, a role and an External ID that no other destination uses. If the other claim is \
                 the wrong one, whoever administers the platform finds it with kubectl get recdest --all-namespaces --output=wide, \
                 and decides by binding namespaces to AWS accounts"
            .to_owned(),
    }
}
