//! The built executor against real repositories: made by restic, damaged by the recipes under `sabotage/`, or forged.
//!
//! Every expectation here is about what a user sees: exit code, report, restored tree, untouched repository. Nothing of
//! the executor's inside is used. restic must be installed, and PostgreSQL for the dumps; without them these tests fail.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod object_store;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod prune;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod support;
#[cfg(test)]
mod target;
