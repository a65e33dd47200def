//! The bearer token of a request.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::domain::grant::Denial;

/// Longest token that is reviewed, in bytes. Projected tokens have about 1,000.
const LONGEST: usize = 8192;

/// What the caches hold in place of a token.
pub(super) type TokenHash = [u8; 32];

/// The bearer token of the one `Authorization` header.
pub(super) fn bearer(headers: &HeaderMap) -> Result<SecretString, Denial> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Denial::NoToken)?;
    if values.next().is_some() {
        return Err(Denial::SeveralTokens);
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Denial::MalformedToken)?;
    // RFC 6750, section 2.1: the characters of a bearer token.
    let of_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let well_formed = scheme.eq_ignore_ascii_case("Bearer")
        && (1..=LONGEST).contains(&token.len())
        && token.bytes().all(of_token);
    if well_formed { Ok(SecretString::from(token)) } else { Err(Denial::MalformedToken) }
}

pub(super) fn hash(token: &SecretString) -> TokenHash {
    Sha256::digest(token.expose_secret()).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn exactly_one_bearer_token_is_taken() {
        let long = format!("Bearer {}", "x".repeat(LONGEST + 1));
        for (values, expected) in [
            (&["Bearer eyJh.eyJz.c2ln"][..], Ok("eyJh.eyJz.c2ln")),
            (&["bearer eyJh"], Ok("eyJh")),
            (&[], Err(Denial::NoToken)),
            (&["Bearer a", "Bearer a"], Err(Denial::SeveralTokens)),
            (&["Bearer a", ""], Err(Denial::SeveralTokens)),
            (&[""], Err(Denial::MalformedToken)),
            (&["Bearer"], Err(Denial::MalformedToken)),
            (&["Bearer "], Err(Denial::MalformedToken)),
            (&["Bearer  a"], Err(Denial::MalformedToken)),
            (&["Bearer a b"], Err(Denial::MalformedToken)),
            (&["Bearer a,Bearer b"], Err(Denial::MalformedToken)),
            (&["Basic YTpi"], Err(Denial::MalformedToken)),
            (&["eyJh.eyJz.c2ln"], Err(Denial::MalformedToken)),
            (&["Bearer \u{e9}"], Err(Denial::MalformedToken)),
            (&[long.as_str()], Err(Denial::MalformedToken)),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let token = bearer(&headers);
            assert_eq!(
                token.as_ref().map(|token| token.expose_secret()).map_err(|d| *d),
                expected,
                "{values:?}"
            );
        }
    }
}
