//! Delivers call recordings into each customer's own S3 bucket, through an IAM role that the
//! customer controls.
//!
//! # The house
//!
//! | room | holds | may use |
//! |---|---|---|
//! | [`api`] | the custom resource, condition types, reasons and checks, names, the answers of AWS | – |
//! | `allocations` | the allocator of the tests, which counts | – |
//! | [`secret`] | types that never show what they hold | – |
//! | [`concurrency`] | how much is done at the same time, by key | – |
//! | [`printable`] | text from outside as a terminal may show it | – |
//! | [`domain`] | the decisions, as pure functions: no `async`, client, clock, randomness or logging | `api`, `secret` |
//! | [`aws`] | the only callers of the AWS SDK | `api`, `secret`, `concurrency`, `domain` types |
//! | [`cluster`] | the only callers of the Kubernetes API | `api`, `secret`, `printable`, `domain` types |
//! | [`serve`] | TLS serving and certificate reload, limits on connections, health and probes, metrics endpoint | – |
//! | [`telemetry`] | logs and metrics | `printable` |
//! | [`controller`], [`webhook`], [`broker`], [`uploader`], [`cli`] | one driver each: a short list of steps | everything above, never each other |
//! | `main.rs`, `bin/*` | arguments and wiring | all |
//!
//! The rooms of `domain` do not use each other: `verdict` (observations → conditions, events, next
//! check), `trust` (wrong callers to try, session policies, texts for the customer), `ownership`
//! (which claim comes first), `grant` (which pod gets credentials, and when they are renewed), `injection`
//! (pod → pod), `delivery` (what to do with a recording).
//!
//! A tenant's broken role is an observation; an error means that the operator's own side failed.
//!
//! `tests/house` holds these rules.

#[cfg(test)]
mod allocations;
pub mod api;
pub mod aws;
pub mod broker;
pub mod cli;
pub mod cluster;
pub mod concurrency;
pub mod controller;
pub mod domain;
pub mod printable;
pub mod secret;
pub mod serve;
pub mod telemetry;
pub mod uploader;
pub mod webhook;
