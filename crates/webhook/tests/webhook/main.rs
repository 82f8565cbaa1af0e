//! The webhook in rings: reviews through the routes, a real handshake, and the program behind a real API server.

// A test that cannot be set up shall fail where it stands; the lint knows only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod agreement;
mod away;
mod calls;
#[path = "../../../api/tests/validate/cases.rs"]
#[allow(dead_code, reason = "the pure judgement is made beside the tables")]
mod cases;
mod charted;
mod conditions;
mod consent;
mod files;
#[path = "../../../api/tests/validate/generate.rs"]
mod generate;
mod gotruth;
mod healing;
mod hostile;
mod memory;
mod recorder;
mod review;
mod service;
mod slow;
mod stage;
mod tables;
mod tls;
mod turnover;
