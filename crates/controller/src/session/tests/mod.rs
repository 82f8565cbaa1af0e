//! Decisions over a world in memory: every rule as a table, every crash point, and no green without evidence.

mod agreement;
mod endings;
#[path = "../../../../api/tests/validate/generate.rs"]
#[allow(dead_code, reason = "sessions are generated for admission only")]
mod generate;
mod gitops;
mod holds;
mod properties;
mod query;
mod refusals;
mod story;
mod wipe;
mod world;
