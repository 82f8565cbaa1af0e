//! What `trigger` asks of the API server: two lists, one create, one event.

use backproof_api::{BackupVerificationSession, Snapshot, names, text::cut};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;

use super::plan::{Listed, Request, is_candidate};

/// Objects per page of a list, so that memory does not grow with the namespace.
const PAGE: u32 = 500;
/// Most bytes of an event's message that the API server takes.
const NOTE_LIMIT: usize = 1000;
/// Equal warnings within so many seconds are one event.
const WARNING_WINDOW_SECONDS: i64 = 1800;

/// The API server, as seen from the invoker's namespace.
pub(super) struct Cluster {
    client: Client,
    namespace: String,
}

/// What came of a create.
pub(super) enum Created {
    /// It was made under this name.
    Now(String),
    /// The name belongs to this session.
    Taken(Box<BackupVerificationSession>),
}

/// Why a tick led to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The process could not start.
    #[error("cannot start: {0}")]
    Start(String),
    /// No way to the API server is known.
    #[error("cannot find out how to reach the API server: {0}")]
    Connect(String),
    /// The API server refused or did not answer.
    #[error("cannot {what}: {}", chain(.source))]
    Api {
        /// Verb and object.
        what: String,
        /// What the client said.
        source: Box<kube::Error>,
    },
    /// A session of that name appeared and vanished again.
    #[error("BackupVerificationSession {0} is taken, and gone when looked at")]
    Vanished(String),
}

impl Failure {
    /// Whether asking again may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Api { source, .. } => code(source).is_none_or(|code| code == 429 || code >= 500),
            Self::Vanished(_) => true,
            Self::Start(_) | Self::Connect(_) => false,
        }
    }

    /// Whether the API server understood and refused, so that a person must act.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Api { source, .. } => code(source).is_some_and(|code| code != 429 && code < 500),
            Self::Vanished(_) | Self::Start(_) | Self::Connect(_) => false,
        }
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error { Some(status.code) } else { None }
}

/// The whole chain of sources, so that a refused connection says which and why.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            text = format!("{text}: {next_text}");
        }
        source = next.source();
    }
    text
}

fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Failure {
    let what = what.into();
    move |source| Failure::Api { what, source: Box::new(source) }
}

impl Cluster {
    pub(super) async fn connect(namespace: &str) -> Result<Self, Failure> {
        // A second caller in the same process finds the provider set; that is the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.map_err(|error| Failure::Connect(chain(&error)))?;
        Ok(Self { client, namespace: namespace.to_owned() })
    }

    /// The sessions of the namespace, and the Snapshots this request may choose from.
    pub(super) async fn list(&self, request: &Request) -> Result<Listed, Failure> {
        let sessions = self.pages("list BackupVerificationSessions", |_: &BackupVerificationSession| true).await?;
        let snapshots =
            self.pages("list Snapshots", |snapshot: &Snapshot| is_candidate(snapshot, &request.repository, &request.session)).await?;
        Ok(Listed { sessions, snapshots })
    }

    async fn pages<K>(&self, what: &str, keep: impl Fn(&K) -> bool) -> Result<Vec<K>, Failure>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut kept = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&params).await.map_err(failed(format!("{what} of namespace {}", self.namespace)))?;
            kept.extend(page.items.into_iter().filter(&keep));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(kept),
            }
        }
    }

    pub(super) async fn create(&self, session: &BackupVerificationSession) -> Result<Created, Failure> {
        let api: Api<BackupVerificationSession> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = session.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), session).await {
            Ok(_) => Ok(Created::Now(name)),
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                // A list by name needs no right beyond the one to list.
                let named = ListParams::default().fields(&format!("metadata.name={name}"));
                let found =
                    api.list(&named).await.map_err(failed(format!("look at BackupVerificationSession {}/{name}", self.namespace)))?;
                found.items.into_iter().next().map(|other| Created::Taken(Box::new(other))).ok_or(Failure::Vanished(name))
            }
            Err(error) => Err(failed(format!("create BackupVerificationSession {}/{name}", self.namespace))(error)),
        }
    }

    /// Puts a warning on the invoker. A failure is printed only: events tell the story, they do not make it.
    pub(super) async fn warn(&self, request: &Request, cronjob: &str, reason: &str, message: &str) {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let event = warning(request, cronjob, reason, message, Timestamp::now());
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {}
            // Said already, a short while ago.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => eprintln!("cannot publish event {reason}: {}", chain(&error)),
        }
    }
}

/// The event. Its name repeats within a window, so that a schedule of one minute does not flood the namespace.
fn warning(request: &Request, cronjob: &str, reason: &str, message: &str, now: Timestamp) -> Event {
    let window = (now.as_second() / WARNING_WINDOW_SECONDS).to_string();
    let hash = names::short_hash(&[cronjob, reason, message, &window]);
    let mut note = message.to_owned();
    cut(&mut note, NOTE_LIMIT);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{cronjob}.{hash}")),
            namespace: Some(request.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("core.kubestash.com/v1alpha1".to_owned()),
            kind: Some(request.invoker_kind.clone()),
            namespace: Some(request.namespace.clone()),
            name: Some(request.invoker_name.clone()),
            uid: Some(request.invoker_uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(note),
        source: Some(EventSource { component: Some("backproof-trigger".to_owned()), host: None }),
        reporting_component: Some("backproof-trigger".to_owned()),
        reporting_instance: Some(cronjob.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::plan::{Policy, SnapshotSource, Tick};

    fn request() -> Request {
        Request {
            namespace: "demo".into(),
            invoker_kind: "BackupConfiguration".into(),
            invoker_name: "sample".into(),
            invoker_uid: "u".into(),
            session: "s".into(),
            repository: "r".into(),
            policy: Policy::Allow,
            retry_left: 0,
            source: SnapshotSource::Objects,
            tick: Tick { key: "c/60".into(), at: 60 },
        }
    }

    #[test]
    fn the_same_warning_is_one_event_for_half_an_hour() {
        let at = |second| warning(&request(), "cron", "NoSnapshotToVerify", "text", Timestamp::from_second(second).unwrap()).metadata.name;
        assert_eq!(at(1800), at(3599));
        assert_ne!(at(1800), at(3600));
        let other = warning(&request(), "cron", "NoSnapshotToVerify", "other", Timestamp::from_second(1800).unwrap()).metadata.name;
        assert_ne!(at(1800), other);
    }

    #[test]
    fn a_long_message_fits_an_event() {
        let event = warning(&request(), "cron", "X", &"é".repeat(4000), Timestamp::UNIX_EPOCH);
        assert!(event.message.unwrap().len() <= NOTE_LIMIT);
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        let status = |code: u16| {
            let status = kube::core::Status::failure("no", "Reason").with_code(code).boxed();
            failed("x")(kube::Error::Api(status))
        };
        for (code, passes, refusal) in
            [(403, false, true), (400, false, true), (422, false, true), (429, true, false), (500, true, false), (503, true, false)]
        {
            assert_eq!((status(code).may_pass(), status(code).is_refusal()), (passes, refusal), "{code}");
        }
    }
}
