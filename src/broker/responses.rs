//! Responses of the broker. There is one refusal, whatever the cause; only a pod that may have credentials learns why its
//! destination has none.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::api::DestinationDocument;
use crate::domain::grant::Denial;

/// The refusal, with the fields that AWS SDKs read from a credentials provider's error.
pub(super) fn refusal() -> Response {
    closing(json(StatusCode::FORBIDDEN, r#"{"code":"AccessDenied","message":"The request is refused."}"#))
}

/// The refusal of a pod that may have credentials, with the cause.
pub(super) fn explained(denial: Denial, explanation: &str) -> Response {
    let text = serde_json::json!({"code": denial.to_string(), "message": explanation});
    json(StatusCode::FORBIDDEN, text.to_string())
}

/// The answer after which the connection ends: who has proved nothing keeps none.
pub(super) fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The request could not be decided. Unlike a refusal, it is worth another attempt.
pub(super) fn unavailable() -> Response {
    let mut response = json(
        StatusCode::SERVICE_UNAVAILABLE,
        r#"{"code":"ServiceUnavailable","message":"The request could not be decided. Try again."}"#,
    );
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

pub(super) fn accepted() -> Response {
    let mut response = json(StatusCode::NO_CONTENT, Body::empty());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// A known caller sent a body that cannot be decoded.
pub(super) fn malformed(problem: &str) -> Response {
    let text = serde_json::json!({"code": "InvalidRequest", "message": problem});
    json(StatusCode::BAD_REQUEST, text.to_string())
}

/// Credentials, which leave their redacting wrapper here.
pub(super) fn credentials(document: &SecretString) -> Response {
    json(StatusCode::OK, document.expose_secret().to_owned())
}

/// The entity tag of the document.
pub(super) fn tag(document: &DestinationDocument) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(text(document))[..18]))
}

fn text(document: &DestinationDocument) -> String {
    serde_json::to_string(document).expect("strings serialize")
}

/// The document, or 304 where the caller has this version already.
pub(super) fn document(document: &DestinationDocument, held: &HeldTags) -> Response {
    let tag = tag(document);
    let mut response = if held.has(&tag) {
        let mut response = json(StatusCode::NOT_MODIFIED, Body::empty());
        response.headers_mut().remove(CONTENT_TYPE);
        response
    } else {
        json(StatusCode::OK, text(document))
    };
    response.headers_mut().insert(ETAG, HeaderValue::try_from(tag).expect("base64 is a header value"));
    response
}

/// The entity tags of the versions that the caller has.
pub(super) struct HeldTags(String);

impl HeldTags {
    pub(super) fn of(request: &HeaderMap) -> Self {
        let held: Vec<_> =
            request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).collect();
        HeldTags(held.join(","))
    }

    pub(super) fn has(&self, tag: &str) -> bool {
        self.0.split(',').any(|held| held.trim() == tag)
    }
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
