//! Events on destinations.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};

use super::error::{CallError, Result};
use crate::api::{RecordingDestination, Transition};

/// Publishes the Events of one process.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events by `component`, such as `recording-controller`. HOSTNAME is the name of the pod.
    pub fn new(client: Client, component: &str) -> Self {
        let reporter =
            Reporter { controller: component.to_owned(), instance: std::env::var("HOSTNAME").ok() };
        Events { recorder: Recorder::new(client, reporter) }
    }

    pub async fn publish(&self, destination: &RecordingDestination, transition: &Transition) -> Result<()> {
        let event = Event {
            type_: if transition.warning { EventType::Warning } else { EventType::Normal },
            reason: transition.reason.clone(),
            note: Some(transition.note.clone()),
            action: "Validate".to_owned(),
            secondary: None,
        };
        let published = self.recorder.publish(&event, &destination.object_ref(&())).await;
        let (namespace, name) = (destination.namespace().unwrap_or_default(), destination.name_any());
        published.map_err(|error| CallError::on("create", "event about", &namespace, &name, error))
    }
}
