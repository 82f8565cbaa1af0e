//! A restic repository, formats 1 and 2, read file by file.
//!
//! This is the small layer a restore needs, and no more: a library's opening stops at the first thing that is damaged, or
//! panics on it, where a proof must name it and go on. Every byte may come from a hostile hand.

mod blob;
mod crypto;
mod format;
mod id;
mod index;
mod keys;
mod locks;
mod names;
mod open;
mod snapshots;

pub(crate) use blob::{BlobFault, Decoder};
pub(crate) use crypto::fingerprint;
pub(crate) use format::{BlobKind, ExtendedAttribute, Node, Snapshot, Tree};
pub(crate) use id::{Hasher, Id};
pub(crate) use index::Copy;
pub(crate) use locks::Again;
pub(crate) use names::parse as parse_name;
pub(crate) use open::{PackState, Repository};
