//! What a verifier's query asks of a restored database, and what follows from the answers.
//!
//! Nothing here speaks to a database: an executor asks the engine for each [`Check`] of a [`Plan`], and [`judge`] says what
//! its [`Answer`]s add up to. The fields of each engine stand in one table, which the validator reads as well.

mod engine;
mod judge;
mod operator;
mod plan;

pub use engine::Engine;
pub(crate) use engine::Shape;
pub use judge::{Answer, Judgement, judge};
pub use operator::{Comparison, Operator};
pub use plan::{Check, Level, Object, Plan, UnusableQuery};
