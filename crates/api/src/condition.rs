//! Conditions: upstream's type, and how one is read and set.
//!
//! The list is atomic upstream, so it is always read, changed and written as a whole. Order is kept: an entry is replaced
//! where it stands, or appended. `now` comes in as a parameter.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::shared::wire;

/// The status of a condition that holds.
pub const TRUE: &str = "True";
/// The status of a condition that does not hold.
pub const FALSE: &str = "False";
/// The status of a condition nobody can judge yet.
pub const UNKNOWN: &str = "Unknown";

/// The object is what its author wants, in kstatus's words.
pub const READY: &str = "Ready";
/// Work is under way, in kstatus's words.
pub const RECONCILING: &str = "Reconciling";
/// Nothing more will happen although it is not ready, in kstatus's words.
pub const STALLED: &str = "Stalled";

wire! {
    /// One fact about an object: its type, whether it holds, since when and why.
    #[schemars(extend("required" = ["lastTransitionTime", "status", "type"]))]
    pub struct Condition {
        /// Which fact this is.
        #[serde(rename = "type")]
        pub kind: String,
        /// True, False or Unknown.
        pub status: String,
        /// Since when the status is what it is.
        #[schemars(with = "Time")]
        pub last_transition_time: Option<Time>,
        /// Why, as one word for programs.
        pub reason: String,
        /// Why, as one sentence for people.
        pub message: String,
        /// How bad it is when the status is False: Error, Warning or Info.
        pub severity: String,
        /// Generation of the object this was found for.
        pub observed_generation: i64,
    }
}

/// The entry of this type.
pub fn get<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

/// Whether the entry is present and True.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    get(conditions, kind).is_some_and(|condition| condition.status == TRUE)
}

/// Whether the entry is present and False; an absent entry is neither True nor False.
pub fn is_false(conditions: &[Condition], kind: &str) -> bool {
    get(conditions, kind).is_some_and(|condition| condition.status == FALSE)
}

/// Whether the entry is present, whatever its status.
pub fn is_present(conditions: &[Condition], kind: &str) -> bool {
    get(conditions, kind).is_some()
}

/// Sets an entry and says whether anything changed.
///
/// Nothing changes when status, reason, message and (if the new one gives it) generation are those of the entry, nor when
/// the new one was found for an older generation. `lastTransitionTime` becomes `now` when the status changes and else stays,
/// so that it says since when something is so; upstream moves it with the message too.
pub fn set(conditions: &mut Vec<Condition>, new: Condition, now: Time) -> bool {
    let Some(old) = conditions.iter_mut().find(|condition| condition.kind == new.kind) else {
        conditions.push(Condition { last_transition_time: Some(now), ..new });
        return true;
    };
    let given = new.observed_generation != 0;
    if given && new.observed_generation < old.observed_generation {
        return false;
    }
    let same_text = old.status == new.status && old.reason == new.reason && old.message == new.message;
    if same_text && (!given || new.observed_generation == old.observed_generation) {
        return false;
    }
    let since = if old.status == new.status { old.last_transition_time.take().unwrap_or(now) } else { now };
    let generation = if given { new.observed_generation } else { old.observed_generation };
    *old = Condition { last_transition_time: Some(since), observed_generation: generation, ..new };
    true
}

impl Condition {
    /// A condition without message.
    pub fn new(kind: &str, status: &str, reason: &str) -> Self {
        Self { kind: kind.into(), status: status.into(), reason: reason.into(), ..Self::default() }
    }

    /// The same with a message for people.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }
}
