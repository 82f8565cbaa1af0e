//! What demo and end-to-end tests share: kubectl against the cluster under test, the samples of `docs/samples/demo`, and
//! waiting with a limit and visible progress.
//!
//! Everything goes through kubectl, as a user would do it. A missing cluster is an error here, never a skipped test.

pub mod kubectl;
pub mod listing;
pub mod samples;
pub mod wait;

pub use kubectl::Kubectl;
