//! What can go wrong, and with which code the program ends then. Codes 0 to 3 are answers of `verify`, and no error has one of them.

use kube::core::Status;

/// Wrong arguments.
pub const USAGE: u8 = 64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was named does not exist, or several things could be meant.
    #[error("{0}")]
    Reference(String),
    /// The cluster does not allow it, or admission refused it.
    #[error("{what}: {why}")]
    Refused {
        /// What was tried.
        what: String,
        /// The API server's words, and what to do.
        why: String,
    },
    /// The session was deleted, or its status is not Backproof's or contradicts itself.
    #[error("{0}")]
    Session(String),
    /// The cluster cannot be reached, or answers with an error.
    #[error("{what}: {source}")]
    Cluster {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something of this machine: kubeconfig, output, files.
    #[error("{what}: {source}")]
    Local {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// The program's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Reference(_) => 4,
            Self::Refused { .. } => 5,
            Self::Session(_) => 6,
            Self::Cluster { .. } => 7,
            Self::Local { .. } => 8,
        }
    }

    /// Something of this machine.
    pub(crate) fn local(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Local { what: what.into(), source: source.into() }
    }
}

/// Names what was tried, for `map_err`.
pub(crate) fn tried(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |error| {
        let kube::Error::Api(status) = &error else {
            return Error::Cluster { what, source: chain(&error).into() };
        };
        if is_refusal(status) {
            let why = match status.code {
                401 => format!("{}; log in to the cluster anew", status.message),
                _ => status.message.clone(),
            };
            return Error::Refused { what, why };
        }
        // The answer for a kind that is not served names no object.
        if status.code == 404 && names_nothing(status) {
            let why = "the cluster does not know this kind: are Backproof's CustomResourceDefinitions installed? `kubectl backproof doctor` looks";
            return Error::Cluster { what, source: why.into() };
        }
        Error::Cluster { what, source: chain(&error).into() }
    }
}

/// Whether asking again may help: nobody answered, or not now.
pub(crate) fn is_passing(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return true };
    status.code == 429 || status.code >= 500
}

fn is_refusal(status: &Status) -> bool {
    // 400 and 422: the schema or a rule of it refuses.
    matches!(status.code, 400 | 401 | 403 | 422)
}

fn names_nothing(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|details| details.name.is_empty())
}

/// An error with all it was caused by, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}
