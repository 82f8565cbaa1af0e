//! Database servers: where one is and who we are there. Each engine is a module of its own behind a cargo feature; what
//! checks and restores have in common about it lies there.

mod connection;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;

pub(crate) use connection::{Access, ConnectionArgs};
