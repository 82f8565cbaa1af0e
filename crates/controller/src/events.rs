//! Events on the objects of people: each transition once, aggregated, and never a reason to fail.

use backproof_api::text::cut;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource, ResourceExt as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{Error, error::Class};

/// Most bytes of an event's message that the API server takes.
const NOTE_LIMIT: usize = 1024;

/// Publishes events.
#[derive(Clone)]
pub struct Events(Recorder);

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
        Self(Recorder::new(client, Reporter { controller: "backproof-controller".into(), instance: std::env::var("POD_NAME").ok() }))
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
        if let Err(error) = self.0.publish(&event, regarding).await {
            tracing::warn!(reason = note.reason, object = regarding.name, error = crate::error::chain(&error), "cannot publish an event");
        }
    }

    /// Publishes an event on a typed object.
    pub async fn on<K: Resource<DynamicType = ()>>(&self, object: &K, note: Note) {
        self.publish(&object.object_ref(&()), note).await;
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
