//! The operator's broker, as the sidecar uses it.

pub mod destination;
pub mod https;
pub mod loopback;
pub mod report;
pub mod session;
