//! What may be created and what may not: pure rules with two callers, admission and the controller.
//!
//! Invariant: a rule gets parsed objects and what was looked up about the objects they refer to; it looks up nothing itself,
//! it stops at no fault, and it guesses nothing. What could not be looked up is neither a fault nor a pass: it is said to be
//! unanswered, and the caller asks again later.

mod configuration;
mod consent;
mod cron;
mod deletion;
mod invoker;
mod others;
mod pods;
mod query;
mod references;
pub mod rule;
mod rules;
mod session;
mod storage;
mod target;
mod usage;
mod verifier;
mod volumes;

use std::fmt;

use crate::shared::SchedulerSpec;

pub use configuration::{InvokerFacts, invoker};
pub use consent::{Access, accesses_of_invoker, accesses_of_verifier, refuse_access};
pub use cron::check_schedule;
pub use deletion::{DeletionFacts, deletion};
pub use invoker::{Invoker, InvokerSession, RepositoryEntry};
pub use others::{addon, function, repository, repository_update, restore_session, snapshot};
pub use pods::{pod_settings, unsafe_container, unsafe_settings};
pub(crate) use query::query_refusals;
pub use references::{VerifierFacts, verifier_references};
pub use rule::{Effect, Rule};
pub use session::{LATEST, SessionFacts, session, session_update, wants_newest};
pub use storage::{StorageFacts, storage};
pub use target::{SourceClaims, claim_of_storage, claim_of_workload, target_is_source, workload_of};
pub use usage::usage_allows;
pub use verifier::{MOST_RETRIES, verifier};
pub use volumes::{is_own_place, is_own_volume};

/// Most violations, and most warnings, that are shown at once.
pub const MOST_SHOWN: usize = 50;

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
    /// The rule that was broken.
    pub rule: &'static str,
    /// Path of the field, such as `spec.invoker.name`.
    pub field: String,
    /// What is wrong, naming the objects.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Violation {
    fn new(rule: Rule, field: String, problem: String, remedy: String) -> Self {
        Self { rule: rule.id, field: one_line(field), problem: one_line(problem), remedy: one_line(remedy) }
    }

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

    /// Adds what other rules have to say.
    pub fn and(mut self, other: Self) -> Self {
        self.violations.extend(other.violations);
        self.warnings.extend(other.warnings);
        self.unanswered.extend(other.unanswered);
        self
    }

    /// What a change may be refused for: what was wrong before it, and is so still, becomes a warning. Rules that came after
    /// an object must not stop its owner from changing the rest of it.
    pub fn since(mut self, before: &Self) -> Self {
        let (old, new) = self.violations.into_iter().partition(|violation| before.violations.contains(violation));
        self.violations = new;
        self.warnings.extend::<Vec<_>>(old);
        self
    }

    fn refuse(&mut self, rule: Rule, field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        self.violations.push(Violation::new(rule, field.into(), problem.into(), remedy.into()));
    }

    fn warn(&mut self, rule: Rule, field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(Violation::new(rule, field.into(), problem.into(), remedy.into()));
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
                several.iter().take(MOST_SHOWN).try_for_each(|violation| write!(f, "\n* {violation}"))?;
                match several.len().saturating_sub(MOST_SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "\n* and {more} more"),
                }
            }
        }
    }
}

/// Most names that are looked at for a remedy: an object may hold tens of thousands, and a fault in each of them.
const LOOKED_AT: usize = 200;

/// Text that quotes what somebody wrote: it stays one line, so that nothing written there can pass for a message of ours, and it
/// is cut where nobody would read on.
fn one_line(text: String) -> String {
    const LONGEST: usize = 1000;
    let harmless = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if text.len() <= LONGEST && text.chars().all(harmless) {
        return text;
    }
    let mut line = String::new();
    for c in text.chars() {
        if line.len() >= LONGEST {
            line.push_str("...");
            break;
        }
        if harmless(c) { line.push(c) } else { line.extend(c.escape_default()) }
    }
    line
}

/// Names to choose from, for a remedy; long lists are cut, and the cut is said.
fn choices<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let beyond = names.len().saturating_sub(LOOKED_AT);
    names.truncate(LOOKED_AT);
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN) + beyond;
    names.truncate(SHOWN);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Refuses a text that is no Go duration, or one below the least allowed; an empty one is absent.
fn check_duration(findings: &mut Findings, rule: Rule, field: &str, text: &str, zero: Zero) {
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
    findings.refuse(rule, field, problem, remedy);
}

/// Refuses a schedule that no CronJob takes or that never fires, and a policy that is none.
fn check_scheduler(findings: &mut Findings, rules: (Rule, Rule), field: &str, scheduler: &SchedulerSpec) {
    if let Err(why) = check_schedule(&scheduler.schedule) {
        findings.refuse(
            rules.0,
            format!("{field}.schedule"),
            format!("{:?} is no schedule: {why}", scheduler.schedule),
            "write it like \"0 3 * * *\" (every night at three)",
        );
    }
    let policy = scheduler.concurrency_policy.as_str();
    if !["", "Allow", "Forbid", "Replace"].contains(&policy) {
        findings.refuse(
            rules.1,
            format!("{field}.concurrencyPolicy"),
            format!("{policy:?} is no policy"),
            "write Allow, Forbid or Replace",
        );
    }
}

/// The word that somebody may have meant.
fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.8;
    const LONGEST: usize = 100;
    if word.len() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    let likeness = |known: &&str| strsim::jaro_winkler(&lower, &known.to_lowercase());
    let known = known.into_iter().filter(|known| known.len() <= LONGEST).take(LOOKED_AT);
    let best = known.map(|known| (likeness(&known), known)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}

/// "did you mean X?" before a list of what there is, or the list alone.
fn did_you_mean(word: &str, known: &[&str], otherwise: &str) -> String {
    match (closest(word, known.iter().copied()), known) {
        (_, []) => otherwise.to_owned(),
        (Some(meant), _) => format!("did you mean {meant}?"),
        (None, known) => format!("write one of: {}", choices(known.iter().copied())),
    }
}

/// Whether a duration may be zero.
#[derive(Clone, Copy)]
enum Zero {
    Allowed,
    Refused,
}
