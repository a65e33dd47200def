//! Connections in groups, in the order in which they must end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// Names a connection; a later one has a larger number.
pub(super) type Number = u64;

/// Since when a connection has been in its group, on a clock that counts changes; and its number.
pub(super) type Entry = (u64, Number);

/// Connections by two keys, the second within the first: /64 and address, or namespace and pod.
#[derive(Debug)]
pub(super) struct Tree<K> {
    outer: Groups<K>,
    inner: HashMap<K, Groups<K>>,
}

/// Connections by a key, in the order in which they must end: the oldest of the key with the most.
#[derive(Debug)]
struct Groups<K> {
    members: HashMap<K, BTreeSet<Entry>>,
    by_weight: BTreeSet<(usize, Reverse<Entry>, K)>,
    /// The same keys, those of one weight in no order that means anything.
    shuffled: BTreeMap<(usize, u64), K>,
    total: usize,
}

impl<K> Default for Tree<K> {
    fn default() -> Self {
        Tree { outer: Groups::default(), inner: HashMap::new() }
    }
}

impl<K: Clone + Hash + Ord> Tree<K> {
    pub(super) fn total(&self) -> usize {
        self.outer.total
    }

    pub(super) fn add(&mut self, outer: &K, inner: &K, entry: Entry) {
        self.outer.add(outer, entry);
        self.inner.entry(outer.clone()).or_default().add(inner, entry);
    }

    pub(super) fn remove(&mut self, outer: &K, inner: &K, entry: Entry) {
        self.outer.remove(outer, entry);
        if let Some(groups) = self.inner.get_mut(outer) {
            groups.remove(inner, entry);
            if groups.total == 0 {
                self.inner.remove(outer);
            }
        }
    }

    fn heaviest(&self) -> Option<&BTreeSet<Entry>> {
        self.inner.get(self.outer.heaviest()?).and_then(|groups| groups.members.get(groups.heaviest()?))
    }

    pub(super) fn first_to_end(&self) -> Option<Number> {
        self.heaviest()?.first().map(|(_, number)| *number)
    }

    /// The oldest of the heaviest key; `chance` decides between keys that are equally heavy.
    pub(super) fn any_to_end(&self, chance: u64) -> Option<Number> {
        let groups = self.inner.get(self.outer.any_heaviest(chance)?)?;
        groups.members.get(groups.any_heaviest(chance)?)?.first().map(|(_, number)| *number)
    }

    /// The newest of the heaviest key, if that has several.
    pub(super) fn last_of_several(&self) -> Option<Number> {
        self.heaviest().filter(|members| members.len() > 1)?.last().map(|(_, number)| *number)
    }

    /// The oldest of a pair of keys that has more than `most`.
    pub(super) fn first_above(&self, most: usize, outer: &K, inner: &K) -> Option<Number> {
        let members = self.inner.get(outer)?.members.get(inner)?;
        members.first().filter(|_| members.len() > most).map(|(_, number)| *number)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let Groups { members, by_weight, shuffled, .. } = &self.outer;
        self.inner.is_empty() && by_weight.is_empty() && shuffled.is_empty() && members.is_empty()
    }
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Groups { members: HashMap::new(), by_weight: BTreeSet::new(), shuffled: BTreeMap::new(), total: 0 }
    }
}

impl<K: Clone + Hash + Ord> Groups<K> {
    fn add(&mut self, key: &K, entry: Entry) {
        let added = self.change(key, |members| members.insert(entry));
        self.total += usize::from(added);
    }

    fn remove(&mut self, key: &K, entry: Entry) {
        let removed = self.change(key, |members| members.remove(&entry));
        self.total -= usize::from(removed);
    }

    fn change(&mut self, key: &K, change: impl FnOnce(&mut BTreeSet<Entry>) -> bool) -> bool {
        let members = self.members.entry(key.clone()).or_default();
        let weight =
            |members: &BTreeSet<Entry>| Some((members.len(), Reverse(*members.first()?), key.clone()));
        if let Some(before) = weight(members) {
            self.shuffled.remove(&shuffled(&before));
            self.by_weight.remove(&before);
        }
        let changed = change(members);
        match weight(members) {
            Some(after) => {
                self.shuffled.insert(shuffled(&after), key.clone());
                self.by_weight.insert(after);
            }
            None => drop(self.members.remove(key)),
        }
        changed
    }

    fn any_heaviest(&self, chance: u64) -> Option<&K> {
        let (&(weight, _), last) = self.shuffled.last_key_value()?;
        let near = self.shuffled.range((weight, 0)..(weight, chance)).next_back();
        Some(near.map_or(last, |(_, key)| key))
    }

    fn heaviest(&self) -> Option<&K> {
        self.by_weight.last().map(|(_, _, key)| key)
    }
}

/// A key's place among the shuffled: the finalizer of splitmix64, which gives each number another.
fn shuffled<K>((weight, Reverse((_, number)), _): &(usize, Reverse<Entry>, K)) -> (usize, u64) {
    let mut mixed = *number;
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        mixed = (mixed ^ (mixed >> shift)).wrapping_mul(factor);
    }
    (*weight, mixed ^ (mixed >> 31))
}
