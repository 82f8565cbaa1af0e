//! The kinds Backproof works with, as Rust types, and the pure rules over them.
//!
//! Invariant: no client, no async, no clock. Time and names come in as parameters, so that every rule here can be
//! tested as a table. The wire facts the types must satisfy stand in `upstream/*.tsv`.

pub mod cause;
pub mod condition;
pub mod crd;
pub mod duration;
pub mod environment;
pub mod guarded;
pub mod kept;
pub mod kinds;
pub mod labels;
pub mod names;
pub mod phase;
pub mod query;
pub mod rbac;
pub mod report;
pub mod run;
pub mod shared;
pub mod template;
pub mod text;
pub mod validate;
pub mod verdict;

pub use cause::Cause;
pub use guarded::Guarded;
pub use kinds::*;
pub use verdict::Verdict;
