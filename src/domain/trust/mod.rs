//! Trust of the customer's role: the wrong callers to try, session policies and names, and the policies that the customer
//! pastes.

mod policy;
mod principal;
mod probes;
#[cfg(test)]
mod properties;
mod session_name;
mod strength;
mod texts;

pub use policy::{DENY_EVERYTHING, Purpose, Writes, session_policy};
pub use principal::is_principal;
pub use probes::{NegativeProbe, is_unlike_the_right_one, negative_probes};
pub use session_name::session_name;
pub use strength::{Weakness, weakness};
pub use texts::{
    ONLY_THIS_ROLE, PLACEHOLDER, Policy, key_policy, no_trust_policy, object_actions, only_this_role,
    revoke_older_sessions, role_policy, trust_policy,
};
