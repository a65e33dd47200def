//! Pods, read by name.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

/// The pod as the API server has it now, from etcd and not from a cache; `None` when there is none.
pub async fn get(client: &Client, namespace: &str, name: &str) -> kube::Result<Option<Pod>> {
    Api::namespaced(client.clone(), namespace).get_opt(name).await
}
