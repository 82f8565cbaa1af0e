//! The rules of each kind, as the register lists them. What they do stands in the files of the same names beside this
//! directory.

pub(super) mod consent;
pub(super) mod deletion;
pub(super) mod invoker;
pub(super) mod others;
pub(super) mod session;
pub(super) mod verifier;
