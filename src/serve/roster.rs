//! Which connections are open, whose they are, and which must end when there are too many.
//!
//! Strangers, callers that have proved nothing yet, are counted by address. Pods, which have shown a valid token, are
//! counted by namespace and pod, and no number of strangers takes a place of theirs. The API server is not counted. All
//! that is decided takes a time that grows with the logarithm of the number of connections.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// Names a connection; a later one has a larger number.
pub(super) type Number = u64;

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) strangers: usize,
    pub(super) pods: usize,
}

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Stranger(IpAddr),
    Pod { namespace: String, pod: String },
    ApiServer,
}

#[derive(Debug)]
pub(super) struct Roster {
    limits: Limits,
    latest: Number,
    parties: HashMap<Number, Party>,
    strangers: Groups<IpAddr>,
    namespaces: Groups<String>,
    pods: HashMap<String, Groups<String>>,
}

/// Connections by a key, in the order in which they must end: the oldest of the key with the most.
#[derive(Debug)]
struct Groups<K> {
    members: HashMap<K, BTreeSet<Number>>,
    by_weight: BTreeSet<(usize, Reverse<Number>, K)>,
    total: usize,
}

impl Roster {
    pub(super) fn new(limits: Limits) -> Self {
        Roster {
            limits,
            latest: 0,
            parties: HashMap::new(),
            strangers: Groups::default(),
            namespaces: Groups::default(),
            pods: HashMap::new(),
        }
    }

    /// Enters a new connection, and names the one that must end for it.
    pub(super) fn admit(&mut self, address: IpAddr) -> (Number, Option<Number>) {
        let evicted = match self.strangers.total >= self.limits.strangers {
            true => self.strangers.first_to_end().map(|(_, number)| number),
            false => None,
        };
        evicted.inspect(|number| self.remove(*number));
        self.latest += 1;
        self.enter(self.latest, Party::Stranger(network_of(address)));
        (self.latest, evicted)
    }

    /// Enters a connection as that of a party which has proved itself, and names the one that must end for it. What is
    /// known of a connection does not change any more.
    pub(super) fn identify(&mut self, number: Number, party: Party) -> Option<Number> {
        if !matches!(self.parties.get(&number), Some(Party::Stranger(_))) {
            return None;
        }
        self.remove(number);
        self.enter(number, party);
        let evicted = (self.namespaces.total > self.limits.pods).then(|| self.first_of_pods()).flatten();
        evicted.inspect(|number| self.remove(*number))
    }

    /// Forgets a connection that ended.
    pub(super) fn remove(&mut self, number: Number) {
        match self.parties.remove(&number) {
            Some(Party::Stranger(address)) => self.strangers.remove(&address, number),
            Some(Party::Pod { namespace, pod }) => {
                self.namespaces.remove(&namespace, number);
                if let Some(pods) = self.pods.get_mut(&namespace) {
                    pods.remove(&pod, number);
                    if pods.total == 0 {
                        self.pods.remove(&namespace);
                    }
                }
            }
            Some(Party::ApiServer) | None => {}
        }
    }

    fn enter(&mut self, number: Number, party: Party) {
        match &party {
            Party::Stranger(address) => self.strangers.add(address, number),
            Party::Pod { namespace, pod } => {
                self.namespaces.add(namespace, number);
                self.pods.entry(namespace.clone()).or_default().add(pod, number);
            }
            Party::ApiServer => {}
        }
        self.parties.insert(number, party);
    }

    fn first_of_pods(&self) -> Option<Number> {
        let (namespace, _) = self.namespaces.first_to_end()?;
        let (_, number) = self.pods.get(namespace)?.first_to_end()?;
        Some(number)
    }
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Groups { members: HashMap::new(), by_weight: BTreeSet::new(), total: 0 }
    }
}

impl<K: Clone + Hash + Ord> Groups<K> {
    fn add(&mut self, key: &K, number: Number) {
        let added = self.change(key, |members| members.insert(number));
        self.total += usize::from(added);
    }

    fn remove(&mut self, key: &K, number: Number) {
        let removed = self.change(key, |members| members.remove(&number));
        self.total -= usize::from(removed);
    }

    fn change(&mut self, key: &K, change: impl FnOnce(&mut BTreeSet<Number>) -> bool) -> bool {
        let members = self.members.entry(key.clone()).or_default();
        let weight =
            |members: &BTreeSet<Number>| Some((members.len(), Reverse(*members.first()?), key.clone()));
        if let Some(before) = weight(members) {
            self.by_weight.remove(&before);
        }
        let changed = change(members);
        match weight(members) {
            Some(after) => drop(self.by_weight.insert(after)),
            None => drop(self.members.remove(key)),
        }
        changed
    }

    fn first_to_end(&self) -> Option<(&K, Number)> {
        self.by_weight.last().map(|(_, Reverse(oldest), key)| (key, *oldest))
    }
}

/// What one peer can choose its addresses from: a network of 64 bits in IPv6.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        [10, 244, 0, number].into()
    }

    fn pod(namespace: &str, pod: &str) -> Party {
        Party::Pod { namespace: namespace.to_owned(), pod: pod.to_owned() }
    }

    fn roster(strangers: usize, pods: usize) -> Roster {
        Roster::new(Limits { strangers, pods })
    }

    #[test]
    fn the_oldest_stranger_of_the_heaviest_address_makes_room() {
        // The addresses of strangers in the order in which they came, then the newcomer's, then the place of who must end.
        for (what, came, newcomer, evicted) in [
            ("there is room", &[1, 1, 1][..], 2, None),
            ("the heaviest is another", &[2, 1, 1, 3], 4, Some(1)),
            ("the heaviest is the newcomer itself", &[2, 1, 1, 3], 1, Some(1)),
            ("of equals the one that has waited longest", &[3, 1, 2, 4], 5, Some(0)),
            ("of equals with several each", &[2, 1, 1, 2], 5, Some(0)),
        ] {
            let mut roster = roster(4, 0);
            let numbers: Vec<_> = came.iter().map(|came| roster.admit(address(*came)).0).collect();
            assert_eq!(
                roster.admit(address(newcomer)).1,
                evicted.map(|place: usize| numbers[place]),
                "{what}"
            );
        }
    }

    #[test]
    fn strangers_take_no_place_of_pods_and_the_api_server_is_never_counted() {
        let mut roster = roster(2, 2);
        let identified = |roster: &mut Roster, party| {
            let number = roster.admit(address(1)).0;
            (number, roster.identify(number, party))
        };
        let first = identified(&mut roster, pod("calls", "a"));
        for _ in 0..10 {
            assert_eq!(identified(&mut roster, Party::ApiServer).1, None, "all from one address");
        }
        let second = identified(&mut roster, pod("calls", "b"));
        assert_eq!((first.1, second.1), (None, None));
        let ended: Vec<_> = (0..20).filter_map(|n| roster.admit(address(n)).1).collect();
        assert_eq!(ended.len(), 18);
        assert!(!ended.contains(&first.0) && !ended.contains(&second.0));
    }

    #[test]
    fn above_the_limit_the_heaviest_pod_of_the_heaviest_namespace_makes_room() {
        // The pods in the order in which they came, and the place of the one that must end for the last.
        for (what, came, evicted) in [
            ("there is room", &[("calls", "a"), ("calls", "a"), ("calls", "a"), ("calls", "a")][..], None),
            (
                "one pod",
                &[("calls", "b"), ("calls", "a"), ("calls", "a"), ("billing", "c"), ("x", "y")],
                Some(1),
            ),
            ("many pods", &[("x", "y"), ("x", "y"), ("calls", "a"), ("calls", "b"), ("calls", "c")], Some(2)),
            (
                "its own",
                &[("x", "y"), ("calls", "a"), ("calls", "a"), ("calls", "a"), ("calls", "a")],
                Some(1),
            ),
        ] {
            let mut roster = roster(10, 4);
            let numbers: Vec<_> = came.iter().map(|_| roster.admit(address(1)).0).collect();
            let ended: Vec<_> = numbers
                .iter()
                .zip(came)
                .map(|(number, (namespace, name))| roster.identify(*number, pod(namespace, name)))
                .collect();
            assert!(ended[..ended.len() - 1].iter().all(Option::is_none), "{what}");
            assert_eq!(*ended.last().unwrap(), evicted.map(|place: usize| numbers[place]), "{what}");
        }
    }

    #[test]
    fn what_ended_is_forgotten() {
        let mut roster = roster(10, 10);
        let numbers: Vec<_> = (0..6).map(|n| roster.admit(address(n % 2)).0).collect();
        roster.identify(numbers[0], pod("calls", "a"));
        roster.identify(numbers[1], Party::ApiServer);
        assert_eq!(roster.identify(numbers[0], pod("other", "b")), None, "a connection stays its pod's");
        for number in numbers {
            roster.remove(number);
            assert_eq!(roster.identify(number, pod("calls", "a")), None);
        }
        assert!(roster.parties.is_empty() && roster.pods.is_empty());
        assert!(roster.strangers.by_weight.is_empty() && roster.strangers.members.is_empty());
        assert!(roster.namespaces.by_weight.is_empty() && roster.namespaces.total == 0);
    }

    #[test]
    fn a_peer_with_a_network_of_addresses_counts_as_one() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(network("fd00:1:2:3:4:5:6:7"), "fd00:1:2:3::");
        assert_ne!(network("fd00:1:2:3::1"), network("fd00:1:2:4::1"));
    }
}
