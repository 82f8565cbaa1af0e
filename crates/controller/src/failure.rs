//! Why a restore, or one component of it, ends without proof: one word of the closed list, and a sentence.

use backproof_api::Cause;

/// Why a restore, or one component of it, ends without proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The word.
    pub(crate) cause: Cause,
    /// Object, field and remedy.
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// As it stands in `error` and `message` fields: the cause is the first word.
    pub(crate) fn line(&self) -> String {
        format!("{}: {}", self.cause, self.text)
    }
}

/// The cause an error line starts with; a line of somebody else's tells nothing about the backup.
pub(crate) fn cause_of(line: &str) -> Cause {
    let word = line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    word.parse().unwrap_or(Cause::ExecutorFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_comes_back_out_of_the_line() {
        for cause in Cause::ALL {
            assert_eq!(cause_of(&Failure::new(*cause, "x: y").line()), *cause);
        }
        for line in ["", "went wrong", ":", "packDamaged"] {
            assert_eq!(cause_of(line), Cause::ExecutorFailed, "{line}");
        }
    }
}
