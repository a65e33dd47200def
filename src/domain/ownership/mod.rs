//! Who may have a destination: which AWS accounts a namespace is bound to, and whose claim on a
//! bucket and prefix, a role and an External ID comes first.

mod binding;
mod claim;
#[cfg(test)]
mod tests;

pub use binding::{AccountBinding, Binding};
pub use claim::{Claim, proof_date, standing};
