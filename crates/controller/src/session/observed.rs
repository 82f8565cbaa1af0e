//! Everything a decision may rest on, as plain data; `observe` fills it, `decide` reads it.

use std::{collections::BTreeMap, sync::Arc};

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository,
    RestoreSession, Snapshot, run::PinnedTarget, validate::Invoker,
};
use jiff::SignedDuration;

use super::discovery::Discovery;
use crate::{Config, database::Server, hold::Place, lease::Lock, shared::Reading};

/// What was seen of the world for one session.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// The session, as fresh as our own last write.
    pub(super) session: Arc<BackupVerificationSession>,
    /// What the installation allows.
    pub(super) settings: Settings,
    /// What the session refers to; read before the run is pinned, and again before the RestoreSession is made.
    pub(super) references: Option<Arc<References>>,
    /// What the API server said when that could not be read until the session's time was over.
    pub(super) unreadable: Option<String>,
    /// The Repository as far as hold-off is concerned; read while it matters.
    pub(super) place: Option<Place>,
    /// The lock on the target.
    pub(super) lock: Lock,
    /// The RestoreSession of the session's name.
    pub(super) restore: Seen<RestoreSession>,
    /// The Snapshot of the pinned name; read when the verdict is known.
    pub(super) snapshot: Seen<Snapshot>,
    /// Other sessions of the same invoker, session and repository.
    pub(super) siblings: Vec<Sibling>,
    /// Jobs and pods that carry this session's UID; read when they must go.
    pub(super) remains: Option<Remains>,
    /// Whether the invoker would take a retry; read when one is due.
    pub(super) invoker: Seen<OwnedInvoker>,
    /// What came of making the retry in this reconcile.
    pub(super) retry: Retry,
}

/// What came of making a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Retry {
    /// Nobody tried.
    #[default]
    NotTried,
    /// It is there.
    Made,
    /// Every name it could have belongs to another session.
    NoName,
    /// The API server refuses it, with what it said.
    Refused(String),
}

/// An object that may not have been looked for.
#[derive(Clone, Debug, Default)]
pub(super) enum Seen<T> {
    /// Nobody looked.
    #[default]
    NotRead,
    /// It does not exist.
    Absent,
    /// It exists.
    Present(Box<T>),
}

/// What the installation allows.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) default_timeout: SignedDuration,
    pub(super) default_start_timeout: SignedDuration,
    pub(super) foreign_functions: bool,
    pub(super) unsafe_namespaces: Vec<String>,
    pub(super) crossing: Vec<crate::config::CrossNamespace>,
}

impl Settings {
    /// The part of the configuration that decisions rest on.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            default_timeout: config.default_timeout,
            default_start_timeout: config.default_start_timeout,
            foreign_functions: config.foreign_functions,
            unsafe_namespaces: config.unsafe_namespaces.clone(),
            crossing: config.cross_namespace.clone(),
        }
    }
}

/// What a session refers to, read in the order of the fields up to the first that is missing.
#[derive(Clone, Debug, Default)]
pub(super) struct References {
    pub(super) invoker: Option<OwnedInvoker>,
    pub(super) repository: Option<Repository>,
    pub(super) verifier: Option<BackupVerifier>,
    pub(super) storage: Option<BackupStorage>,
    /// Labels of the session's namespace, where the storage lies in another one.
    pub(super) namespace_labels: BTreeMap<String, String>,
    /// The Snapshot that was named, or every Snapshot of the namespace when the newest is wanted.
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) addon: Option<Addon>,
    pub(super) function: Option<Function>,
    /// The Function that asks, where the verifier's type is Query.
    pub(super) verify_function: Option<Function>,
    pub(super) target: Option<Target>,
    /// Claims that hold what was backed up, or the repository itself.
    pub(super) sources: Vec<Claim>,
    /// The database that is restored into, where it is one of what is backed up: which, in words.
    pub(super) database_sources: Vec<String>,
    /// Whether discovery has yet to look for new restic snapshots.
    pub(super) discovery: Discovery,
    /// Whether that comes from caches, which may lag.
    pub(super) reading: Reading,
}

/// An invoker that was read.
#[derive(Clone, Debug)]
pub(super) enum OwnedInvoker {
    Configuration(Box<BackupConfiguration>),
    Batch(Box<BackupBatch>),
}

impl OwnedInvoker {
    /// Both kinds alike.
    pub(super) fn as_invoker(&self) -> Invoker<'_> {
        match self {
            Self::Configuration(configuration) => Invoker::Configuration(configuration),
            Self::Batch(batch) => Invoker::Batch(batch),
        }
    }
}

/// What is restored into.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Claim(Claim),
    Database(Box<Server>),
}

impl Target {
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Claim(claim) => &claim.namespace,
            Self::Database(server) => &server.object.namespace,
        }
    }

    /// Whether it is the one that a run was pinned to, unchanged.
    pub(super) fn is(&self, pinned: &PinnedTarget) -> bool {
        match self {
            Self::Claim(claim) => claim.uid == pinned.object.uid,
            Self::Database(server) => server.object == pinned.object,
        }
    }
}

/// A PersistentVolumeClaim, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// UID of the PersistentVolume behind it; empty while it is unbound.
    pub(super) volume_uid: String,
    /// Where the volume's data lies, as one text; empty when unknown.
    pub(super) place: String,
    /// What this claim is to the backup, for messages.
    pub(super) role: String,
}

/// Another session of the same invoker, session and repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sibling {
    pub(super) name: String,
    pub(super) uid: String,
    /// Creation time and name: the order of sessions.
    pub(super) order: (jiff::Timestamp, String),
    pub(super) state: SiblingState,
}

/// How far another session is, as far as history cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SiblingState {
    /// Unfinished, or a retry of it is still owed, or on its way out.
    Running,
    /// Finished and ran.
    Finished,
    /// Finished because it was proven before.
    Skipped,
}

/// Jobs and pods that carry this session's UID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// Jobs as namespace/name.
    pub(super) jobs: Vec<String>,
    /// Those of them that have not ended, so that they may make another pod.
    pub(super) working: Vec<String>,
    /// Pods that are not gone, with their node.
    pub(super) pods: Vec<String>,
    /// Set when a right is missing to look, with what the API server said.
    pub(super) forbidden: Option<String>,
}

impl Remains {
    /// What may still touch a target, now or later: pods, Jobs that may make one, and what nobody may look at.
    pub(super) fn busy(&self) -> Vec<String> {
        self.working.iter().chain(&self.pods).chain(&self.forbidden).cloned().collect()
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.pods.is_empty() && self.forbidden.is_none()
    }
}
