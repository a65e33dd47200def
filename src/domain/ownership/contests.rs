//! Contests: for each thing that two claims cannot both have, the claims that have it, in their order.
//!
//! Every question is answered by the ends of a range of a balanced tree, so its cost grows with the logarithm of the number
//! of claims, also where all of them are in one contest.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

/// The rank of a claim: bound before unbound, then the earlier proof, then creation, then UID. A claim that is being proved
/// comes after all that were proved before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seniority {
    pub unbound: bool,
    /// In seconds, as a status stores it.
    pub proved: i64,
    pub created: i64,
    pub uid: Arc<str>,
}

/// Claims up to which a contest is scanned. Most have one.
const SMALL: usize = 4;

/// Names a contest by the hash of what is contested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ContestKey(pub u64);

impl Ord for ContestKey {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        super::tests::count_step();
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for ContestKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A part in a contest. Claims of the same group do not conflict with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stake {
    pub contest: ContestKey,
    pub group: u64,
    /// Whether other claims can be in the group.
    pub shared: bool,
}

type Ranked = (ContestKey, Seniority, u64);

/// All contests.
#[derive(Debug)]
pub(super) struct Contests {
    /// All claims of each contest, in their order.
    order: BTreeSet<Ranked>,
    /// Contests with shared groups that are or were larger than [`SMALL`]. Only these are in the trees that follow.
    large: HashSet<ContestKey>,
    /// The first claim of each group, in the order of the contest.
    firsts: BTreeSet<Ranked>,
    /// The claims of each group, in their order.
    groups: BTreeSet<(ContestKey, u64, Seniority)>,
    /// What no claim comes before: the start of a range.
    least: Seniority,
}

impl Default for Contests {
    fn default() -> Self {
        let least = Seniority { unbound: false, proved: i64::MIN, created: i64::MIN, uid: "".into() };
        let (order, large, firsts, groups) = Default::default();
        Contests { order, large, firsts, groups, least }
    }
}

impl Contests {
    pub(super) fn join(&mut self, stake: Stake, claim: &Seniority) {
        let Stake { contest, group, shared } = stake;
        self.order.insert((contest, claim.clone(), group));
        if self.large.contains(&contest) {
            self.change_group(contest, group, |groups| groups.insert((contest, group, claim.clone())));
        } else if shared && self.of_contest(&self.order, contest).count() > SMALL {
            self.large.insert(contest);
            let all: Vec<_> = self.of_contest(&self.order, contest).cloned().collect();
            for (_, claim, group) in all {
                self.change_group(contest, group, |groups| groups.insert((contest, group, claim)));
            }
        }
    }

    pub(super) fn leave(&mut self, stake: Stake, claim: &Seniority) {
        let Stake { contest, group, .. } = stake;
        self.order.remove(&(contest, claim.clone(), group));
        if self.large.contains(&contest) {
            self.change_group(contest, group, |groups| groups.remove(&(contest, group, claim.clone())));
            if self.of_contest(&self.order, contest).next().is_none() {
                self.large.remove(&contest);
            }
        }
    }

    /// The first claim in the contest that is of another group and of another destination than `uid`.
    pub(super) fn first_of_another(&self, stake: Stake, uid: &str) -> Option<&Seniority> {
        let firsts = if self.large.contains(&stake.contest) { &self.firsts } else { &self.order };
        // Where an edited destination itself was the first of another group, the next one of that group is.
        let mut after_own = None;
        for (_, first, group) in self.of_contest(firsts, stake.contest) {
            if *group == stake.group {
                continue;
            }
            if *first.uid == *uid {
                after_own = self.of_group(stake.contest, *group, first).nth(1);
                continue;
            }
            return Some(after_own.map_or(first, |next| next.min(first)));
        }
        after_own
    }

    /// The claims of other groups in the contest that come after `claim`.
    pub(super) fn after<'a>(
        &'a self,
        stake: Stake,
        claim: &Seniority,
    ) -> impl Iterator<Item = &'a Seniority> + use<'a> {
        let after = (Bound::Excluded((stake.contest, claim.clone(), u64::MAX)), Bound::Unbounded);
        let in_contest = self.order.range(after).take_while(move |(contest, ..)| *contest == stake.contest);
        in_contest.filter(move |(.., group)| *group != stake.group).map(|(_, claim, _)| claim)
    }

    /// The second of the latest proof in the contest.
    pub(super) fn latest_proof(&self, stake: Stake) -> Option<i64> {
        let start = (stake.contest, self.least.clone(), 0);
        let unbound = (stake.contest, Seniority { unbound: true, ..self.least.clone() }, 0);
        let end = (ContestKey(stake.contest.0 + 1), self.least.clone(), 0);
        // The order has bound claims first, and each part ends in its latest proof.
        let parts = [self.order.range(start..unbound.clone()), self.order.range(unbound..end)];
        parts.into_iter().filter_map(|mut part| part.next_back()).map(|(_, claim, _)| claim.proved).max()
    }

    /// Changes a group, and keeps its first claim among the firsts.
    fn change_group(
        &mut self,
        contest: ContestKey,
        group: u64,
        change: impl FnOnce(&mut BTreeSet<(ContestKey, u64, Seniority)>) -> bool,
    ) {
        let first = |contests: &Self| contests.of_group(contest, group, &contests.least).next().cloned();
        let before = first(self);
        change(&mut self.groups);
        let after = first(self);
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.firsts.remove(&(contest, before, group));
        }
        if let Some(after) = after {
            self.firsts.insert((contest, after, group));
        }
    }

    fn of_contest<'a>(
        &'a self,
        claims: &'a BTreeSet<Ranked>,
        contest: ContestKey,
    ) -> impl Iterator<Item = &'a Ranked> {
        let start = (contest, self.least.clone(), 0);
        claims.range(start..).take_while(move |(of, ..)| *of == contest)
    }

    fn of_group(
        &self,
        contest: ContestKey,
        group: u64,
        from: &Seniority,
    ) -> impl Iterator<Item = &Seniority> + use<'_> {
        let claims = self.groups.range((contest, group, from.clone())..);
        claims.take_while(move |(c, g, _)| (*c, *g) == (contest, group)).map(|(.., claim)| claim)
    }
}
