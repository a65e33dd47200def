//! Which pod gets which credentials, and when they are renewed.
//!
//! A token leads to a pod, the pod to a destination, the destination to a session. Each link is a function here, and each
//! can only be reached through the one before it.

mod accounts;
mod copy_age;
mod denial;
mod destination;
mod identity;
mod pod;
mod refused_sessions;
mod session;
mod spool;
#[cfg(test)]
mod tests;
mod token;

pub use accounts::compact_accounts;
pub use copy_age::may_use_copy;
pub use denial::Denial;
pub use destination::{document, may_have_credentials, may_use};
pub use identity::{PodClaim, PodIdentity, claimed_pod, has_ended, identify};
pub use pod::BoundPod;
pub use refused_sessions::RefusedSessions;
pub use session::{NotIssued, SessionKey, is_servable, issued, may_send, renewal_time};
pub use token::may_pass;
