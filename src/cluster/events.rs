//! Events on destinations.

use std::sync::{Arc, Mutex};

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};

use super::error::{CallError, Result};
use crate::api::{RecordingDestination, Transition};

/// Events after which a recorder is replaced. It keeps each Event for minutes, to count one that comes again, and reads all
/// that it keeps for each that it publishes.
const EVENTS_PER_RECORDER: u32 = 500;

/// Publishes the Events of one process.
#[derive(Clone)]
pub struct Events {
    /// With the number of Events that it has published.
    recorder: Arc<Mutex<(Recorder, u32)>>,
    new: Arc<dyn Fn() -> Recorder + Send + Sync>,
}

impl Events {
    /// Events by `component`, such as `recording-controller`. HOSTNAME is the name of the pod.
    pub fn new(client: Client, component: &str) -> Self {
        let reporter =
            Reporter { controller: component.to_owned(), instance: std::env::var("HOSTNAME").ok() };
        let new = move || Recorder::new(client.clone(), reporter.clone());
        Events { recorder: Arc::new(Mutex::new((new(), 0))), new: Arc::new(new) }
    }

    fn recorder(&self) -> Recorder {
        let mut recorder = self.recorder.lock().unwrap();
        if recorder.1 >= EVENTS_PER_RECORDER {
            *recorder = ((self.new)(), 0);
        }
        recorder.1 += 1;
        recorder.0.clone()
    }

    pub async fn publish(&self, destination: &RecordingDestination, transition: &Transition) -> Result<()> {
        let event = Event {
            type_: if transition.warning { EventType::Warning } else { EventType::Normal },
            reason: transition.reason.clone(),
            note: Some(transition.note.clone()),
            action: "Validate".to_owned(),
            secondary: None,
        };
        let published = self.recorder().publish(&event, &destination.object_ref(&())).await;
        let (namespace, name) = (destination.namespace().unwrap_or_default(), destination.name_any());
        published.map_err(|error| CallError::on("create", "event about", &namespace, &name, error))
    }
}
