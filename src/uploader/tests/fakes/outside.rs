//! A broker and an S3 that do as a test asks.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::api::{Answer, Crc64Nvme, DeliveryReport, DestinationDocument, Head, Part, Refusal, Silence};
use crate::aws::Body;
use crate::secret::SessionCredentials;
use crate::uploader::broker::{Broker, BrokerReply};
use crate::uploader::storage::{Bucket, Storage};

/// What a call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out; the answer carries no checksum.
    NoChecksum,
    /// It is carried out, and the answer lost.
    AnswerLost,
    /// It is carried out with other bytes than were sent, and granted as if they were ours.
    Garbled,
    /// It is granted, and nothing is done.
    Lie,
    /// It is carried out; the answer names the checksum of something else.
    WrongChecksum,
    /// It never arrives.
    RequestLost,
    /// It is refused.
    Refused(u16, &'static str),
    /// It is refused, and so is every put of the same recording for so many seconds.
    RefusedFor(u64, u16, &'static str),
    /// Its session has expired, and for so many seconds STS throttles the broker, which has no other to give.
    NoSessionFor(u64),
    /// Its session has expired, and for so many seconds the broker answers nothing at all.
    NoBrokerFor(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub has_checksum: bool,
}

/// Everything outside the sidecar.
#[derive(Default)]
pub struct Outside {
    pub objects: BTreeMap<String, Object>,
    /// Of the coming puts, and of the coming heads.
    pub put_faults: VecDeque<Fault>,
    pub head_faults: VecDeque<(u16, &'static str)>,
    /// Of the next calls that begin so, such as `PART 2`; each happens once.
    pub faults: Vec<(&'static str, Fault)>,
    /// Of the calls with these numbers, from 0.
    pub plan: BTreeMap<usize, Fault>,
    /// Of every call that begins so, until then or for ever.
    pub standing: Vec<(String, Option<Instant>, Fault)>,
    /// When a call was made first.
    pub first_calls: BTreeMap<String, Instant>,
    /// When an object was made.
    pub made: BTreeMap<String, Instant>,
    /// Uploads in parts that are open: their keys, and the bytes of their parts.
    pub uploads: BTreeMap<String, (String, BTreeMap<i32, Vec<u8>>)>,
    /// How many were begun.
    pub uploads_begun: u32,
    /// Calls in the order in which they came, such as `PUT calls/a.wav`.
    pub calls: Vec<String>,
    /// How often the broker was asked where recordings go.
    pub asked: u32,
    /// What the broker says; `None`: it refuses.
    pub destination: Option<DestinationDocument>,
    pub sessions: u32,
    /// How far the sidecar's clock is ahead of AWS's, in hours.
    pub clock_ahead: i64,
    /// The broker has no session to give: STS throttles it, or it is gone.
    pub no_sessions: bool,
    /// The same until then.
    pub no_sessions_until: Option<Instant>,
    /// AWS refuses the broker the destination's role, with this code.
    pub role_refused: Option<&'static str>,
    /// The access key IDs that the broker was told S3 did not take.
    pub refused_keys: Vec<String>,
    /// The broker is gone until then.
    pub no_broker_until: Option<Instant>,
    /// Questions that the broker did not answer with what was asked for.
    pub turned_away: u32,
    pub reports: Vec<DeliveryReport>,
    pub reports_refused: bool,
    /// Done once in the middle of the next put, and of the next part.
    pub during_put: Option<Box<dyn FnOnce()>>,
    pub during_part: Option<Box<dyn FnOnce()>>,
}

pub type World = Rc<RefCell<Outside>>;

pub struct FakeBroker(pub World);

impl Broker for FakeBroker {
    async fn destination(&self) -> BrokerReply<DestinationDocument> {
        self.0.borrow_mut().asked += 1;
        if let Some(why) = self.0.borrow_mut().away() {
            return BrokerReply::Unavailable(why);
        }
        self.0.borrow().destination.clone().map_or(BrokerReply::Refused, BrokerReply::Granted)
    }

    async fn credentials(&self, refused: Option<&str>) -> BrokerReply<SessionCredentials> {
        let mut outside = self.0.borrow_mut();
        if let Some(why) = outside.away() {
            return BrokerReply::Unavailable(why);
        }
        outside.refused_keys.extend(refused.map(str::to_owned));
        if let Some(code) = outside.role_refused {
            return BrokerReply::RoleRefused(code);
        }
        if outside.no_sessions || outside.no_sessions_until.is_some_and(|end| Instant::now() < end) {
            outside.turned_away += 1;
            return BrokerReply::Unavailable(
                "the broker answered 503: STS answered 400 Throttling".to_owned(),
            );
        }
        outside.sessions += 1;
        BrokerReply::Granted(SessionCredentials {
            access_key_id: format!("ASIA{}", outside.sessions),
            secret_access_key: "secret".into(),
            session_token: "token".into(),
            expiration: Timestamp::now() + SignedDuration::from_hours(1 - outside.clock_ahead),
        })
    }

    async fn report(&self, report: &DeliveryReport) -> BrokerReply<()> {
        let mut outside = self.0.borrow_mut();
        if let Some(why) = outside.away() {
            return BrokerReply::Unavailable(why);
        }
        if outside.reports_refused {
            return BrokerReply::Refused;
        }
        outside.reports.push(report.clone());
        BrokerReply::Granted(())
    }
}

pub struct FakeStorage(pub World);

impl Storage for FakeStorage {
    type Bucket = FakeBucket;

    fn bucket(&self, _: &DestinationDocument, _: &SessionCredentials) -> FakeBucket {
        FakeBucket(self.0.clone())
    }
}

pub struct FakeBucket(World);

fn refused<T>(status: u16, code: &str) -> Answer<T> {
    Answer::Refused(Refusal { status, code: code.to_owned(), ..Refusal::default() })
}

/// All of a body, or nothing if it breaks off.
async fn read(body: Body) -> Option<Vec<u8>> {
    let (mut chunks, size) = match body {
        Body::Bytes(bytes) => return Some(bytes.to_vec()),
        Body::Chunks(chunks, size) => (chunks, size),
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        bytes.extend_from_slice(&chunk.ok()?);
    }
    (bytes.len() as u64 == size).then_some(bytes)
}

impl Outside {
    /// Takes note of a call, and says what is to go wrong with it.
    fn call(&mut self, call: String) -> Option<Fault> {
        let named = self.faults.iter().position(|(begins, _)| call.starts_with(begins));
        let planned = self.plan.remove(&self.calls.len());
        let lasts = |until: &Option<Instant>| until.is_none_or(|until| Instant::now() < until);
        let mut standing = self.standing.iter();
        let standing = standing.find(|(begins, until, _)| call.starts_with(begins) && lasts(until));
        let standing = standing.map(|(.., fault)| fault.clone());
        self.first_calls.entry(call.clone()).or_insert_with(Instant::now);
        let key = call.rsplit(' ').next().unwrap_or_default().to_owned();
        self.calls.push(call);
        let fault = named.map(|at| self.faults.remove(at).1).or(planned).or(standing);
        let end = |seconds| Some(Instant::now() + Duration::from_secs(seconds));
        if let Some(Fault::RefusedFor(seconds, status, code)) = fault {
            let refused = Fault::Refused(status, code);
            for begins in ["PUT", "CREATE", "COMPLETE"] {
                self.standing.push((format!("{begins} {key}"), end(seconds), refused.clone()));
            }
            return Some(refused);
        }
        match fault {
            Some(Fault::NoSessionFor(seconds)) => self.no_sessions_until = end(seconds),
            Some(Fault::NoBrokerFor(seconds)) => self.no_broker_until = end(seconds),
            fault => return fault,
        }
        Some(Fault::Refused(400, "ExpiredToken"))
    }

    /// Why the broker does not answer, if it does not.
    fn away(&mut self) -> Option<String> {
        let away = self.no_broker_until.is_some_and(|end| Instant::now() < end);
        self.turned_away += u32::from(away);
        away.then(|| "Connection refused".to_owned())
    }

    fn keep(
        &mut self,
        key: &str,
        bytes: Vec<u8>,
        crc64nvme: Crc64Nvme,
        fault: Option<&Fault>,
    ) -> Answer<Option<Crc64Nvme>> {
        if self.objects.contains_key(key) {
            return refused(412, "PreconditionFailed");
        }
        if fault == Some(&Fault::Lie) {
            return Answer::Granted(None);
        }
        self.objects.insert(key.to_owned(), Object { bytes, has_checksum: true });
        self.made.insert(key.to_owned(), Instant::now());
        match fault {
            Some(Fault::AnswerLost) => Answer::Silent(Silence::Connection),
            Some(Fault::NoChecksum | Fault::Garbled) => Answer::Granted(None),
            Some(Fault::WrongChecksum) => Answer::Granted(Some(Crc64Nvme(!crc64nvme.0))),
            _ => Answer::Granted(Some(crc64nvme)),
        }
    }
}

impl Bucket for FakeBucket {
    async fn put_if_absent(&self, key: &str, body: Body, crc64nvme: Crc64Nvme) -> Answer<Option<Crc64Nvme>> {
        if let Some(act) = self.0.borrow_mut().during_put.take() {
            act();
        }
        let bytes = read(body).await;
        tokio::task::yield_now().await;
        let mut outside = self.0.borrow_mut();
        let fault = outside.call(format!("PUT {key}"));
        let fault = outside.put_faults.pop_front().or(fault);
        let Some(mut bytes) = bytes else { return Answer::Silent(Silence::Connection) };
        match fault {
            Some(Fault::RequestLost) => return Answer::Silent(Silence::Timeout),
            Some(Fault::Refused(status, code)) => return refused(status, code),
            Some(Fault::Garbled) => bytes = b"other".to_vec(),
            _ if Crc64Nvme::of(&bytes) != crc64nvme => return refused(400, "BadDigest"),
            _ => {}
        }
        outside.keep(key, bytes, crc64nvme, fault.as_ref())
    }

    async fn create_multipart(&self, key: &str) -> Answer<String> {
        let mut outside = self.0.borrow_mut();
        let fault = outside.call(format!("CREATE {key}"));
        match fault {
            Some(Fault::RequestLost) => return Answer::Silent(Silence::Timeout),
            Some(Fault::Refused(status, code)) => return refused(status, code),
            _ => {}
        }
        outside.uploads_begun += 1;
        let upload_id = format!("upload/{}", outside.uploads_begun);
        if fault != Some(Fault::Lie) {
            outside.uploads.insert(upload_id.clone(), (key.to_owned(), BTreeMap::new()));
        }
        if fault == Some(Fault::AnswerLost) {
            Answer::Silent(Silence::Connection)
        } else {
            Answer::Granted(upload_id)
        }
    }

    async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: i32,
        body: Body,
        crc64nvme: Crc64Nvme,
    ) -> Answer<Part> {
        let bytes = read(body).await;
        if let Some(act) = self.0.borrow_mut().during_part.take() {
            act();
        }
        tokio::task::yield_now().await;
        let mut outside = self.0.borrow_mut();
        let fault = outside.call(format!("PART {number} {key}"));
        let Some(bytes) = bytes else { return Answer::Silent(Silence::Connection) };
        match fault {
            Some(Fault::RequestLost) => return Answer::Silent(Silence::Timeout),
            Some(Fault::Refused(status, code)) => return refused(status, code),
            _ if Crc64Nvme::of(&bytes) != crc64nvme => return refused(400, "BadDigest"),
            _ => {}
        }
        let Some((_, parts)) = outside.uploads.get_mut(upload_id) else {
            return refused(404, "NoSuchUpload");
        };
        if fault != Some(Fault::Lie) {
            parts.insert(number, bytes);
        }
        match fault {
            Some(Fault::AnswerLost) => Answer::Silent(Silence::Connection),
            _ => Answer::Granted(Part { number, etag: format!("\"{number}-{crc64nvme}\""), crc64nvme }),
        }
    }

    async fn complete_multipart(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[Part],
        crc64nvme: Crc64Nvme,
    ) -> Answer<Option<Crc64Nvme>> {
        let mut outside = self.0.borrow_mut();
        let fault = outside.call(format!("COMPLETE {key}"));
        match fault {
            Some(Fault::RequestLost) => return Answer::Silent(Silence::Timeout),
            Some(Fault::Refused(status, code)) => return refused(status, code),
            _ => {}
        }
        if outside.objects.contains_key(key) && outside.uploads.contains_key(upload_id) {
            return refused(412, "PreconditionFailed");
        }
        let Some((_, held)) = outside.uploads.get(upload_id) else { return refused(404, "NoSuchUpload") };
        let mut bytes = Vec::new();
        for part in parts {
            match held.get(&part.number) {
                Some(content) if part.etag == format!("\"{}-{}\"", part.number, Crc64Nvme::of(content)) => {
                    bytes.extend_from_slice(content);
                }
                _ => return refused(400, "InvalidPart"),
            }
        }
        if fault == Some(Fault::Garbled) {
            bytes = b"other".to_vec();
        } else if Crc64Nvme::of(&bytes) != crc64nvme {
            return refused(400, "BadDigest");
        }
        if fault != Some(Fault::Lie) {
            outside.uploads.remove(upload_id);
        }
        outside.keep(key, bytes, crc64nvme, fault.as_ref())
    }

    async fn abort_multipart(&self, key: &str, upload_id: &str) -> Answer {
        let mut outside = self.0.borrow_mut();
        match outside.call(format!("ABORT {key}")) {
            Some(Fault::Refused(status, code)) => refused(status, code),
            Some(_) => Answer::Silent(Silence::Timeout),
            None if outside.uploads.remove(upload_id).is_none() => refused(404, "NoSuchUpload"),
            None => Answer::Granted(()),
        }
    }

    async fn head(&self, key: &str) -> Answer<Head> {
        let mut outside = self.0.borrow_mut();
        if let Some(fault) = outside.call(format!("HEAD {key}")) {
            return match fault {
                Fault::Refused(status, code) => refused(status, code),
                _ => Answer::Silent(Silence::Timeout),
            };
        }
        if let Some((status, code)) = outside.head_faults.pop_front() {
            return refused(status, code);
        }
        match outside.objects.get(key) {
            Some(object) => Answer::Granted(Head {
                crc64nvme: object.has_checksum.then(|| Crc64Nvme::of(&object.bytes)),
                size: object.bytes.len() as u64,
            }),
            // Without ListBucket.
            None => refused(403, ""),
        }
    }

    async fn read_back(&self, key: &str) -> Answer<Crc64Nvme> {
        let mut outside = self.0.borrow_mut();
        if let Some(Fault::Refused(status, code)) = outside.call(format!("GET {key}")) {
            return refused(status, code);
        }
        outside
            .objects
            .get(key)
            .map_or(refused(403, "AccessDenied"), |object| Answer::Granted(Crc64Nvme::of(&object.bytes)))
    }
}
