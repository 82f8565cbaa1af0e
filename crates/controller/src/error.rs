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
    /// The installed schema keeps nothing of what a run must not forget.
    #[error("the API server keeps neither our status fields nor the condition they travel in on {what}: install Backproof's CRDs")]
    Dropped {
        /// Kind and name.
        what: String,
    },
    /// Another controller acts now.
    #[error("this controller leads no more: Lease {lease} is another one's, or could not be renewed in time")]
    NotLeading {
        /// Namespace and name of the Lease.
        lease: String,
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
                // 410: what was read is too old to go on from; reading again is all it takes.
                Some(410 | 429 | 500..) | None => Class::Unavailable,
                Some(_) => Class::Refused,
            },
            Self::Connect { .. } => Class::Unavailable,
            Self::Stale { .. } => Class::Conflict,
            Self::Dropped { .. } => Class::Refused,
            Self::Start { .. }
            | Self::Encode { .. }
            | Self::Incomplete { .. }
            | Self::PartEnded { .. }
            | Self::PartPanicked { .. }
            | Self::NotLeading { .. } => Class::Internal,
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
            | Self::Dropped { .. }
            | Self::NotLeading { .. }
            | Self::Encode { .. }
            | Self::Incomplete { .. }
            | Self::PartEnded { .. }
            | Self::PartPanicked { .. } => None,
        }
    }

    /// The whole chain of sources in one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and all its sources in one line. What the API server answered is its message alone, not the whole answer.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let (words, source) = words(error);
        // Some libraries repeat their source's text in their own.
        if !text.ends_with(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        next = source;
    }
    text
}

/// The words of one error without those of its source, and the source.
fn words<'a>(error: &'a (dyn std::error::Error + 'static)) -> (String, Option<&'a (dyn std::error::Error + 'static)>) {
    use kube::runtime::watcher;
    let api = error.downcast_ref::<kube::Error>().or_else(|| error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref));
    match (api, error.downcast_ref::<watcher::Error>()) {
        (Some(kube::Error::Api(status)), _) => (answered(status), None),
        (_, Some(watcher::Error::InitialListFailed(source))) => ("cannot list".to_owned(), Some(source)),
        (_, Some(watcher::Error::WatchStartFailed(source) | watcher::Error::WatchFailed(source))) => {
            ("cannot watch".to_owned(), Some(source))
        }
        (_, Some(watcher::Error::WatchError(status))) => (format!("the watch ended: {}", answered(status)), None),
        (Some(_) | None, _) => (error.to_string(), error.source()),
    }
}

/// What the API server said, for people.
fn answered(status: &kube::core::Status) -> String {
    match (status.message.is_empty(), status.reason.is_empty()) {
        (false, _) => status.message.clone(),
        (true, false) => format!("{} ({})", status.reason, status.code),
        (true, true) => format!("status {}", status.code),
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error { Some(status.code) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_is_quoted_not_dumped() {
        let status = kube::core::Status::failure("pods is forbidden", "Forbidden").with_code(403).boxed();
        let error = Error::api("list pods")(kube::Error::Api(status));
        assert_eq!(error.chain(), "cannot list pods: pods is forbidden");
        let status = kube::core::Status::failure("", "Expired").with_code(410).boxed();
        let error = kube::runtime::watcher::Error::InitialListFailed(kube::Error::Api(status));
        assert_eq!(chain(&error), "cannot list: Expired (410)");
        let io = std::io::Error::other("no route to host");
        assert_eq!(Error::Start { what: "listen".into(), source: io }.chain(), "cannot listen: no route to host");
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_soon() {
        let class = |code: u16| {
            let status = kube::core::Status::failure("no", "reason").with_code(code).boxed();
            Error::api("list Addons")(kube::Error::Api(status)).class()
        };
        for (code, expected) in [
            (409, Class::Conflict),
            (410, Class::Unavailable),
            (429, Class::Unavailable),
            (500, Class::Unavailable),
            (504, Class::Unavailable),
            (403, Class::Forbidden),
            (422, Class::Refused),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
        assert!(Class::Unavailable.requeue() <= Duration::from_secs(5));
    }
}
