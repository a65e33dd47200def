//! What bounds the work in progress. Memory bounds the bytes in motion: it is given back when the last byte of a body has
//! left the process, and a request that only waits for its answer holds none. How many requests are in flight follows
//! from S3's answers.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::api::{Answer, Silence};
use crate::domain::delivery::{Reply, RequestLimit, Sizes};
use crate::uploader::spool::buffers::BUFFER_BYTES;

/// Small recordings whose bytes are in motion.
const SMALL: usize = 16;
/// Streams at a time of recordings that go as a whole, and of parts. Each has three buffers at most.
const STREAMS: usize = 8;
/// Recordings that go in parts at a time. What each needs beside its parts is small.
const IN_PARTS: usize = 8;

/// How a recording goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeClass {
    /// From one buffer.
    Small,
    /// As one stream.
    Medium,
    /// In parts, each of which is a stream.
    Large,
}

impl SizeClass {
    /// The class of a recording of this size, in bytes.
    pub fn of(size: u64) -> Self {
        if size <= BUFFER_BYTES as u64 {
            SizeClass::Small
        } else if Sizes::default().part_of(size).is_none() {
            SizeClass::Medium
        } else {
            SizeClass::Large
        }
    }

    /// The class of a recording that goes as a whole, however large it is.
    pub fn as_whole(self) -> Self {
        if self == SizeClass::Small { SizeClass::Small } else { SizeClass::Medium }
    }
}

/// The work in progress.
#[derive(Debug)]
pub struct Concurrency {
    requests: RefCell<Requests>,
    memory: [Arc<Semaphore>; 3],
    in_parts: Cell<usize>,
    freed: Arc<Freed>,
    /// Somebody who waits for a request of a part may have it.
    part_may_go: Notify,
    began: Instant,
}

/// Whether there is room again for what the driver could not begin.
#[derive(Debug, Default)]
struct Freed {
    is_wanted: AtomicBool,
    is_there: Notify,
}

#[derive(Debug, Default)]
struct Requests {
    limit: RequestLimit,
    whole: usize,
    parts: usize,
    /// Whether a whole recording is due that there is no request for.
    whole_waits: bool,
    parts_wait: usize,
    last_was_part: bool,
}

impl Default for Concurrency {
    fn default() -> Self {
        Concurrency {
            requests: RefCell::default(),
            memory: [SMALL, STREAMS, STREAMS].map(|permits| Arc::new(Semaphore::new(permits))),
            in_parts: Cell::default(),
            freed: Arc::default(),
            part_may_go: Notify::new(),
            began: Instant::now(),
        }
    }
}

impl Requests {
    /// Whether one more may go. While both kinds are wanted, each has a quarter that the other cannot take.
    fn has_room(&self, of_part: bool) -> bool {
        let limit = self.limit.get();
        let (own, other_waits) =
            if of_part { (self.parts, self.whole_waits) } else { (self.whole, self.parts_wait > 0) };
        if !other_waits {
            return self.whole + self.parts < limit;
        }
        let own_share = (limit - limit.div_ceil(4)).max(1);
        let has_turn = limit > 1 || self.last_was_part != of_part;
        self.whole + self.parts < limit && own < own_share && has_turn
    }

    fn take(&mut self, of_part: bool) {
        *self.count(of_part) += 1;
        self.last_was_part = of_part;
    }

    fn count(&mut self, of_part: bool) -> &mut usize {
        if of_part { &mut self.parts } else { &mut self.whole }
    }
}

impl Concurrency {
    /// Whether another recording may go. Where not, `freed` tells when there may be room.
    pub fn has_room(&self, class: SizeClass) -> bool {
        let has_room = || match class {
            SizeClass::Large => self.in_parts.get() < IN_PARTS,
            whole => {
                self.requests.borrow().has_room(false) && self.memory[whole as usize].available_permits() > 0
            }
        };
        if has_room() {
            return true;
        }
        self.freed.is_wanted.store(true, Ordering::SeqCst);
        // Another thread may have given back memory before it could know that it is wanted.
        has_room()
    }

    /// A recording is due for which there is no room.
    pub fn is_due(&self, class: SizeClass) {
        if class != SizeClass::Large {
            self.requests.borrow_mut().whole_waits = true;
        }
    }

    /// Which recordings are due is found out once more.
    pub fn forget_due(&self) {
        self.requests.borrow_mut().whole_waits = false;
    }

    /// What a recording holds for which there was room.
    pub fn admit(self: &Rc<Self>, class: SizeClass) -> Admission {
        if class == SizeClass::Large {
            self.in_parts.update(|in_parts| in_parts + 1);
            return Admission { request: None, memory: None, in_parts: Some(InParts(self.clone())) };
        }
        let permit = self.memory[class as usize].clone().try_acquire_owned().ok();
        let memory = permit.map(|permit| self.memory_of(class, permit));
        Admission { request: Some(self.take_request(false)), memory, in_parts: None }
    }

    /// Waits until there may be room for what there was none for.
    pub async fn freed(&self) {
        self.freed.is_there.notified().await;
        self.freed.is_wanted.store(false, Ordering::SeqCst);
    }

    /// Waits for a request of a part.
    pub async fn request_of_part(self: &Rc<Self>) -> RequestPermit {
        self.requests.borrow_mut().parts_wait += 1;
        let waiting = Waiting(self);
        while !self.requests.borrow().has_room(true) {
            self.part_may_go.notified().await;
        }
        drop(waiting);
        let permit = self.take_request(true);
        self.wake_part();
        permit
    }

    /// Waits for memory for a body.
    pub async fn memory(&self, class: SizeClass) -> BodyMemory {
        let permit = self.memory[class as usize].clone().acquire_owned().await;
        self.memory_of(class, permit.expect("the semaphore is never closed"))
    }

    /// How many requests may be in flight now.
    #[cfg(test)]
    pub fn limit(&self) -> usize {
        self.requests.borrow().limit.get()
    }

    fn memory_of(&self, class: SizeClass, permit: OwnedSemaphorePermit) -> BodyMemory {
        BodyMemory {
            class,
            held: Some((permit, None)),
            freed: self.freed.clone(),
            written: Written::default(),
        }
    }

    fn take_request(self: &Rc<Self>, of_part: bool) -> RequestPermit {
        self.requests.borrow_mut().take(of_part);
        RequestPermit { concurrency: self.clone(), of_part }
    }

    /// Lets a part go if there is room for its request.
    pub fn wake_part(&self) {
        let requests = self.requests.borrow();
        if requests.parts_wait > 0 && requests.has_room(true) {
            self.part_may_go.notify_one();
        }
    }
}

struct Waiting<'a>(&'a Concurrency);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.requests.borrow_mut().parts_wait -= 1;
    }
}

impl Freed {
    fn note(&self) {
        if self.is_wanted.load(Ordering::SeqCst) {
            self.is_there.notify_one();
        }
    }
}

/// What a recording holds while it is worked on.
#[derive(Debug)]
pub struct Admission {
    /// A request, of a recording that goes as a whole.
    pub request: Option<RequestPermit>,
    /// Memory for its body.
    pub memory: Option<BodyMemory>,
    /// The place among the recordings that go in parts.
    pub in_parts: Option<InParts>,
}

#[derive(Debug)]
pub struct InParts(Rc<Concurrency>);

impl Drop for InParts {
    fn drop(&mut self) {
        self.0.in_parts.update(|in_parts| in_parts - 1);
        self.0.freed.note();
    }
}

/// Allows one request to be in flight.
#[derive(Debug)]
pub struct RequestPermit {
    concurrency: Rc<Concurrency>,
    of_part: bool,
}

impl RequestPermit {
    /// Makes a call with a body of so many bytes, and lets the limit follow from the answer.
    pub async fn call<T>(
        &self,
        bytes: u64,
        written: &Written,
        call: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        let since = |at: Instant| at.saturating_duration_since(self.concurrency.began);
        let sent = Instant::now();
        let answer = call.await;
        let now = Instant::now();
        let reply = match (&answer, written.0.get()) {
            (Answer::Granted(_), Some(written)) => {
                Reply::Granted { bytes, waited: now.saturating_duration_since(*written) }
            }
            (Answer::Refused(refusal), _) if refusal.is_throttle() || refusal.status == 503 => {
                Reply::SlowDown
            }
            (Answer::Silent(Silence::Timeout), _) => Reply::TimedOut,
            _ => Reply::Other,
        };
        let mut requests = self.concurrency.requests.borrow_mut();
        let in_flight = requests.whole + requests.parts;
        requests.limit.note(reply, since(sent), in_flight, since(now));
        answer
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        *self.concurrency.requests.borrow_mut().count(self.of_part) -= 1;
        self.concurrency.freed.note();
        self.concurrency.wake_part();
    }
}

/// When the last byte of a body left the process.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<OnceLock<Instant>>);

/// Memory for the body of one request. Every buffer of the body holds it.
#[derive(Debug)]
pub struct BodyMemory {
    pub class: SizeClass,
    held: Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)>,
    freed: Arc<Freed>,
    written: Written,
}

impl BodyMemory {
    /// Gives back another permit together with this one.
    pub fn with(mut self, other: OwnedSemaphorePermit) -> Self {
        if let Some((_, also)) = &mut self.held {
            *also = Some(other);
        }
        self
    }

    pub fn written(&self) -> Written {
        self.written.clone()
    }

    /// For the buffers of the body.
    pub fn share(self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(self)
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        let _ = self.written.0.set(Instant::now());
        // Before anybody is told that there is room.
        self.held = None;
        self.freed.note();
    }
}

#[cfg(test)]
mod tests;
