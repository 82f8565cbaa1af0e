//! The real program before a real API server. Nobody runs controllers or pods there: a stand-in writes what the controller, the Job
//! controller and the kubelet would, and a second one answers for the kubelet's logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod doctor;
mod explain;
mod kubelet;
mod report;
mod rights;
mod stand;
mod status;
mod verify;
mod world;
