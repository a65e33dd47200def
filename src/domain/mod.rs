//! The decisions, each a function of its inputs, clock and randomness included.

pub mod delivery;
pub mod grant;
pub mod injection;
pub mod ownership;
pub mod trust;
pub mod verdict;
