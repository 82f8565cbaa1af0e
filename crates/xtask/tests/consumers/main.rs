//! What others make of the CRDs: each test runs the real program over the schemas, the samples and what docs ship for it.
//! In `heavy` are those that take long to build or to run; `hack/test.sh long consumers` runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod corpus;
mod heavy;
mod kustomize;
mod modelines;
mod schemas;
