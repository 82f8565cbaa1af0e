//! Events on the objects of people: each transition once, aggregated, and never a reason to fail.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use backproof_api::text::cut;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource, ResourceExt as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::{mpsc, oneshot};

use crate::{Error, error::Class};

/// Most bytes of an event's message that the API server takes.
const NOTE_LIMIT: usize = 1024;

/// How many events are published at once; those of one object go one after the other.
const LANES: usize = 8;
/// How many may wait in a lane; what comes then is logged only.
const WAITING: usize = 1024;
/// How long one may take, with everything the client tries again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the end of the process waits for events under way.
const LAST: Duration = Duration::from_secs(5);

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    /// Where they wait; without lanes each is published before its reconcile goes on.
    lanes: Arc<[mpsc::Sender<Posted>]>,
}

/// What a lane is given.
enum Posted {
    Event(Box<(Event, ObjectReference)>),
    /// Everything before this is published.
    Mark(oneshot::Sender<()>),
}

/// Whether an event tells of progress or of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Progress.
    Normal,
    /// Trouble.
    Warning,
}

/// One event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Progress or trouble.
    pub tone: Tone,
    /// One word in PascalCase.
    pub reason: &'static str,
    /// What was done, one word in PascalCase. Events equal in object, reason and action within six minutes become one with a count.
    pub action: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Note {
    /// Tells of progress.
    pub fn normal(reason: &'static str, action: &'static str, message: impl Into<String>) -> Self {
        Self { tone: Tone::Normal, reason, action, message: message.into() }
    }

    /// Tells of trouble.
    pub fn warning(reason: &'static str, action: &'static str, message: impl Into<String>) -> Self {
        Self { tone: Tone::Warning, reason, action, message: message.into() }
    }
}

impl Events {
    /// Publishes as `backproof-controller`.
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "backproof-controller".into(), instance: std::env::var("POD_NAME").ok() };
        Self { recorder: Recorder::new(client, reporter), lanes: Arc::new([]) }
    }

    /// The same beside the reconciles, which do not wait for the API server to take their events.
    #[must_use]
    pub fn in_background(self) -> Self {
        let lane = |_| {
            let (sender, mut posted) = mpsc::channel(WAITING);
            let recorder = self.recorder.clone();
            tokio::spawn(async move {
                while let Some(next) = posted.recv().await {
                    match next {
                        Posted::Event(event) => send(&recorder, &event.0, &event.1).await,
                        // Whoever asked may have gone.
                        Posted::Mark(reached) => drop(reached.send(())),
                    }
                }
            });
            sender
        };
        Self { recorder: self.recorder.clone(), lanes: (0..LANES).map(lane).collect() }
    }

    /// Completes when everything told until now is published, or after five seconds.
    pub async fn flushed(&self) {
        let all = futures::future::join_all(self.lanes.iter().map(async |lane| {
            let (reached, mark) = oneshot::channel();
            if lane.send(Posted::Mark(reached)).await.is_ok() {
                // A lane that is gone has nothing left.
                let _ = mark.await;
            }
        }));
        if tokio::time::timeout(LAST, all).await.is_err() {
            tracing::warn!("the process ends before its last events are published");
        }
    }

    /// Publishes an event on an object. A failure is logged only: events tell the story, they do not make it.
    pub async fn publish(&self, regarding: &ObjectReference, note: Note) {
        self.publish_related(regarding, None, note).await;
    }

    /// Publishes an event on an object that another one caused; events about different causes are never made one.
    pub async fn publish_related(&self, regarding: &ObjectReference, related: Option<ObjectReference>, note: Note) {
        let mut message = note.message;
        cut(&mut message, NOTE_LIMIT);
        let event = Event {
            type_: match note.tone {
                Tone::Normal => EventType::Normal,
                Tone::Warning => EventType::Warning,
            },
            reason: note.reason.to_owned(),
            note: Some(message),
            action: note.action.to_owned(),
            secondary: related,
        };
        let mut hasher = DefaultHasher::new();
        (&regarding.uid, &regarding.name).hash(&mut hasher);
        let lanes = u64::try_from(self.lanes.len()).unwrap_or_default();
        let lane = hasher.finish().checked_rem(lanes).and_then(|lane| self.lanes.get(usize::try_from(lane).ok()?));
        match lane {
            None => send(&self.recorder, &event, regarding).await,
            // Nobody waits for events: an API server that takes none must not keep verdicts from being written.
            Some(lane) => {
                if lane.try_send(Posted::Event(Box::new((event, regarding.clone())))).is_err() {
                    tracing::warn!(
                        reason = note.reason,
                        object = regarding.name,
                        "too many events wait to be published; this one is dropped"
                    );
                }
            }
        }
    }

    /// Publishes an event on a typed object.
    pub async fn on<K: Resource<DynamicType = ()>>(&self, object: &K, note: Note) {
        self.publish(&object.object_ref(&()), note).await;
    }
}

async fn send(recorder: &Recorder, event: &Event, regarding: &ObjectReference) {
    match tokio::time::timeout(PATIENCE, recorder.publish(event, regarding)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(reason = event.reason, object = regarding.name, error = crate::error::chain(&error), "cannot publish an event");
        }
        Err(_) => tracing::warn!(reason = event.reason, object = regarding.name, "an event was not taken in time, and is given up"),
    }
}

/// A reference to an object for an event, from its parts.
pub fn regarding(api_version: &str, kind: &str, namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: (!uid.is_empty()).then(|| uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// Namespace and name of an object in one word, for messages.
pub fn path<K: Resource>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

/// The warning an error is worth to the owner of an object: none while trying again may help by itself.
pub(crate) fn of_error(error: &Error, action: &'static str) -> Option<Note> {
    match error.class() {
        Class::Conflict | Class::Unavailable => None,
        // Nothing can be made there any more, an event neither, and everything there is about to go.
        Class::Forbidden if error.chain().contains("because it is being terminated") => None,
        Class::Forbidden | Class::Refused | Class::Internal => Some(Note::warning(error.reason(), action, error.chain())),
    }
}
