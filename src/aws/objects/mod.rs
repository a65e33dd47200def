//! Objects of one bucket, under one session.

mod body;
mod multipart;
mod store;
#[cfg(test)]
mod tests;

pub use body::Body;
pub use store::{Deleted, ObjectStore};
