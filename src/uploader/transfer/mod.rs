//! One recording's way into the bucket.

pub mod bandwidth;
pub mod body;
pub mod concurrency;
pub mod deliver;
pub mod examine;
pub mod multipart;
pub mod put;
