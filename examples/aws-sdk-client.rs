//! The AWS SDK for Rust, with whatever credentials it finds by itself: `aws-sdk-client BUCKET KEY` puts an object. The
//! tests run it, like clients in other languages, in a pod whose sidecar offers credentials.

use aws_config::BehaviorVersion;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(bucket), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err("usage: aws-sdk-client BUCKET KEY".into());
    };
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
    let found = aws_config::defaults(BehaviorVersion::latest()).http_client(https).load();
    let config = aws_sdk_s3::config::Builder::from(&found.await).force_path_style(true).build();
    let put = aws_sdk_s3::Client::from_conf(config).put_object().bucket(bucket).key(key);
    put.body(b"put by Rust\n".to_vec().into()).send().await?;
    Ok(())
}
