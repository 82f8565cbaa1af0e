//! Decisions over a world in memory: every rule as a table, every crash point, and no green without evidence.

mod endings;
mod gitops;
mod holds;
mod properties;
mod refusals;
mod story;
mod wipe;
mod world;
