//! Which connections are open, whose they are, and which must end when there are too many.
//!
//! Strangers, callers that have proved nothing yet, are counted by address. Pods, which have shown a valid token, are
//! counted by namespace and pod, and no number of strangers takes a place of theirs. API servers are counted by address:
//! whoever has seen the webhook's path passes for one.
//!
//! Of strangers that are equal, chance decides which one ends. If it were the oldest, more newcomers than can be served would
//! end each connection just when it is served. All that is decided takes a time that grows with the logarithm of
//! the number of connections.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use super::groups::{Entry, Number, Tree};

/// Connections of one pod. A sidecar has two, and for a moment those of the process before.
const OF_ONE_POD: usize = 8;

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) strangers: usize,
    /// Strangers that are being answered, beside those.
    pub(super) answered: usize,
    pub(super) api_servers: usize,
    pub(super) pods: usize,
}

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Stranger,
    /// A stranger that must not be interrupted: a scrape.
    Answered,
    ApiServer {
        is_busy: bool,
    },
    Pod {
        namespace: String,
        pod: String,
    },
}

#[derive(Debug)]
pub(super) struct Roster {
    limits: Limits,
    latest: Number,
    chance: RandomState,
    members: HashMap<Number, Member>,
    strangers: Tree<IpAddr>,
    answered: Tree<IpAddr>,
    idle_api_servers: Tree<IpAddr>,
    busy_api_servers: Tree<IpAddr>,
    pods: Tree<String>,
}

#[derive(Debug)]
struct Member {
    address: IpAddr,
    party: Party,
    entry: Entry,
}

impl Roster {
    pub(super) fn new(limits: Limits) -> Self {
        Roster {
            limits,
            latest: 0,
            chance: RandomState::new(),
            members: HashMap::new(),
            strangers: Tree::default(),
            answered: Tree::default(),
            idle_api_servers: Tree::default(),
            busy_api_servers: Tree::default(),
            pods: Tree::default(),
        }
    }

    /// Enters a new connection, and names the one that must end for it.
    pub(super) fn admit(&mut self, address: IpAddr) -> (Number, Option<Number>) {
        let is_full = self.strangers.total() >= self.limits.strangers;
        let evicted = is_full.then(|| self.any_stranger()).flatten();
        evicted.inspect(|number| self.remove(*number));
        let number = self.tick();
        self.enter(number, address.to_canonical(), Party::Stranger);
        (number, evicted)
    }

    /// Enters a connection as that of another party, and names the one that must end for it. Whose connection it is does
    /// not change once that is proved.
    pub(super) fn identify(&mut self, number: Number, party: Party) -> Option<Number> {
        let Member { address, party: before, .. } = self.members.get(&number)?;
        let may_become = match (before, &party) {
            (Party::Stranger, Party::Stranger) => false,
            (Party::Stranger, _) => true,
            (Party::Answered, Party::Stranger) | (Party::ApiServer { .. }, Party::ApiServer { .. }) => true,
            _ => false,
        };
        if !may_become {
            return None;
        }
        let address = *address;
        self.remove(number);
        self.enter(number, address, party);
        let evicted = self.too_many(number);
        evicted.inspect(|number| self.remove(*number))
    }

    pub(super) fn party(&self, number: Number) -> Option<(IpAddr, &Party)> {
        self.members.get(&number).map(|member| (member.address, &member.party))
    }

    /// Forgets a connection that ended.
    pub(super) fn remove(&mut self, number: Number) {
        let Some(Member { address, party, entry }) = self.members.remove(&number) else { return };
        match &party {
            Party::Pod { namespace, pod } => self.pods.remove(namespace, pod, entry),
            other => self.addresses(other).remove(&network_of(address), &address, entry),
        }
    }

    fn enter(&mut self, number: Number, address: IpAddr, party: Party) {
        let entry = (self.tick(), number);
        match &party {
            Party::Pod { namespace, pod } => self.pods.add(namespace, pod, entry),
            other => self.addresses(other).add(&network_of(address), &address, entry),
        }
        self.members.insert(number, Member { address, party, entry });
    }

    fn addresses(&mut self, party: &Party) -> &mut Tree<IpAddr> {
        match party {
            Party::Answered => &mut self.answered,
            Party::ApiServer { is_busy: true } => &mut self.busy_api_servers,
            Party::ApiServer { is_busy: false } => &mut self.idle_api_servers,
            Party::Stranger | Party::Pod { .. } => &mut self.strangers,
        }
    }

    /// The connection that must end after this one has changed its party.
    fn too_many(&self, newcomer: Number) -> Option<Number> {
        match &self.members.get(&newcomer)?.party {
            Party::Stranger => {
                let is_over = self.strangers.total() > self.limits.strangers;
                is_over.then(|| self.any_stranger()).flatten()
            }
            Party::Answered => {
                let is_over = self.answered.total() > self.limits.answered;
                is_over.then(|| self.answered.last_of_several().unwrap_or(newcomer))
            }
            Party::ApiServer { .. } => {
                let (idle, busy) = (&self.idle_api_servers, &self.busy_api_servers);
                let is_over = idle.total() + busy.total() > self.limits.api_servers;
                is_over.then(|| idle.first_to_end().or_else(|| busy.first_to_end())).flatten()
            }
            Party::Pod { namespace, pod } => {
                if let Some(oldest) = self.pods.first_above(OF_ONE_POD, namespace, pod) {
                    return Some(oldest);
                }
                let is_over = self.pods.total() > self.limits.pods;
                is_over.then(|| self.pods.first_to_end()).flatten()
            }
        }
    }

    fn any_stranger(&self) -> Option<Number> {
        self.strangers.any_to_end(self.chance.hash_one(self.latest))
    }

    fn tick(&mut self) -> u64 {
        self.latest += 1;
        self.latest
    }
}

/// The network of 64 bits in IPv6: a peer can have all of its addresses, as can the pods of a node.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
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

    fn roster(strangers: usize, others: usize) -> Roster {
        Roster::new(Limits { strangers, answered: others, api_servers: others, pods: others })
    }

    #[test]
    fn the_oldest_stranger_of_the_heaviest_address_makes_room() {
        // The addresses of strangers in the order in which they came, then the newcomer's, then the places of which one must
        // end.
        for (what, came, newcomer, evicted) in [
            ("there is room", &[1, 1, 1][..], 2, &[][..]),
            ("the heaviest is another", &[2, 1, 1, 3], 4, &[1]),
            ("the heaviest is the newcomer itself", &[2, 1, 1, 3], 1, &[1]),
            ("of equals any", &[3, 1, 2, 4], 5, &[0, 1, 2, 3]),
            ("of equals with several each, the oldest of either", &[2, 1, 1, 2], 5, &[0, 1]),
        ] {
            for _ in 0..20 {
                let mut roster = roster(4, 0);
                let numbers: Vec<_> = came.iter().map(|came| roster.admit(address(*came)).0).collect();
                let ended = roster.admit(address(newcomer)).1;
                let place = ended.map(|ended| numbers.iter().position(|number| *number == ended).unwrap());
                assert!(
                    place.map_or(evicted.is_empty(), |place| evicted.contains(&place)),
                    "{what}: {place:?}"
                );
            }
        }
    }

    /// Each is served in its turn, and must then stay for a little longer.
    #[test]
    fn more_newcomers_than_can_be_served_end_few_that_are_being_served() {
        let (mut roster, mut queue) = (roster(100, 0), std::collections::VecDeque::new());
        let (mut served, mut begun) = (0, std::collections::VecDeque::new());
        for newcomer in 0..10_000_u32 {
            queue.push_back(roster.admit(newcomer.to_be_bytes().into()).0);
            if newcomer.is_multiple_of(2) {
                let next = std::iter::from_fn(|| queue.pop_front()).find(|n| roster.party(*n).is_some());
                begun.push_back(next);
            }
            if begun.len() > 5 {
                let ended = begun.pop_front().flatten().filter(|n| roster.party(*n).is_some());
                ended.into_iter().for_each(|number| {
                    served += 1;
                    roster.remove(number);
                });
            }
        }
        assert!(served > 4_000, "of 5,000 that can be, {served} are served");
    }

    #[test]
    fn a_neighbour_in_the_same_ipv6_network_makes_no_room() {
        let neighbour: IpAddr = "fd00:1:2:3::1".parse().unwrap();
        let attacker: IpAddr = "fd00:1:2:3::2".parse().unwrap();
        let elsewhere: IpAddr = "fd00:1:2:4::1".parse().unwrap();
        let mut roster = roster(5, 0);
        let first = roster.admit(neighbour).0;
        let flood: Vec<_> = (0..20).filter_map(|_| roster.admit(attacker).1).collect();
        assert_eq!(flood.len(), 16);
        assert!(!flood.contains(&first));
        assert!(roster.admit(elsewhere).1.is_some_and(|ended| ended != first));
        // Many addresses of one network weigh as much as one.
        let mut roster = Roster::new(Limits { strangers: 4, answered: 0, api_servers: 0, pods: 0 });
        let first = roster.admit(elsewhere).0;
        let of_network = |n: u16| IpAddr::from([0xfd00, 1, 2, 3, 0, 0, 0, n]);
        let ended: Vec<_> = (0..20).filter_map(|n| roster.admit(of_network(n)).1).collect();
        assert!(ended.len() == 17 && !ended.contains(&first));
    }

    #[test]
    fn strangers_take_no_place_of_pods() {
        let mut roster = roster(2, 2);
        let identified = |roster: &mut Roster, party| {
            let number = roster.admit(address(1)).0;
            (number, roster.identify(number, party))
        };
        let first = identified(&mut roster, pod("calls", "a"));
        let second = identified(&mut roster, pod("calls", "b"));
        assert_eq!((first.1, second.1), (None, None));
        let ended: Vec<_> = (0..20).filter_map(|n| roster.admit(address(n)).1).collect();
        assert_eq!(ended.len(), 18);
        assert!(!ended.contains(&first.0) && !ended.contains(&second.0));
    }

    #[test]
    fn one_pod_has_eight_connections_however_much_room_there_is() {
        let mut roster = roster(10, 1000);
        let identify = |roster: &mut Roster, name| {
            let number = roster.admit(address(1)).0;
            (number, roster.identify(number, pod("calls", name)))
        };
        let other = identify(&mut roster, "other");
        let mine: Vec<_> = (0..10).map(|_| identify(&mut roster, "a")).collect();
        assert!(other.1.is_none() && mine[..8].iter().all(|(_, evicted)| evicted.is_none()));
        assert_eq!([mine[8].1, mine[9].1], [Some(mine[0].0), Some(mine[1].0)]);
    }

    #[test]
    fn above_the_limit_an_idle_api_server_of_the_heaviest_address_makes_room() {
        let mut roster = roster(10, 4);
        let (busy, idle) = (Party::ApiServer { is_busy: true }, Party::ApiServer { is_busy: false });
        let mut call = |from| {
            let number = roster.admit(address(from)).0;
            (number, roster.identify(number, busy.clone()))
        };
        let api_server = call(1);
        let flood: Vec<_> = (0..3).map(|_| call(2)).collect();
        assert!(api_server.1.is_none() && flood.iter().all(|(_, evicted)| evicted.is_none()));
        let all_busy = call(2);
        assert_eq!(all_busy.1, Some(flood[0].0), "the heaviest address's, as none is idle");
        roster.identify(flood[2].0, idle.clone());
        roster.identify(flood[1].0, idle.clone());
        let newcomer = roster.admit(address(3)).0;
        assert_eq!(roster.identify(newcomer, busy.clone()), Some(flood[2].0), "idle for longest");
        assert!(roster.party(api_server.0).is_some());
        assert_eq!(roster.identify(api_server.0, pod("calls", "a")), None, "it stays the API server's");
    }

    #[test]
    fn a_scrape_that_is_answered_ends_for_no_other_address() {
        let mut roster = roster(4, 4);
        let scrape = roster.admit(address(1)).0;
        assert_eq!(roster.identify(scrape, Party::Answered), None);
        let mut ended = Vec::new();
        for n in 0..100 {
            let (number, evicted) = roster.admit(address(2 + n));
            ended.extend(evicted.into_iter().chain(roster.identify(number, Party::Answered)));
        }
        assert!(!ended.contains(&scrape) && ended.len() == 97, "{}", ended.len());
        assert_eq!(roster.identify(scrape, Party::Stranger), None);
        let is_ended = (0..200).any(|n| roster.admit(address(2 + n)).1 == Some(scrape));
        assert!(is_ended, "once it is answered");
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
        roster.identify(numbers[1], Party::ApiServer { is_busy: true });
        roster.identify(numbers[2], Party::Answered);
        assert_eq!(roster.identify(numbers[0], pod("other", "b")), None, "a connection stays its pod's");
        for number in numbers {
            roster.remove(number);
            assert_eq!(roster.identify(number, pod("calls", "a")), None);
        }
        assert!(roster.members.is_empty() && roster.pods.is_empty());
        for tree in [&roster.strangers, &roster.answered, &roster.idle_api_servers, &roster.busy_api_servers]
        {
            assert!(tree.is_empty());
        }
    }
}
