//! Admission: refuses verification objects that could not run, at the moment somebody writes them.
//!
//! Invariant: the rules live in `backproof_api::validate`; this crate looks things up for them and carries the answer to the
//! API server. It writes nothing but its own certificate and its own registration.

pub mod access;
pub mod admit;
pub mod cache;
pub mod certificate;
mod error;
pub mod files;
pub mod health;
pub mod judge;
pub mod keeper;
pub mod live;
pub mod metrics;
pub mod options;
pub mod probe;
pub mod run;
pub mod server;
pub mod source;
pub mod strict;

pub use error::Error;
pub use options::Options;
