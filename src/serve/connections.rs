//! Connections that a server holds at a time: in all, and of one peer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// At the same time, in all: beyond it, new ones are dropped rather than memory run out of.
pub(super) const CONNECTIONS: usize = 1000;
/// The same of one address, so that no pod keeps others out. Behind some networks a whole node has one address.
pub(super) const CONNECTIONS_OF_A_PEER: usize = 250;

/// Counts connections while they last, and drops those that come when there are too many.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection that is counted until it ends.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    _place: Place,
}

/// A place among the connections of a peer.
#[derive(Debug)]
struct Place {
    admission: Admission,
    peer: IpAddr,
}

impl Admission {
    /// A place for a connection of `peer`, if there is one.
    fn admit(&self, peer: IpAddr) -> Option<Place> {
        let mut held = self.held.lock().expect("nobody panics while holding it");
        let of_peer = held.get(&peer).copied().unwrap_or_default();
        if of_peer >= CONNECTIONS_OF_A_PEER || held.values().sum::<usize>() >= CONNECTIONS {
            return None;
        }
        held.insert(peer, of_peer + 1);
        Some(Place { admission: self.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.admission.held.lock().expect("nobody panics while holding it");
        match held.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = held.remove(&self.peer),
        }
    }
}

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = Counted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let counted = || {
            let peer = stream.peer_addr().map(|address: SocketAddr| address.ip().to_canonical())?;
            let place = self.admit(peer).ok_or_else(|| io::Error::other("too many connections"))?;
            stream.set_nodelay(true)?;
            Ok(Counted { stream, _place: place })
        };
        std::future::ready(counted().map(|counted| (counted, service)))
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
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
    fn one_peer_never_takes_the_places_of_others() {
        let admission = Admission::default();
        let mut greedy: Vec<_> = (0..CONNECTIONS_OF_A_PEER).map(|_| admission.admit(peer(1))).collect();
        assert!(greedy.iter().all(Option::is_some));
        assert!(admission.admit(peer(1)).is_none());
        assert!(admission.admit(peer(2)).is_some());
        greedy.pop();
        assert!(admission.admit(peer(1)).is_some(), "one that ended makes room");
    }

    #[test]
    fn there_is_an_end_to_all_of_them_together_and_what_ended_is_forgotten() {
        let admission = Admission::default();
        let all: Vec<_> =
            (0..CONNECTIONS).map(|n| admission.admit(peer((n / CONNECTIONS_OF_A_PEER) as u8))).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(admission.admit(peer(99)).is_none());
        drop(all);
        assert!(admission.admit(peer(99)).is_some());
        assert!(admission.held.lock().unwrap().is_empty());
    }
}
