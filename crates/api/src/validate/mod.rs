//! What may be created and what may not: pure rules with two callers, admission and the controller.
//!
//! Invariant: a rule gets parsed objects and what was looked up about the objects they refer to; it looks up nothing itself,
//! it stops at no fault, and it guesses nothing. What could not be looked up is neither a fault nor a pass: it is said to be
//! unanswered, and the caller asks again later.

mod cron;
mod invoker;
mod session;
mod target;
mod verifier;

use std::fmt;

pub use cron::check_schedule;
pub use invoker::{Invoker, RepositoryEntry};
pub use session::{LATEST, SessionFacts, session, session_update, wants_newest};
pub use target::target_is_source;
pub use verifier::{MOST_RETRIES, verifier};

/// What a look-up of an object found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The object.
    Found(T),
    /// It does not exist.
    Missing,
    /// It could not be found out, and why.
    Unknown(String),
}

impl<T> Lookup<T> {
    /// The object, if it was found.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(object) => Some(object),
            Self::Missing | Self::Unknown(_) => None,
        }
    }

    /// The same look-up of something made from the object.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Found(object) => Lookup::Found(change(object)),
            Self::Missing => Lookup::Missing,
            Self::Unknown(why) => Lookup::Unknown(why),
        }
    }

    /// The same look-up by reference.
    pub fn as_ref(&self) -> Lookup<&T> {
        match self {
            Self::Found(object) => Lookup::Found(object),
            Self::Missing => Lookup::Missing,
            Self::Unknown(why) => Lookup::Unknown(why.clone()),
        }
    }
}

/// One thing that is wrong with an object: where, what, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `spec.invoker.name`.
    pub field: String,
    /// What is wrong, naming the objects.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Violation {
    /// Problem and remedy, for places that show the field by themselves.
    pub fn text(&self) -> String {
        format!("{}; {}", self.problem, self.remedy)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.problem, self.remedy)
    }
}

/// Everything the rules have to say about one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What must be mended first.
    pub violations: Vec<Violation>,
    /// What the author should know although it is allowed.
    pub warnings: Vec<Violation>,
    /// What could not be found out; without an answer the object is neither right nor wrong.
    pub unanswered: Vec<String>,
}

impl Findings {
    /// Whether there is nothing wrong and nothing left open.
    pub fn passed(&self) -> bool {
        self.violations.is_empty() && self.unanswered.is_empty()
    }

    fn refuse(&mut self, field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        self.violations.push(Violation { field: field.into(), problem: problem.into(), remedy: remedy.into() });
    }

    fn warn(&mut self, field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(Violation { field: field.into(), problem: problem.into(), remedy: remedy.into() });
    }
}

/// The violations as one text: a single one in a line, several as a list.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.violations.as_slice() {
            [] => Ok(()),
            [only] => only.fmt(f),
            several => {
                write!(f, "{} problems", several.len())?;
                several.iter().try_for_each(|violation| write!(f, "\n* {violation}"))
            }
        }
    }
}

/// Names to choose from, for a remedy; long lists are cut, and the cut is said.
fn choices<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Refuses a text that is no Go duration, or one below the least allowed; an empty one is absent.
fn check_duration(findings: &mut Findings, field: &str, text: &str, zero: Zero) {
    if text.is_empty() {
        return;
    }
    let fault = match (crate::duration::parse(text), zero) {
        (Err(error), _) => error.to_string(),
        (Ok(duration), Zero::Allowed) if duration.is_negative() => format!("{text:?} is below zero: write it like 90s, 10m or 6h30m"),
        (Ok(duration), Zero::Refused) if !duration.is_positive() => format!("{text:?} leaves no time: write it like 90s, 10m or 6h30m"),
        (Ok(_), Zero::Allowed | Zero::Refused) => return,
    };
    // Faults of durations are written "what: remedy"; the text itself stands before the last colon.
    let (problem, remedy) = fault.rsplit_once(": ").unwrap_or((&fault, "write it like 90s, 10m or 6h30m"));
    findings.refuse(field, problem, remedy);
}

/// Whether a duration may be zero.
#[derive(Clone, Copy)]
enum Zero {
    Allowed,
    Refused,
}
