//! End-to-end tests on a real node: real kubelet, real restic repositories, the installed chart.
//!
//! Every test has a namespace of its own, made from the samples users are told to apply.

#![cfg(test)]

mod cases;
mod causes;
mod crossing;
mod damage;
mod deletion;
mod faults;
mod fixture;
mod forged;
mod gitops;
mod green;
mod hold;
mod host;
mod inconclusive;
mod life;
mod query;
mod red;
mod refusals;
mod samples;
mod schedule;
mod schema;
mod story;
