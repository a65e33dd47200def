//! Recordings that wait, in groups by their size class and by how often they were tried. First tries and repeats take turns,
//! and so do the groups of repeats: what S3 refuses of one class, or again and again, keeps nothing of another waiting.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use tokio::time::Instant;

use crate::domain::delivery::Standing;
use crate::uploader::queue::circuit_breaker::Closed;
use crate::uploader::transfer::concurrency::{Concurrency, SizeClass};

pub type Group = (SizeClass, Standing);
/// When a recording is due. Of recordings due at the same time the first that was entered comes first.
pub type Due = (Instant, u64);

const FIRST_TRIES: [Group; 3] = [
    (SizeClass::Small, Standing::Untried),
    (SizeClass::Medium, Standing::Untried),
    (SizeClass::Large, Standing::Untried),
];
const REPEATS: [Group; 6] = [
    (SizeClass::Small, Standing::Retried),
    (SizeClass::Medium, Standing::Retried),
    (SizeClass::Large, Standing::Retried),
    (SizeClass::Small, Standing::Demoted),
    (SizeClass::Medium, Standing::Demoted),
    (SizeClass::Large, Standing::Demoted),
];

#[derive(Debug, Default)]
pub struct WaitingRecordings {
    /// Earliest first.
    waiting: [BTreeSet<(Due, Rc<Path>)>; FIRST_TRIES.len() + REPEATS.len()],
    /// Whether the last one taken had been tried before.
    took_repeat: bool,
    /// Which group of repeats has its turn.
    turn: usize,
}

impl WaitingRecordings {
    pub fn insert(&mut self, group: Group, due: Due, path: Rc<Path>) {
        self.waiting[index(group)].insert((due, path));
    }

    pub fn remove(&mut self, group: Group, due: Due, path: &Rc<Path>) {
        self.waiting[index(group)].remove(&(due, path.clone()));
    }

    /// The next recording that is due, for which there is room, and which the circuit breaker lets through. It stays.
    pub fn next(
        &self,
        concurrency: &Concurrency,
        closed: &Closed,
        now: Instant,
    ) -> Option<(Group, Rc<Path>)> {
        let is_due = |group: &Group| {
            let is_due = closed.passes_from(group.1) <= now
                && self.first(*group).is_some_and(|((due, _), _)| *due <= now);
            let has_room = is_due && concurrency.has_room(group.0);
            if is_due && !has_room {
                concurrency.is_due(group.0);
            }
            has_room
        };
        let first_tries = FIRST_TRIES.into_iter().filter(is_due);
        let first_try = first_tries.min_by_key(|group| self.first(*group).map(|(due, _)| *due));
        let repeat =
            (self.turn..self.turn + REPEATS.len()).map(|turn| REPEATS[turn % REPEATS.len()]).find(is_due);
        let group = if self.took_repeat { first_try.or(repeat) } else { repeat.or(first_try) }?;
        self.first(group).map(|(_, path)| (group, path.clone()))
    }

    /// A recording of this group was taken.
    pub fn took(&mut self, group: Group) {
        let repeat = REPEATS.iter().position(|repeat| *repeat == group);
        self.took_repeat = repeat.is_some();
        self.turn = repeat.map_or(self.turn, |repeat| (repeat + 1) % REPEATS.len());
    }

    /// When the next recording for which there is room is due and let through.
    pub fn next_due(&self, concurrency: &Concurrency, closed: &Closed) -> Option<Instant> {
        let groups = FIRST_TRIES.into_iter().chain(REPEATS).filter(|(class, _)| concurrency.has_room(*class));
        groups
            .filter_map(|group| self.first(group).map(|((due, _), _)| closed.passes_from(group.1).max(*due)))
            .min()
    }

    fn first(&self, group: Group) -> Option<&(Due, Rc<Path>)> {
        self.waiting[index(group)].first()
    }
}

fn index((class, standing): Group) -> usize {
    let row = match standing {
        Standing::Untried => 0,
        Standing::Retried => 3,
        Standing::Demoted => 6,
    };
    row + class as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_take_turns_and_first_tries_are_every_other_one() {
        let (mut waiting, now) = (WaitingRecordings::default(), Instant::now());
        let all = FIRST_TRIES.into_iter().chain(REPEATS);
        for (number, group) in all.flat_map(|group| [group; 3]).enumerate() {
            let path: Rc<Path> = Path::new(&format!("{group:?} {number}")).into();
            waiting.insert(group, (now, number as u64), path);
        }
        let mut taken = Vec::new();
        while let Some((group, path)) = waiting.next(&Concurrency::default(), &Closed::at(now), now) {
            let (due, _) = *waiting.first(group).unwrap();
            waiting.remove(group, due, &path);
            waiting.took(group);
            taken.push(group);
        }
        assert_eq!(taken.len(), 27);
        for group in REPEATS {
            assert!(taken[..12].contains(&group), "{group:?} had to wait: {taken:?}");
        }
        let first_tries = taken[..18].iter().filter(|(_, standing)| *standing == Standing::Untried).count();
        assert_eq!(first_tries, 9, "{taken:?}");
    }
}
