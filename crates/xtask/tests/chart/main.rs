//! What the chart renders, asserted on whole objects: `helm template`, no cluster. The alerts of it are tried with promtool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guards;
mod monitoring;
mod objects;
mod render;
mod schema;
mod size;
