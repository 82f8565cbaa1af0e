//! The one error of the controller: what was tried on which object, and when to try again.

use std::time::Duration;

/// What went wrong outside the run of a verification; a verification's own failures are causes, not errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("cannot {what}")]
    Api {
        /// Verb and object, such as `patch BackupVerificationSession demo/x`.
        what: String,
        /// What the client said.
        #[source]
        source: Box<kube::Error>,
    },
    /// Something needed at the start failed.
    #[error("cannot {what}")]
    Start {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The client could not be configured.
    #[error("cannot find out how to reach the API server: set KUBECONFIG, or run inside a cluster")]
    Connect {
        /// What the client said.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object cannot be written as JSON.
    #[error("cannot write {what} as JSON")]
    Encode {
        /// Kind and name.
        what: String,
        /// What the serializer said.
        #[source]
        source: serde_json::Error,
    },
    /// An object lacks what the API server always sets.
    #[error("{what}: metadata.{field} is missing, which the API server always sets")]
    Incomplete {
        /// Kind and name.
        what: String,
        /// The field.
        field: &'static str,
    },
    /// What was decided on is no longer what the API server has.
    #[error("{what} changed meanwhile")]
    Stale {
        /// Kind and name.
        what: String,
    },
    /// A part of the process that runs for ever has ended.
    #[error("part {part:?} ended although nobody asked it to")]
    PartEnded {
        /// The part.
        part: &'static str,
    },
    /// A part of the process died.
    #[error("a part of the process died")]
    PartPanicked {
        /// How.
        #[source]
        source: tokio::task::JoinError,
    },
}

/// What kind of trouble an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Somebody else wrote first: look again at once.
    Conflict,
    /// The API server is away, slow or overloaded.
    Unavailable,
    /// A right is missing; a person must act.
    Forbidden,
    /// The API server refuses what was sent; a person or a new version must act.
    Refused,
    /// A fault of ours.
    Internal,
}

impl Class {
    /// How long to wait before trying again.
    pub fn requeue(self) -> Duration {
        match self {
            Self::Conflict => Duration::from_millis(50),
            Self::Unavailable => Duration::from_secs(2),
            Self::Forbidden => Duration::from_secs(30),
            Self::Refused | Self::Internal => Duration::from_secs(60),
        }
    }

    /// The word for metrics and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Unavailable => "ApiUnavailable",
            Self::Forbidden => "Forbidden",
            Self::Refused => "ApiRefused",
            Self::Internal => "Internal",
        }
    }
}

impl Error {
    /// An error of the API server, with what was tried.
    pub fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// What kind of trouble this is.
    pub fn class(&self) -> Class {
        match self {
            Self::Api { source, .. } => match code(source) {
                Some(409) => Class::Conflict,
                Some(401 | 403) => Class::Forbidden,
                Some(429 | 500..) | None => Class::Unavailable,
                Some(_) => Class::Refused,
            },
            Self::Connect { .. } => Class::Unavailable,
            Self::Stale { .. } => Class::Conflict,
            Self::Start { .. } | Self::Encode { .. } | Self::Incomplete { .. } | Self::PartEnded { .. } | Self::PartPanicked { .. } => {
                Class::Internal
            }
        }
    }

    /// The word for metrics and events.
    pub fn reason(&self) -> &'static str {
        self.class().as_str()
    }

    /// Whether the API server said that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status_code() == Some(404)
    }

    /// Whether the API server said that somebody else was first: AlreadyExists or Conflict.
    pub fn is_conflict(&self) -> bool {
        self.status_code() == Some(409)
    }

    /// The HTTP status the API server answered with, if it answered.
    pub fn status_code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => code(source),
            Self::Start { .. }
            | Self::Connect { .. }
            | Self::Stale { .. }
            | Self::Encode { .. }
            | Self::Incomplete { .. }
            | Self::PartEnded { .. }
            | Self::PartPanicked { .. } => None,
        }
    }

    /// The whole chain of sources in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let next = error.to_string();
            // Some libraries repeat their source's text in their own.
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            source = error.source();
        }
        text
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error { Some(status.code) } else { None }
}
