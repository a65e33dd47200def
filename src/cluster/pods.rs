//! Pods, read by name.

use std::pin::pin;

use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource as _};
use serde::de::Error as _;
use tokio::sync::Semaphore;

use super::error::{CallError, Result};
use super::names;
use crate::domain::grant::BoundPod;

/// Most bytes read of a pod. etcd stores objects of up to 1.5 MiB, which are larger as JSON.
const LARGEST: u64 = 3 << 20;
/// A pod of fewer bytes is read at once. Most have some 10 KiB.
const SMALL: usize = 64 << 10;
/// Larger pods that are read at the same time, so that no number of them fills the memory.
const LARGE_PODS: usize = 4;

/// Reads pods as etcd has them now, not a cache.
pub struct Pods {
    client: Client,
    large: Semaphore,
}

impl Pods {
    pub fn new(client: Client) -> Self {
        Pods { client, large: Semaphore::new(LARGE_PODS) }
    }

    /// The pod, if there is one of that name.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<BoundPod>> {
        let found = self.read(namespace, name).await;
        found.map_err(|error| CallError::on("get", "pod", namespace, name, error))
    }

    async fn read(&self, namespace: &str, name: &str) -> kube::Result<Option<BoundPod>> {
        names::check(namespace, name)?;
        let request = Request::new(Pod::url_path(&(), Some(namespace)));
        let request = request.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        let body = match self.client.request_stream(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            body => body?,
        };
        let (mut body, mut bytes) = (pin!(body.take(LARGEST + 1)), Vec::new());
        let first = body.as_mut().take(SMALL as u64).read_to_end(&mut bytes).await;
        first.map_err(kube::Error::ReadEvents)?;
        let mut _permit = None;
        if bytes.len() == SMALL {
            _permit = Some(self.large.acquire().await.expect("it is never closed"));
            body.read_to_end(&mut bytes).await.map_err(kube::Error::ReadEvents)?;
        }
        if bytes.len() as u64 > LARGEST {
            return Err(kube::Error::SerdeError(serde_json::Error::custom("it has more than 3 MiB")));
        }
        BoundPod::from_json(&bytes).map(Some).map_err(kube::Error::SerdeError)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn answering(status: u16, answer: String) -> Pods {
        let server = tower::service_fn(move |_: Request<Body>| {
            let answer = Response::builder().status(status).body(Body::from(answer.clone().into_bytes()));
            async move { Ok::<_, Infallible>(answer.unwrap()) }
        });
        Pods::new(Client::new(server, "default"))
    }

    fn pod(volumes: Value) -> String {
        json!({"metadata": {"uid": "u"}, "spec": {"volumes": volumes}}).to_string()
    }

    #[tokio::test]
    async fn a_pod_is_read_unless_it_cannot_be_decoded_or_is_too_large() {
        let missing =
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "", "code": 404});
        let many = vec![json!({"name": "v", "emptyDir": {}}); 45_000];
        for (what, status, answer, expected) in [
            ("small", 200, pod(json!([])), Ok(true)),
            ("absent", 404, missing.to_string(), Ok(false)),
            ("of 45,000 volumes", 200, pod(json!(many)), Ok(true)),
            ("of other types", 200, json!({"metadata": {"uid": 7}}).to_string(), Err(true)),
            ("too large", 200, pod(json!("x".repeat(LARGEST as usize))), Err(true)),
            ("refused", 403, missing.to_string().replace("404", "403"), Err(false)),
        ] {
            let pods = answering(status, answer);
            let found = pods.get("tenant-acme", "recorder").await;
            let seen = found.map(|pod| pod.is_some()).map_err(|error| error.is_undecodable());
            assert_eq!(seen, expected, "{what}");
            assert_eq!(pods.large.available_permits(), LARGE_PODS, "{what}");
        }
    }

    #[tokio::test]
    async fn large_pods_wait_for_each_other_and_delay_no_small_one() {
        let large = answering(200, pod(json!("x".repeat(SMALL))));
        let all = large.large.acquire_many(LARGE_PODS as u32).await.unwrap();
        let waits = tokio::time::timeout(std::time::Duration::from_millis(50), large.get("a", "b")).await;
        assert!(waits.is_err());
        drop(all);
        assert!(large.get("a", "b").await.unwrap().is_some());
        let small = answering(200, pod(json!([])));
        let _all = small.large.acquire_many(LARGE_PODS as u32).await.unwrap();
        assert!(small.get("a", "b").await.unwrap().is_some());
    }
}
