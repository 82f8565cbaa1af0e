//! The webhook in rings: reviews through the routes, a real handshake, and the program behind a real API server.

// A test that cannot be set up shall fail where it stands; the lint knows only functions marked as tests.
#![allow(clippy::unwrap_used)]

mod admission;
mod memory;
mod review;
mod tls;
