//! Connections that a server holds at a time, and whom one gives way to when there are too many.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Bytes that a connection may make us hold before a request is understood. Tokens and their headers
/// take a few thousand; hyper's own limit, 400 KiB, lets few callers fill a small process.
pub(super) const LARGEST_BUFFER: usize = 32 * 1024;

/// Counts connections while they last. When there are too many, the newest of the peer with most of them ends for a
/// peer with fewer: so nobody, nor several together, can keep others out.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    most: usize,
    unread: Duration,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    of_peers: HashMap<IpAddr, BTreeMap<u64, Arc<Ending>>>,
    number: u64,
    all: usize,
}

/// Tells a connection that it must end.
#[derive(Debug, Default)]
struct Ending {
    told: AtomicBool,
    waker: AtomicWaker,
}

/// A connection that is counted until it ends.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    place: Place,
    unread: Duration,
    /// Runs while the other side takes nothing of what we have to say.
    stuck: Option<Pin<Box<Sleep>>>,
}

/// A place among the connections of a peer.
#[derive(Debug)]
struct Place {
    held: Arc<Mutex<Held>>,
    peer: IpAddr,
    number: u64,
    ending: Arc<Ending>,
}

impl Admission {
    /// Room for `most` connections. One that does not read what it is sent for `unread` ends.
    pub(super) fn new(most: usize, unread: Duration) -> Self {
        Admission { most, unread, held: Arc::default() }
    }

    /// A place for a connection of `peer`, if it has fewer than others.
    fn admit(&self, peer: IpAddr) -> Option<Place> {
        let mut held = self.held.lock().expect("nobody panics while holding it");
        if held.all >= self.most {
            let own = held.of_peers.get(&peer).map_or(0, BTreeMap::len);
            let heaviest = held.of_peers.values_mut().max_by_key(|connections| connections.len())?;
            if heaviest.len() <= own + 1 {
                return None;
            }
            let (_, ending) = heaviest.pop_last()?;
            held.all -= 1;
            ending.told.store(true, Ordering::Release);
            ending.waker.wake();
        }
        held.number += 1;
        held.all += 1;
        let (number, ending) = (held.number, Arc::<Ending>::default());
        held.of_peers.entry(peer).or_default().insert(number, ending.clone());
        Some(Place { held: self.held.clone(), peer, number, ending })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().expect("nobody panics while holding it");
        let Some(connections) = held.of_peers.get_mut(&self.peer) else { return };
        let was_held = connections.remove(&self.number).is_some();
        if connections.is_empty() {
            held.of_peers.remove(&self.peer);
        }
        held.all -= usize::from(was_held);
    }
}

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = Counted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let counted = || {
            let peer = stream.peer_addr()?.ip().to_canonical();
            let place = self.admit(peer).ok_or_else(|| io::Error::other("too many connections"))?;
            stream.set_nodelay(true)?;
            Ok(Counted { stream, place, unread: self.unread, stuck: None })
        };
        std::future::ready(counted().map(|counted| (counted, service)))
    }
}

impl Counted {
    /// Fails once the connection must end; else the one who polls is woken when it must.
    fn is_welcome(&self, cx: &Context<'_>) -> io::Result<()> {
        self.place.ending.waker.register(cx.waker());
        match self.place.ending.told.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    /// Fails when nothing of what is written has been taken for too long.
    fn in_time<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let unread = self.unread;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(unread)));
        stuck.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_welcome(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_welcome(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> IpAddr {
        [10, 244, 0, number].into()
    }

    #[test]
    fn peers_that_hold_all_connections_make_room_for_those_with_fewer() {
        let admission = Admission::new(100, Duration::ZERO);
        let greedy: Vec<_> = (0..100).map(|n| admission.admit(peer(n % 4)).unwrap()).collect();
        assert!(admission.admit(peer(0)).is_none(), "not for one of those");
        let newcomers: Vec<_> = (10..30).map(|number| admission.admit(peer(number)).unwrap()).collect();
        let told = |places: &[Place]| {
            places.iter().filter(|place| place.ending.told.load(Ordering::Acquire)).count()
        };
        assert_eq!((told(&greedy), told(&newcomers)), (20, 0));
        assert_eq!(told(&greedy[..80]), 0, "the newest go");
        assert!(admission.admit(peer(0)).is_none());

        drop(greedy);
        assert_eq!(admission.held.lock().unwrap().all, 20);
        drop(newcomers);
        let held = admission.held.lock().unwrap();
        assert!(held.all == 0 && held.of_peers.is_empty(), "what ended is forgotten");
    }
}
