//! Limits the connections that a server holds, fairly between peers.

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

/// Bytes that a connection may buffer before its request is parsed. Tokens and their headers take a few thousand; with
/// hyper's own limit, 400 KiB, few callers could fill the memory of a small process.
pub(super) const LARGEST_BUFFER: usize = 32 * 1024;

/// Counts connections while they are open. Above the limit, the newest connection of the peer with the most of them is
/// closed for a peer with fewer, so that no peer, nor several together, can lock others out.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    most: usize,
    unread: Duration,
    open: Arc<Mutex<OpenConnections>>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    of_peers: HashMap<IpAddr, BTreeMap<u64, Arc<Ending>>>,
    number: u64,
    all: usize,
}

/// Signals a connection that it must end.
#[derive(Debug, Default)]
struct Ending {
    signalled: AtomicBool,
    waker: AtomicWaker,
}

/// A connection that is counted until it ends.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    slot: Slot,
    unread: Duration,
    /// Runs while the peer reads nothing of what is written.
    stuck: Option<Pin<Box<Sleep>>>,
}

/// One of the connections that a peer has.
#[derive(Debug)]
struct Slot {
    open: Arc<Mutex<OpenConnections>>,
    peer: IpAddr,
    number: u64,
    ending: Arc<Ending>,
}

impl Admission {
    /// Allows `most` connections. A connection whose peer reads nothing for `unread` is closed.
    pub(super) fn new(most: usize, unread: Duration) -> Self {
        Admission { most, unread, open: Arc::default() }
    }

    /// A slot for a connection of `peer`, if the peer has fewer than others.
    fn admit(&self, peer: IpAddr) -> Option<Slot> {
        let mut open = self.open.lock().expect("no thread panics while holding the lock");
        if open.all >= self.most {
            let own = open.of_peers.get(&peer).map_or(0, BTreeMap::len);
            let heaviest = open.of_peers.values_mut().max_by_key(|connections| connections.len())?;
            if heaviest.len() <= own + 1 {
                return None;
            }
            let (_, ending) = heaviest.pop_last()?;
            open.all -= 1;
            ending.signalled.store(true, Ordering::Release);
            ending.waker.wake();
        }
        open.number += 1;
        open.all += 1;
        let (number, ending) = (open.number, Arc::<Ending>::default());
        open.of_peers.entry(peer).or_default().insert(number, ending.clone());
        Some(Slot { open: self.open.clone(), peer, number, ending })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.open.lock().expect("no thread panics while holding the lock");
        let Some(connections) = open.of_peers.get_mut(&self.peer) else { return };
        let was_held = connections.remove(&self.number).is_some();
        if connections.is_empty() {
            open.of_peers.remove(&self.peer);
        }
        open.all -= usize::from(was_held);
    }
}

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = Counted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let counted = || {
            let peer = stream.peer_addr()?.ip().to_canonical();
            let slot = self.admit(peer).ok_or_else(|| io::Error::other("too many connections"))?;
            stream.set_nodelay(true)?;
            Ok(Counted { stream, slot, unread: self.unread, stuck: None })
        };
        std::future::ready(counted().map(|counted| (counted, service)))
    }
}

impl Counted {
    /// Fails once the connection must end; until then the polling task is woken when it must.
    fn check_not_ended(&self, cx: &Context<'_>) -> io::Result<()> {
        self.slot.ending.waker.register(cx.waker());
        match self.slot.ending.signalled.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    /// Fails when the peer has read nothing for too long.
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
        self.check_not_ended(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_not_ended(cx)?;
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
        let signalled = |slots: &[Slot]| {
            slots.iter().filter(|slot| slot.ending.signalled.load(Ordering::Acquire)).count()
        };
        assert_eq!((signalled(&greedy), signalled(&newcomers)), (20, 0));
        assert_eq!(signalled(&greedy[..80]), 0, "the newest go");
        assert!(admission.admit(peer(0)).is_none());

        drop(greedy);
        assert_eq!(admission.open.lock().unwrap().all, 20);
        drop(newcomers);
        let open = admission.open.lock().unwrap();
        assert!(open.all == 0 && open.of_peers.is_empty(), "what ended is forgotten");
    }
}
