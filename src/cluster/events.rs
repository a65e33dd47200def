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

#[cfg(test)]
mod tests {
    use axum::http::{Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn an_event_that_comes_again_is_counted_while_it_is_among_the_last_500() {
        let methods = Arc::new(Mutex::new(Vec::new()));
        let seen = methods.clone();
        let server = tower::service_fn(move |request: Request<Body>| {
            seen.lock().unwrap().push(request.method().to_string());
            async move {
                let sent = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(sent.to_vec())))
            }
        });
        let events = Events::new(Client::new(server, "default"), "recording-controller");
        let destination: RecordingDestination = serde_json::from_value(json!({
            "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
            "metadata": {"namespace": "tenant-acme", "name": "acme"},
            "spec": {
                "bucket": "acme-recordings", "region": "us-east-1",
                "roleARN": "arn:aws:iam::111111111111:role/writer", "externalIDSecretRef": {"name": "acme"},
            },
        }))
        .unwrap();
        let publish = async |reason: String| {
            let transition = Transition { warning: false, reason, note: "A sentence.".to_owned() };
            events.publish(&destination, &transition).await.unwrap();
        };
        for _ in 0..2 {
            publish("Validated".to_owned()).await;
        }
        assert_eq!(*methods.lock().unwrap(), ["POST", "PATCH"]);
        for number in 0..EVENTS_PER_RECORDER {
            publish(format!("Reason{number}")).await;
        }
        publish("Validated".to_owned()).await;
        assert!(methods.lock().unwrap().ends_with(&["POST".to_owned()]));
    }
}
