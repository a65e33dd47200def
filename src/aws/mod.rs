//! The only callers of the AWS SDK. Each call is made once and answered with an [`Answer`](crate::api::Answer): what
//! to make of it, and whether to try again, is for `domain` to decide.

mod answer;
mod assume_role;
mod calls;
mod clock;
mod connection;
mod endpoint;
mod examine;
mod found;
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
pub use endpoint::{EndpointArgs, UnusableCA};
pub use examine::Examiner;
pub use found::{Found, NotFound};
pub use objects::*;
pub use platform_key::{CredentialsSource, PlatformKey};
pub use sts::Sts;
pub use workload_identity::{NoRole, WorkloadIdentity};
