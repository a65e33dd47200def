//! Tokens, reviewed by the API server.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use secrecy::{ExposeSecret as _, SecretString};

use super::error::{CallError, Result};
use crate::api::TOKEN_AUDIENCE;

/// Reviews a token for the broker's audience.
pub async fn review(client: &Client, token: &SecretString) -> Result<TokenReviewStatus> {
    let question = TokenReview {
        spec: TokenReviewSpec {
            token: Some(token.expose_secret().to_owned()),
            audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
        },
        ..TokenReview::default()
    };
    let answer = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &question).await;
    match answer {
        Ok(review) => Ok(review.status.unwrap_or_default()),
        Err(error) => Err(CallError::cluster_wide("create", "tokenreview", "", error)),
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn the_api_server_is_asked_for_our_audience() {
        let api_server = tower::service_fn(async |request: axum::http::Request<Body>| {
            let path = request.uri().path().to_owned();
            assert_eq!(path, "/apis/authentication.k8s.io/v1/tokenreviews");
            let asked: Value =
                serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
            assert_eq!(asked["spec"], json!({"token": "t", "audiences": ["recordings.revenue.io"]}));
            let answer = json!({"spec": {}, "status": {"authenticated": true}}).to_string();
            Ok::<_, std::convert::Infallible>(axum::http::Response::new(Body::from(answer.into_bytes())))
        });
        let client = Client::new(api_server, "default");
        assert_eq!(review(&client, &"t".into()).await.unwrap().authenticated, Some(true));
    }
}
