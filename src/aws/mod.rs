//! The only callers of the AWS SDK. Each call is made once and returns an [`Answer`](crate::api::Answer): what it means,
//! and whether to retry, is decided in `domain`.

mod answer;
mod assume_role;
mod calls;
mod clock;
mod connection;
mod default_credentials;
mod endpoint;
mod examine;
mod objects;
mod platform_key;
mod probe;
mod rate_limiter;
mod size;
mod sts;
#[cfg(test)]
mod tests;
mod workload_identity;

pub use assume_role::AssumeRole;
pub use calls::Calls;
pub use connection::Connection;
pub use default_credentials::{DefaultCredentials, NoDefaultCredentials};
pub use endpoint::{EndpointArgs, UnusableCA};
pub use examine::Examiner;
pub use objects::*;
pub use platform_key::{CredentialsSource, PlatformKey};
pub use sts::Sts;
pub use workload_identity::{NoRole, WorkloadIdentity};
