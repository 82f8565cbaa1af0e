//! Tests of the decision as tables: objects from minimal YAML through the real parser, expectations as whole values.

mod crash;
mod facts;
mod foreign;
mod job;
mod plan;
mod query;
mod reports;
mod run;
mod wipe;
