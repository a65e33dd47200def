//! Names that come from outside, checked before they are part of a URL.

use crate::api::{is_namespace_name, is_object_name};

/// A name that Kubernetes admits for no object, so that there is nothing to ask for.
#[derive(Debug, thiserror::Error)]
#[error("not a name of an object: names have lower-case letters, digits, - and .")]
struct NotAName;

/// Fails unless both are names.
pub(super) fn check(namespace: &str, name: &str) -> kube::Result<()> {
    match is_namespace_name(namespace) && is_object_name(name) {
        true => Ok(()),
        false => Err(kube::Error::Service(Box::new(NotAName))),
    }
}

#[cfg(test)]
mod tests {
    use kube::Client;
    use kube::client::Body;

    use crate::api::ExternalIDSecretRef;
    use crate::cluster::{Pods, destinations, secrets};

    /// Every function that takes a name from outside, with a client that fails the test when it is called.
    #[tokio::test]
    async fn what_is_no_name_never_reaches_the_api_server() {
        let api_server = tower::service_fn(async |request: axum::http::Request<Body>| {
            panic!("asked for {}", request.uri());
            #[expect(unreachable_code)]
            Ok::<axum::http::Response<Body>, std::convert::Infallible>(unreachable!())
        });
        let client = Client::new(api_server, "default");
        let injected = "x/recordingdestinations?watch=true&timeoutSeconds=300&x=";
        for (namespace, name) in [(injected, "acme"), ("calls", injected), ("..", "acme"), ("", "acme")] {
            assert!(destinations::exists(&client, namespace, name).await.is_err(), "{namespace:?} {name:?}");
            assert!(destinations::get(&client, namespace, name).await.is_err(), "{namespace:?} {name:?}");
            assert!(Pods::new(client.clone()).get(namespace, name).await.is_err(), "{namespace:?} {name:?}");
            let reference = ExternalIDSecretRef { name: name.to_owned(), key: "externalID".to_owned() };
            assert!(
                secrets::external_id(&client, namespace, &reference).await.is_err(),
                "{namespace:?} {name:?}"
            );
        }
        assert!(destinations::list(&client, Some(injected), None).await.is_err());
    }
}
