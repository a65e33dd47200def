//! Which destination may use what: the AWS accounts that a namespace is bound to, and the order of claims on a bucket and
//! prefix, a role and an External ID.

mod binding;
mod claim;
#[cfg(test)]
mod tests;

pub use binding::{AccountBinding, Binding};
pub use claim::{Claim, proof_date, standing};
