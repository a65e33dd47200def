//! Pods, read by name.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use super::error::{CallError, Result};
use super::names;

/// The pod as etcd has it now, not a cache.
pub async fn get(client: &Client, namespace: &str, name: &str) -> Result<Option<Pod>> {
    let found = async {
        names::check(namespace, name)?;
        Api::namespaced(client.clone(), namespace).get_opt(name).await
    };
    found.await.map_err(|error| CallError::on("get", "pod", namespace, name, error))
}
