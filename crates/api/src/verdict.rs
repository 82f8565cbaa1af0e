//! The four answers a verification can end with, and how several answers fold into one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer of a verification.
///
/// `Verified`: everything the verifier selects came back and was read back, and every check had an answer that holds.
/// `VerificationFailed`: the data is bad and the defect can be named.
/// `Inconclusive`: it could not be found out; says nothing about the data.
/// `Skipped`: this Snapshot was proven before by the same verifier, and that proof has not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// It came back, it was read back, every check holds.
    Verified,
    /// The data is bad, and the defect is named.
    VerificationFailed,
    /// It could not be found out.
    Inconclusive,
    /// Proven before, and the proof still holds.
    Skipped,
}

impl Verdict {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::VerificationFailed => "VerificationFailed",
            Self::Inconclusive => "Inconclusive",
            Self::Skipped => "Skipped",
        }
    }

    /// Folds the answers of several parts of one run: a defect found anywhere is a defect; else anything unknown
    /// leaves the whole unknown; only if every part is proven is the whole proven.
    /// Without any part there is nothing proven: `Inconclusive`.
    pub fn fold(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut folded = None;
        for part in parts {
            folded = Some(match (folded, part) {
                (Some(Self::VerificationFailed), _) | (_, Self::VerificationFailed) => Self::VerificationFailed,
                // A part that was skipped in this run proves nothing in this run.
                (Some(Self::Inconclusive), _) | (_, Self::Inconclusive | Self::Skipped) => Self::Inconclusive,
                (None | Some(Self::Verified | Self::Skipped), Self::Verified) => Self::Verified,
            });
        }
        folded.unwrap_or(Self::Inconclusive)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, Inconclusive, Skipped, VerificationFailed, Verified};

    #[test]
    fn folds() {
        for (parts, expected) in [
            (&[][..], Inconclusive),
            (&[Verified], Verified),
            (&[Verified, Verified], Verified),
            (&[Skipped], Inconclusive),
            (&[Verified, Skipped], Inconclusive),
            (&[Skipped, Verified], Inconclusive),
            (&[Verified, Inconclusive], Inconclusive),
            (&[Inconclusive, Verified], Inconclusive),
            (&[Inconclusive, VerificationFailed], VerificationFailed),
            (&[VerificationFailed, Inconclusive], VerificationFailed),
            (&[VerificationFailed, Verified], VerificationFailed),
            (&[Verified, VerificationFailed, Verified], VerificationFailed),
        ] {
            assert_eq!(Verdict::fold(parts.iter().copied()), expected, "{parts:?}");
        }
    }
}
