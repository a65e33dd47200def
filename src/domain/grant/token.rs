//! The claims of a token, before the API server reviews it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::denial::Denial;
use crate::api::TOKEN_AUDIENCE;

/// A token that expired this long ago is not reviewed. The API server's clock decides, and this one may be ahead of it.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Whether the API server could accept the token at all: a JWT, for the broker's audience, not expired, bound to a pod.
/// The signature is not verified, so this proves nothing; it only spares the API server and the caches.
pub fn may_pass(token: &str, now: Timestamp) -> Result<(), Denial> {
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Denial::NotAJWT);
    };
    let decoded = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::NotAJWT);
    let object = |part| match serde_json::from_slice(&decoded(part)?) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Denial::NotAJWT),
    };
    object(header)?;
    let claims = object(claims)?;
    if decoded(signature)?.is_empty() {
        return Err(Denial::NotAJWT);
    }
    // RFC 7519, section 4.1.3: one audience may stand without a list.
    let is_for_broker = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == TOKEN_AUDIENCE),
        audience => audience.is_some_and(|audience| audience == TOKEN_AUDIENCE),
    };
    if !is_for_broker {
        return Err(Denial::WrongAudience);
    }
    let end = claims.get("exp").and_then(Value::as_f64).ok_or(Denial::Expired)?;
    if end < (now - CLOCK_SKEW).as_second() as f64 {
        return Err(Denial::Expired);
    }
    let pod = claims.get("kubernetes.io").and_then(|bound| bound.get("pod"));
    let has = |key| pod.and_then(|pod| pod.get(key)).and_then(Value::as_str).is_some_and(|it| !it.is_empty());
    if has("name") && has("uid") { Ok(()) } else { Err(Denial::NotBoundToAPod) }
}
