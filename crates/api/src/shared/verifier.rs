//! Choices of a verifier that are ours.

use super::wire_enum;

wire_enum! {
    /// What happens to restored data at the end of a run.
    pub enum Cleanup {
        /// It stays until the next run into the same target wipes it.
        Never,
        /// It is wiped at the end of every run.
        Always,
    }
}
