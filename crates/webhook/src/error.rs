//! What can go wrong outside of a review, said with the object and what to do.

use std::error::Error as _;

/// What can go wrong outside of a review.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process could not begin its work.
    #[error("cannot {what}")]
    Start {
        /// What was to be done.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// No API server is configured.
    #[error("cannot find an API server: run in a pod with a ServiceAccount, or set KUBECONFIG")]
    Client(#[from] Box<kube::Error>),
    /// A call of the API server failed.
    #[error("cannot {what}")]
    Api {
        /// What was to be done.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody else wrote the same object at the same time; looking again settles it.
    #[error("could not {what}: somebody else wrote it at the same time")]
    Conflict {
        /// The object.
        what: String,
    },
    /// The registration does not exist.
    #[error("ValidatingWebhookConfiguration {name} does not exist; install the chart with webhook.enabled=true")]
    NotRegistered {
        /// Its name.
        name: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
    /// A task that must never end has ended.
    #[error("{task} ended: {why}")]
    Ended {
        /// The task.
        task: &'static str,
        /// Why.
        why: String,
    },
}

impl Error {
    /// Wraps a failed call of the API server; a conflict keeps its own kind, as it is settled by looking again.
    pub fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| {
            let what = what.into();
            if matches!(&source, kube::Error::Api(status) if status.code == 409) {
                Self::Conflict { what }
            } else {
                Self::Api { what, source: Box::new(source) }
            }
        }
    }

    /// The message with all its causes.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}
