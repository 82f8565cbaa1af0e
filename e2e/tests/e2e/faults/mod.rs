//! Faults beneath the controller: itself killed, the API server and etcd killed or frozen, errors on the way between them,
//! objects that vanish or cannot be read. Every session must end as it would have ended without, once, within its time.
//!
//! Most of this needs the whole cluster to itself and takes minutes: `make test-long` runs these one after the other, and
//! each can be run again by its name.

mod controller;
mod errors;
pub(crate) mod fleet;
mod foreign;
mod kills;
mod node;
mod outages;
mod proxy;
mod vanished;
