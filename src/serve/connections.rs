//! Counts the connections of a server while they are open, and ends those that must make room.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::Request;
use axum::http::request::Parts;
use axum_server::accept::Accept;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep, timeout};
use tower_service::Service;

use super::groups::Number;
use super::roster::{Limits, Party, Roster};

/// Bytes that a connection may buffer before its request is parsed. Tokens and their headers take a few thousand; with
/// hyper's own limit, 400 KiB, few callers could fill the memory of a small process.
pub(super) const LARGEST_BUFFER: usize = 16 * 1024;
/// Longest answer to a stranger that is not interrupted.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// How long the end of an answer may take to leave once all of it is written.
const FLUSH: Duration = Duration::from_secs(1);

/// Admits every newcomer, and ends another connection for it where there are too many.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    unread: Duration,
    open: Arc<Mutex<OpenConnections>>,
}

#[derive(Debug)]
struct OpenConnections {
    roster: Roster,
    endings: HashMap<Number, Arc<Ending>>,
}

/// Signals a connection that it must end.
#[derive(Debug, Default)]
pub(super) struct Ending {
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

/// A connection's place among those that are open.
#[derive(Debug)]
struct Slot {
    caller: Caller,
    ending: Arc<Ending>,
}

/// The connection that a request came by. A handler tells whose it is, once the caller has proved that.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Absent where a handler is called without a connection.
    connection: Option<(Arc<Mutex<OpenConnections>>, Number)>,
}

/// A request is being answered until this is dropped.
#[must_use]
pub struct Answering(Option<Box<dyn FnOnce() + Send>>);

/// A service whose requests tell by which connection they came.
#[derive(Clone)]
pub(super) struct WithCaller<S> {
    pub(super) caller: Caller,
    pub(super) service: S,
}

impl Admission {
    /// A connection whose peer reads nothing for `unread` is closed.
    pub(super) fn new(limits: Limits, unread: Duration) -> Self {
        let open = OpenConnections { roster: Roster::new(limits), endings: HashMap::new() };
        Admission { unread, open: Arc::new(Mutex::new(open)) }
    }

    pub(super) fn count(&self, stream: TcpStream) -> io::Result<Counted> {
        let peer = stream.peer_addr()?.ip();
        stream.set_nodelay(true)?;
        let ending = Arc::<Ending>::default();
        let number = {
            let mut open = lock(&self.open);
            let (number, evicted) = open.roster.admit(peer);
            open.endings.insert(number, ending.clone());
            open.end(evicted);
            number
        };
        let slot = Slot { caller: Caller { connection: Some((self.open.clone(), number)) }, ending };
        Ok(Counted { stream, slot, unread: self.unread, stuck: None })
    }
}

impl OpenConnections {
    fn end(&mut self, evicted: Option<Number>) {
        if let Some(ending) = evicted.and_then(|number| self.endings.remove(&number)) {
            ending.signalled.store(true, Ordering::Release);
            ending.waker.wake();
        }
    }
}

impl Caller {
    /// The connection is that of a pod which has shown a valid token.
    pub fn is_pod(&self, namespace: &str, pod: &str) {
        self.is(|| Party::Pod { namespace: namespace.to_owned(), pod: pod.to_owned() });
    }

    /// The connection is the API server's, which is being answered until the guard is dropped.
    pub fn is_api_server(&self) -> Answering {
        self.is(|| Party::ApiServer { is_busy: true });
        let caller = self.clone();
        Answering(Some(Box::new(move || caller.is(|| Party::ApiServer { is_busy: false }))))
    }

    /// A stranger that is being answered until the guard is dropped; meanwhile its connection makes room for no other's.
    /// An answer that takes too long is cut off.
    pub(super) fn is_answered(&self) -> Answering {
        self.is(|| Party::Answered);
        let (answered, end) = oneshot::channel::<()>();
        let caller = self.clone();
        tokio::spawn(async move {
            if timeout(LONGEST_ANSWER, end).await.is_err() {
                return caller.end();
            }
            sleep(FLUSH).await;
            caller.is(|| Party::Stranger);
        });
        Answering(Some(Box::new(|| drop(answered))))
    }

    /// A stranger's connection from this address.
    #[cfg(test)]
    pub fn stranger(address: std::net::IpAddr) -> Self {
        let limits = Limits { strangers: 1, answered: 0, api_servers: 1, pods: 1 };
        let admission = Admission::new(limits, Duration::ZERO);
        let number = lock(&admission.open).roster.admit(address).0;
        Caller { connection: Some((admission.open, number)) }
    }

    /// Who asks, as far as it is known: a namespace, or an address. Callers that share limits take turns by it.
    pub fn key(&self) -> String {
        let Some((open, number)) = &self.connection else { return String::new() };
        match lock(open).roster.party(*number) {
            Some((_, Party::Pod { namespace, .. })) => namespace.clone(),
            // A whole address, as all pods of a node can be of one /64. None is the name of a namespace.
            Some((address, _)) => format!("@{address}"),
            None => String::new(),
        }
    }

    fn is(&self, party: impl FnOnce() -> Party) {
        if let Some((open, number)) = &self.connection {
            let mut open = lock(open);
            let evicted = open.roster.identify(*number, party());
            open.end(evicted);
        }
    }

    fn end(&self) {
        if let Some((open, number)) = &self.connection {
            lock(open).end(Some(*number));
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((open, number)) = &self.caller.connection {
            let mut open = lock(open);
            open.roster.remove(*number);
            open.endings.remove(number);
        }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithCaller<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.caller.clone());
        self.service.call(request)
    }
}

fn lock(open: &Mutex<OpenConnections>) -> MutexGuard<'_, OpenConnections> {
    open.lock().expect("no thread panics while holding the lock")
}

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = Counted;
    type Service = WithCaller<S>;
    type Future = std::future::Ready<io::Result<(Counted, WithCaller<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(self.count(stream).map(|counted| {
            let caller = counted.caller();
            (counted, WithCaller { caller, service })
        }))
    }
}

impl Ending {
    /// Fails once the connection must end; until then the polling task is woken when it must.
    pub(super) fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.waker.register(cx.waker());
        match self.signalled.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl Counted {
    pub(super) fn caller(&self) -> Caller {
        self.slot.caller.clone()
    }

    pub(super) fn ending(&self) -> Arc<Ending> {
        self.slot.ending.clone()
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
        self.slot.ending.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.slot.ending.check(cx)?;
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
