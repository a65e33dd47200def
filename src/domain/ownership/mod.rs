//! Which destination may use what: the AWS accounts that a namespace is bound to, the order of claims on a bucket and
//! prefix, a role and an External ID, and how many destinations a namespace may
//! have and how many new External IDs it may try.

mod binding;
mod claim;
mod contests;
mod index;
mod limit;
mod new_ids;
#[cfg(test)]
mod tests;

pub use binding::{AccountBinding, Binding};
pub use claim::Claim;
pub use index::{ClaimIndex, Woken};
pub use limit::{ByAge, too_many};
pub use new_ids::NewExternalIDs;
