//! What really happened, whatever anybody claims: which containers of which Jobs proved what, and what was started and made.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
};

use backproof_api::run::VERIFIER_JOB;
use backproof_testing::memory::Object;

/// What one container was told to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Did {
    pub(super) session: String,
    pub(super) component: String,
    pub(super) restic_id: String,
    /// UID of its Job.
    pub(super) job: String,
}

impl Did {
    /// As the container sees it: from its environment and its arguments.
    pub(super) fn of_pod(pod: &Object) -> Self {
        let container = pod.at("/spec/containers/0");
        let variable = |name: &str| {
            let all = container["env"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter()
                .find(|variable| variable["name"] == name)
                .and_then(|variable| variable["value"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let arguments = container["args"].as_array().map(Vec::as_slice).unwrap_or_default();
        // Who asks a database is told in the environment what was restored into it.
        let asked = variable("BACKPROOF_RESTIC_SNAPSHOT");
        let restic_id = arguments.iter().find_map(|argument| argument.as_str()?.strip_prefix("--snapshot=")).unwrap_or(&asked);
        Self {
            session: variable("BACKPROOF_SESSION_UID"),
            component: variable("BACKPROOF_COMPONENT"),
            restic_id: restic_id.to_owned(),
            job: pod.owners().first().and_then(|owner| owner["uid"].as_str()).unwrap_or_default().to_owned(),
        }
    }
}

/// What a container really did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Deeds {
    /// Restored everything and read it back.
    Proven,
    /// Found a defect.
    Defect,
    /// Wiped the target.
    Wiped,
    /// Neither.
    Nothing,
}

/// How a session ended, and all that its status said then.
pub(super) type Ending = std::sync::Arc<serde_json::Value>;

/// What really happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    runs: BTreeSet<(Did, Deeds)>,
    /// Jobs that the controller started, by session UID and component.
    pub(super) started: BTreeMap<(String, String), BTreeSet<String>>,
    /// RestoreSessions that the controller made, by session UID.
    pub(super) restores: BTreeMap<String, BTreeSet<String>>,
    /// Jobs recorded in the status of a RestoreSession.
    pub(super) recorded: BTreeSet<String>,
    /// Holders of locks.
    pub(super) holders: BTreeMap<String, String>,
    /// Statuses of objects that have ended, by UID.
    pub(super) ended: BTreeMap<String, Ending>,
    /// Content that stood behind Snapshots: UID and restic ids.
    pub(super) snapshots: BTreeSet<(String, Vec<String>)>,
    /// Sessions made by the controller, by the UID of the one they repeat.
    pub(super) retries: BTreeMap<String, BTreeSet<String>>,
    /// Sessions that were there: UID, name, and how many retries they had left.
    pub(super) sessions: BTreeMap<String, (String, i64)>,
    /// The session that a retry goes back to, both by UID.
    pub(super) origins: BTreeMap<String, String>,
    /// Sessions that lost their finalizer while a RestoreSession, Job or pod of theirs was there, by UID.
    pub(super) let_go: BTreeSet<String>,
    /// Objects that strangers made.
    pub(super) forged: BTreeSet<String>,
    /// Whether a stranger tore a lock or a finalizer away: mutual exclusion ends there.
    pub(super) torn: bool,
    /// Steps of sessions, one after the other, as they were observed.
    pub(super) steps: BTreeSet<(&'static str, &'static str)>,
}

impl Truth {
    pub(super) fn ran(&mut self, did: Did, deeds: Deeds) {
        self.runs.insert((did, deeds));
    }

    /// Whether a container of a Job that was started for this session did this to this restic snapshot.
    pub(super) fn holds(&self, session: &str, component: &str, restic_id: &str, deeds: Deeds) -> bool {
        self.runs.iter().any(|(did, what)| {
            *what == deeds
                && did.session == session
                && did.component == component
                && did.restic_id == restic_id
                && self.started.get(&(session.to_owned(), component.to_owned())).is_some_and(|jobs| jobs.contains(&did.job))
        })
    }

    /// Whether everything of a session that restores one component was restored.
    pub(super) fn restored(&self, session: &str) -> bool {
        self.runs.iter().any(|(did, what)| {
            *what == Deeds::Proven
                && did.session == session
                && did.component != VERIFIER_JOB
                && self.holds(session, &did.component, &did.restic_id, *what)
        })
    }

    /// Whether any component of this session was found defective.
    pub(super) fn has_defect(&self, session: &str) -> bool {
        self.runs.iter().any(|(did, what)| {
            *what == Deeds::Defect
                && did.session == session
                && self.started.get(&(session.to_owned(), did.component.clone())).is_some_and(|jobs| jobs.contains(&did.job))
        })
    }

    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.runs, &self.started, &self.restores, &self.recorded, &self.retries, &self.let_go, self.torn).hash(&mut hasher);
        hasher.finish()
    }
}
