//! The destination document, and what a session depends on.

use serde_json::json;

use super::*;
use crate::api::{DeliveryState, Endpoint};

#[test]
fn a_document_says_whether_to_upload_and_if_not_why() {
    let stated = |world: World| {
        let endpoint = Endpoint { url: "https://aws.test".into(), ca_bundle: Some("its CA".into()) };
        let document = document(&world.destination().unwrap(), Some(&endpoint), "the CA");
        assert_eq!(document.endpoint, Some(endpoint));
        assert_eq!(
            (document.target.bucket.as_str(), document.ca_bundle.as_str()),
            ("acme-recordings", "the CA")
        );
        (document.state, document.reason)
    };
    assert_eq!(stated(World::accepted()), (DeliveryState::Active, None));

    let mut refused = World::accepted();
    refused.destination["status"]["conditions"][0]["status"] = json!("False");
    refused.destination["status"]["conditions"][0]["reason"] = json!("ExternalIDNotEnforced");
    refused.destination["status"]["conditions"][0]["message"] = json!("The role let in a stranger.");
    for (world, reason) in [
        (refused, "ExternalIDNotEnforced: The role let in a stranger."),
        (
            World::with(Part::Destination, "/spec/suspend", json!(true)),
            "The destination is suspended; set spec.suspend to false to resume.",
        ),
        (
            World::with(Part::Destination, "/metadata/generation", json!(4)),
            "The destination has not been validated since it was last edited.",
        ),
    ] {
        assert_eq!(stated(world), (DeliveryState::Paused, Some(reason.to_owned())));
    }
}

#[test]
fn a_new_session_is_asked_for_where_assume_role_is_called_with_something_else() {
    let key = |world: World| SessionKey::from(world.destination().unwrap().as_ref());
    let first = key(World::accepted());
    assert_eq!(first, key(World::accepted()));
    for (change, pointer, value) in [
        ("a destination made anew", "/metadata/uid", json!("dest-uid-2")),
        ("another role", "/spec/roleARN", json!("arn:aws:iam::111111111111:role/other")),
        ("another bucket", "/spec/bucket", json!("other-recordings")),
        ("another External ID", "/status/externalIDSecretVersion", json!("813")),
        ("another key of the Secret", "/spec/externalIDSecretRef/key", json!("b")),
        ("another Secret", "/spec/externalIDSecretRef/name", json!("b")),
        ("a recovery", "/status/conditions/0/lastTransitionTime", json!("2026-01-02T00:00:00Z")),
    ] {
        assert_ne!(first, key(World::with(Part::Destination, pointer, value)), "{change}");
    }
    for (change, pointer, value) in [
        ("a write that changes nothing", "/metadata/resourceVersion", json!("99")),
        ("an edit of something else", "/metadata/generation", json!(4)),
    ] {
        assert_eq!(first, key(World::with(Part::Destination, pointer, value)), "{change}");
    }
}

#[test]
fn only_the_external_id_that_was_proved_is_sent() {
    for (what, proved, version, sent) in [
        ("the proved one", json!("812"), "812", true),
        ("an edit since", json!("812"), "813", false),
        ("the older one, put back under its old version", json!("813"), "812", false),
        ("a destination without a proof", json!(null), "812", false),
        ("two versions that nobody knows", json!(""), "", false),
    ] {
        let world = World::with(Part::Destination, "/status/externalIDSecretVersion", proved);
        match may_send(version, &world.destination().unwrap()) {
            Ok(()) => assert!(sent, "{what}"),
            Err(error) => {
                assert_eq!(error, NotIssued::Denied(Denial::ExternalIDNotProved), "{what}");
                assert!(!sent, "{what}");
            }
        }
    }
    let never_looked_at = World::with(Part::Destination, "/status", json!(null)).destination().unwrap();
    assert!(may_send("812", &never_looked_at).is_err());
}

#[test]
fn a_proved_version_is_sent_for_the_secret_and_key_that_were_proved() {
    for (what, pointer, value, sent) in [
        ("nothing is edited", "/spec/suspend", json!(false), true),
        ("the key is edited", "/spec/externalIDSecretRef/key", json!("b"), false),
        ("the name is edited", "/spec/externalIDSecretRef/name", json!("b"), false),
    ] {
        let mut world = World::with(Part::Destination, pointer, value);
        let proved = json!({"name": "acme-external-id", "key": "externalID"});
        world.destination["status"]["externalIDSecretRef"] = proved;
        world.destination["status"]["externalIDSecretVersion"] = json!("812");
        assert_eq!(may_send("812", &world.destination().unwrap()).is_ok(), sent, "{what}");
    }
}
