//! Tokens, put before the API server.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use secrecy::{ExposeSecret as _, SecretString};

use crate::api::TOKEN_AUDIENCE;

/// Asks whose token this is and whether it was made for us. What the answer means is decided elsewhere.
pub async fn review(client: &Client, token: &SecretString) -> kube::Result<TokenReviewStatus> {
    let question = TokenReview {
        spec: TokenReviewSpec {
            token: Some(token.expose_secret().to_owned()),
            audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
        },
        ..TokenReview::default()
    };
    let answer = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &question).await?;
    Ok(answer.status.unwrap_or_default())
}
