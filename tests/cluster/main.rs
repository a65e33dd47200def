//! The product as its users meet it: on a real API server and node, against a stand-in for AWS
//! that enforces trust policies. `make up` starts both; each test has a namespace and a customer of its own.

mod admission;
mod admission_policies;
mod apply;
mod attacks;
mod breakages;
mod broker_authorization;
mod broker_client;
mod burst;
mod callers;
mod claims;
mod cli;
mod correlation;
mod credentials;
mod customer;
mod drain;
mod durability;
mod faults;
mod guide;
mod hostile_metadata;
mod live_breaks;
mod logs;
mod metrics;
mod ordinary_users;
mod permissions;
mod readme;
mod recorders;
mod recording;
mod reports;
mod sidecar_resources;
mod status;
mod support;
mod taken_over;
mod trust_policies;
mod uploads;
mod verdict;
mod workloads;

/// Tests that break what others stand on. Their names sort them into a run of their own, after the rest.
mod disruptive;
