//! Recordings that wait, in lanes by their kind and by how often they were tried. First tries and repeats take turns,
//! and so do the lanes of repeats: what S3 refuses of one kind, or again and again, keeps nothing of another waiting.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use tokio::time::Instant;

use crate::domain::delivery::Standing;
use crate::uploader::queue::circuit_breaker::Gate;
use crate::uploader::transfer::concurrency::{Concurrency, SizeClass};

pub type Lane = (SizeClass, Standing);
/// When a recording is due. Of recordings due at the same time the first that was entered comes first.
pub type Due = (Instant, u64);

const FIRST_TRIES: [Lane; 2] = [(SizeClass::Small, Standing::Untried), (SizeClass::Large, Standing::Untried)];
const REPEATS: [Lane; 4] = [
    (SizeClass::Small, Standing::Retried),
    (SizeClass::Large, Standing::Retried),
    (SizeClass::Small, Standing::Demoted),
    (SizeClass::Large, Standing::Demoted),
];

#[derive(Debug, Default)]
pub struct Lanes {
    /// Earliest first.
    waiting: [BTreeSet<(Due, Rc<Path>)>; FIRST_TRIES.len() + REPEATS.len()],
    /// Whether the last one taken had been tried before.
    took_repeat: bool,
    /// Which lane of repeats has its turn.
    turn: usize,
}

impl Lanes {
    pub fn insert(&mut self, lane: Lane, due: Due, path: Rc<Path>) {
        self.waiting[index(lane)].insert((due, path));
    }

    pub fn remove(&mut self, lane: Lane, due: Due, path: &Rc<Path>) {
        self.waiting[index(lane)].remove(&(due, path.clone()));
    }

    /// The next recording that is due, for which there is room, and which the gate lets through. It stays.
    pub fn next(&self, concurrency: &Concurrency, gate: &Gate, now: Instant) -> Option<(Lane, Rc<Path>)> {
        let is_due = |lane: &Lane| {
            concurrency.has_room(lane.0)
                && gate.opens(lane.1) <= now
                && self.first(*lane).is_some_and(|((due, _), _)| *due <= now)
        };
        let first_tries = FIRST_TRIES.into_iter().filter(is_due);
        let first_try = first_tries.min_by_key(|lane| self.first(*lane).map(|(due, _)| *due));
        let repeat =
            (self.turn..self.turn + REPEATS.len()).map(|turn| REPEATS[turn % REPEATS.len()]).find(is_due);
        let lane = if self.took_repeat { first_try.or(repeat) } else { repeat.or(first_try) }?;
        self.first(lane).map(|(_, path)| (lane, path.clone()))
    }

    /// A recording of this lane was taken.
    pub fn took(&mut self, lane: Lane) {
        let repeat = REPEATS.iter().position(|repeat| *repeat == lane);
        self.took_repeat = repeat.is_some();
        self.turn = repeat.map_or(self.turn, |repeat| (repeat + 1) % REPEATS.len());
    }

    /// When the next recording for which there is room is due and let through.
    pub fn next_due(&self, concurrency: &Concurrency, gate: &Gate) -> Option<Instant> {
        let lanes = FIRST_TRIES.into_iter().chain(REPEATS).filter(|(class, _)| concurrency.has_room(*class));
        lanes.filter_map(|lane| self.first(lane).map(|((due, _), _)| gate.opens(lane.1).max(*due))).min()
    }

    fn first(&self, lane: Lane) -> Option<&(Due, Rc<Path>)> {
        self.waiting[index(lane)].first()
    }
}

fn index((class, standing): Lane) -> usize {
    let row = match standing {
        Standing::Untried => 0,
        Standing::Retried => 2,
        Standing::Demoted => 4,
    };
    row + usize::from(class == SizeClass::Large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_take_turns_and_first_tries_are_every_other_one() {
        let (mut lanes, now) = (Lanes::default(), Instant::now());
        let all = FIRST_TRIES.into_iter().chain(REPEATS);
        for (number, lane) in all.flat_map(|lane| [lane; 3]).enumerate() {
            let path: Rc<Path> = Path::new(&format!("{lane:?} {number}")).into();
            lanes.insert(lane, (now, number as u64), path);
        }
        let mut taken = Vec::new();
        while let Some((lane, path)) = lanes.next(&Concurrency::default(), &Gate::open(now), now) {
            let (due, _) = *lanes.first(lane).unwrap();
            lanes.remove(lane, due, &path);
            lanes.took(lane);
            taken.push(lane);
        }
        assert_eq!(taken.len(), 18);
        for lane in REPEATS {
            assert!(taken[..8].contains(&lane), "{lane:?} had to wait: {taken:?}");
        }
        let first_tries = taken[..12].iter().filter(|(_, standing)| *standing == Standing::Untried).count();
        assert_eq!(first_tries, 6, "{taken:?}");
    }
}
