//! Events on destinations.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _};

use crate::api::{RecordingDestination, Transition};

/// Publishes Events in the name of one process.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events by `component`, such as `recording-controller`. The pod's name is the host name.
    pub fn new(client: Client, component: &str) -> Self {
        let reporter =
            Reporter { controller: component.to_owned(), instance: std::env::var("HOSTNAME").ok() };
        Events { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes a transition of a destination.
    pub async fn publish(
        &self,
        destination: &RecordingDestination,
        transition: &Transition,
    ) -> kube::Result<()> {
        let event = Event {
            type_: if transition.warning { EventType::Warning } else { EventType::Normal },
            reason: transition.reason.clone(),
            note: Some(transition.note.clone()),
            action: "Validate".to_owned(),
            secondary: None,
        };
        self.recorder.publish(&event, &destination.object_ref(&())).await
    }
}
