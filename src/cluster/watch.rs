//! A watch that says when the copy it feeds is known to be current.
//!
//! kube's own watcher keeps bookmarks to itself, so its user cannot tell a quiet watch from one whose packets are lost.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{AsyncReadExt as _, Stream, StreamExt as _};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ObjectList, Request};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::error::came_back;
use crate::printable::printable;

/// Duration of one watch call, in seconds. The API server sends a bookmark two seconds before it ends the call.
const WATCH_SECONDS: u32 = 30;
/// Time without a bookmark after which everything is listed again rather than watched from where the last call ended.
const UNCONFIRMED: Duration = Duration::from_secs(30);
/// Time after which a watch call is given up that its server should have ended.
const SILENCE: Duration = Duration::from_secs(35);
/// Longest duration of a list that is streamed, in seconds, and longest pause between two of its objects.
const LIST_SECONDS: u32 = 300;
const LIST_SILENCE: Duration = Duration::from_secs(15);
/// Objects in one page, where the server does not stream lists, and the bytes that they may have. A page of more bytes is
/// asked for again with half as many objects; one object has at most about 3 MiB.
const PAGE: u32 = 50;
const PAGE_BYTES: u64 = 8 << 20;
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What a watch has found. Objects are as the API server sent them.
#[derive(Debug)]
pub(super) enum Change<K> {
    /// A new list begins. What it does not contain is gone.
    Restarted,
    Listed(K),
    /// The list is complete.
    Complete,
    Applied(K),
    /// Deleted, which can happen during a list.
    Deleted(K),
    /// A bookmark: there are no other changes so far.
    Current,
}

/// All changes of the objects of an API, for ever. `kind` is for the log.
pub(super) fn watch<K>(client: Client, kind: &'static str) -> impl Stream<Item = Change<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let api = Api::all(client);
    let watcher = Watcher {
        api,
        kind,
        state: State::Empty,
        streams: true,
        page: PAGE,
        failures: 0,
        confirmed: Instant::now(),
    };
    futures::stream::unfold(watcher, |mut watcher| async {
        let change = watcher.next().await;
        Some((change, watcher))
    })
}

type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

enum State<K> {
    /// Everything is to be listed.
    Empty,
    Streaming(Events<K>),
    /// The rest of a page, and where the next begins.
    Paging {
        items: std::vec::IntoIter<K>,
        next: Option<String>,
        version: Option<String>,
    },
    /// Changes since that version are to be watched.
    Listed {
        version: String,
    },
    Watching {
        version: String,
        events: Events<K>,
    },
}

struct Watcher<K> {
    api: Api<K>,
    kind: &'static str,
    state: State<K>,
    /// Whether the server is to stream the next list. It is asked again after each list that it did not stream.
    streams: bool,
    page: u32,
    /// Consecutive ones.
    failures: u32,
    /// When the last list was complete, or the last bookmark came.
    confirmed: Instant,
}

/// What failed, for the log.
type Failure = String;

impl<K> Watcher<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    async fn next(&mut self) -> Change<K> {
        loop {
            match self.step().await {
                Ok(Some(change)) => {
                    if matches!(change, Change::Complete | Change::Current) {
                        (self.failures, self.confirmed) = (0, Instant::now());
                    }
                    return change;
                }
                Ok(None) => {}
                Err(error) => {
                    let kind = self.kind;
                    tracing::warn!(kind, error = %printable(&error), "watching was interrupted; trying again");
                    let pause = Duration::from_secs(1 << self.failures.min(3)).min(LONGEST_PAUSE);
                    self.failures += 1;
                    sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
                }
            }
        }
    }

    /// One call, or one object. Where it fails, the state is the one to go on from.
    async fn step(&mut self) -> Result<Option<Change<K>>, Failure> {
        match std::mem::replace(&mut self.state, State::Empty) {
            State::Empty => self.begin_list().await,
            State::Streaming(events) => self.next_streamed(events).await,
            State::Paging { mut items, next, version } => match (items.next(), next, version) {
                (Some(item), next, version) => {
                    self.state = State::Paging { items, next, version };
                    Ok(Some(Change::Listed(item)))
                }
                (None, None, Some(version)) => {
                    self.state = State::Listed { version };
                    // What refused to stream may have been a proxy, or a server that is upgraded.
                    self.streams = true;
                    Ok(Some(Change::Complete))
                }
                (None, next, _) => self.next_page(next).await,
            },
            // The call that ended brought no bookmark and may have lost changes; or there was no connection for long, and
            // only a list says at once how things stand.
            State::Listed { .. } if self.confirmed.elapsed() > UNCONFIRMED => Ok(None),
            State::Listed { version } => {
                self.state = State::Listed { version: version.clone() };
                let params = WatchParams::default().timeout(WATCH_SECONDS);
                match call(&self.api, &params, &version).await {
                    Ok(events) => self.state = State::Watching { version, events },
                    // That version is too old.
                    Err(kube::Error::Api(status)) if status.code == 410 => self.state = State::Empty,
                    Err(error) => return Err(came_back(&error)),
                }
                Ok(None)
            }
            State::Watching { version, events } => self.next_watched(version, events).await,
        }
    }

    async fn begin_list(&mut self) -> Result<Option<Change<K>>, Failure> {
        if !self.streams {
            self.state = State::Paging { items: Vec::new().into_iter(), next: None, version: None };
            return Ok(Some(Change::Restarted));
        }
        let params = WatchParams { send_initial_events: true, ..WatchParams::default() };
        // Without a version the list is as etcd has it, not as some cache does.
        match call(&self.api, &params.timeout(LIST_SECONDS), "").await {
            Ok(events) => {
                self.state = State::Streaming(events);
                Ok(Some(Change::Restarted))
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                self.streams = false;
                Ok(None)
            }
            Err(error) => Err(came_back(&error)),
        }
    }

    async fn next_streamed(&mut self, mut events: Events<K>) -> Result<Option<Change<K>>, Failure> {
        let event = match timeout(LIST_SILENCE, events.next()).await {
            Ok(Some(event)) => event.map_err(|error| came_back(&error))?,
            Ok(None) => return Err("the list ended before it was complete".to_owned()),
            Err(_) => return Err("the list stopped before it was complete".to_owned()),
        };
        let change = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Change::Listed(object)),
            WatchEvent::Bookmark(mark)
                if mark.metadata.annotations.contains_key("k8s.io/initial-events-end") =>
            {
                // A call of its own watches, because this one may bring bookmarks too rarely.
                self.state = State::Listed { version: mark.metadata.resource_version };
                return Ok(Some(Change::Complete));
            }
            WatchEvent::Bookmark(_) => None,
            WatchEvent::Deleted(object) => Some(Change::Deleted(object)),
            WatchEvent::Error(status) => return Err(came_back(&kube::Error::Api(status))),
        };
        self.state = State::Streaming(events);
        Ok(change)
    }

    async fn next_page(&mut self, next: Option<String>) -> Result<Option<Change<K>>, Failure> {
        let params =
            ListParams { limit: Some(self.page), continue_token: next.clone(), ..ListParams::default() };
        let request = Request::new(self.api.resource_url());
        let request = if K::metadata_api() { request.list_metadata(&params) } else { request.list(&params) };
        let request = request.map_err(|error| error.to_string())?;
        let read = async {
            let body = self.api.clone().into_client().request_stream(request).await?;
            let mut bytes = Vec::new();
            let mut body = std::pin::pin!(body.take(PAGE_BYTES + 1));
            body.read_to_end(&mut bytes).await.map_err(kube::Error::ReadEvents)?;
            Ok::<_, kube::Error>(bytes)
        };
        let bytes = timeout(SILENCE, read).await.map_err(|_| "no page in time")?;
        let bytes = bytes.map_err(|error| came_back(&error))?;
        if bytes.len() as u64 > PAGE_BYTES && self.page > 1 {
            self.page /= 2;
            self.state = State::Paging { items: Vec::new().into_iter(), next, version: None };
            return Ok(None);
        }
        let list: ObjectList<K> = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let next = list.metadata.continue_.filter(|token| !token.is_empty());
        let version = list.metadata.resource_version.filter(|version| !version.is_empty());
        if version.is_none() {
            return Err("the list has no resourceVersion".to_owned());
        }
        self.state = State::Paging { items: list.items.into_iter(), next, version };
        Ok(None)
    }

    async fn next_watched(
        &mut self,
        version: String,
        mut events: Events<K>,
    ) -> Result<Option<Change<K>>, Failure> {
        let event = match timeout(SILENCE, events.next()).await {
            Ok(Some(Ok(event))) => event,
            // From a version before the line that cannot be decoded, the watch would meet it again.
            Ok(Some(Err(error @ kube::Error::SerdeError(_)))) => return Err(came_back(&error)),
            Ok(Some(Err(error))) => {
                self.state = State::Listed { version };
                return Err(came_back(&error));
            }
            Ok(None) | Err(_) => {
                self.state = State::Listed { version };
                return Ok(None);
            }
        };
        let (version, change) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                (object.resource_version(), Change::Applied(object))
            }
            WatchEvent::Deleted(object) => (object.resource_version(), Change::Deleted(object)),
            WatchEvent::Bookmark(mark) => (Some(mark.metadata.resource_version), Change::Current),
            WatchEvent::Error(status) => return Err(came_back(&kube::Error::Api(status))),
        };
        // Without a version the change still counts; afterwards everything is listed again.
        if let Some(version) = version {
            self.state = State::Watching { version, events };
        }
        Ok(Some(change))
    }
}

async fn call<K>(api: &Api<K>, params: &WatchParams, version: &str) -> kube::Result<Events<K>>
where
    K: Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let called = timeout(LIST_SILENCE, api.watch(params, version)).await;
    Ok(called.map_err(|_| kube::Error::Service("no answer in time".into()))??.boxed())
}
