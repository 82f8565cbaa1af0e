//! `explain`: walks from a session to everything it depends on, and says in each line what is fine and what is not.

mod answer;
mod references;
mod work;

use backproof_api::{BackupVerificationSession, kept};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    cluster::Cluster,
    error::Error,
    options::Explain,
    output::{self, plain},
};

/// What a line says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// It is as it must be.
    Fine,
    /// It keeps the backup from being proven, or may.
    Wrong,
    /// It is not there yet, or at work.
    Waiting,
    /// Nobody could look.
    Unseen,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Wrong => "!!",
            Self::Waiting => "..",
            Self::Unseen => "??",
        }
    }
}

/// The lines so far.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, mark: Mark, what: &str, text: &str) {
        self.0.push_str(format!("{:<3} {what:<12} {}", mark.word(), plain(text)).trim_end());
        self.0.push('\n');
    }

    /// What was read; without the right to, a line says so.
    fn read<T>(&mut self, what: &str, read: Result<T, Error>) -> Result<Option<T>, Error> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error @ Error::Refused { .. }) => {
                self.add(Mark::Unseen, what, &format!("not looked at: {error}"));
                Ok(None)
            }
            Err(error @ (Error::Reference(_) | Error::Session(_) | Error::Cluster { .. } | Error::Local { .. })) => Err(error),
        }
    }
}

pub(crate) async fn run(cluster: &Cluster, asked: &Explain) -> Result<u8, Error> {
    let missing = || {
        Error::Reference(format!(
            "BackupVerificationSession {}/{} does not exist: correct the name, or give its namespace by -n; finished ones go by their verifier's sessionHistoryLimit",
            cluster.namespace, asked.name
        ))
    };
    let mut session: BackupVerificationSession = cluster.get("", &asked.name).await?.ok_or_else(missing)?;
    session.status.as_mut().map(kept::unpack).unwrap_or_default();
    let now = Timestamp::now();
    let mut lines = Lines::default();
    own(&mut lines, &session, now);
    references::walk(cluster, &mut lines, &session, now).await?;
    work::walk(cluster, &mut lines, &session, now).await?;
    lines.0.push('\n');
    lines.0.push_str(&answer::text(&session));
    output::print(&lines.0).map(|()| 0)
}

/// The session itself.
fn own(lines: &mut Lines, session: &BackupVerificationSession, now: Timestamp) {
    let name = format!("{}/{}", session.namespace().unwrap_or_default(), session.name_any());
    let created = session.metadata.creation_timestamp.as_ref().map(|time| output::age(time.0, now)).unwrap_or_default();
    let Some(status) = session.status.as_ref().filter(|status| status.phase.is_some() || !status.conditions.is_empty()) else {
        lines.add(Mark::Waiting, "session", &format!("{name}: created {created} ago, and no controller has taken it up"));
        return;
    };
    if kept::is_foreign(status) {
        lines.add(Mark::Wrong, "session", &format!("{name}: its status is another operator's, and Backproof does nothing with it"));
        return;
    }
    let phase = status.phase.as_ref().map(ToString::to_string).unwrap_or_default();
    let verdict = status.verdict.as_ref().map(|verdict| format!(", {verdict}")).unwrap_or_default();
    let mark = match answer::of(session) {
        answer::Answer::Proven => Mark::Fine,
        answer::Answer::Open => Mark::Waiting,
        answer::Answer::Not => Mark::Wrong,
    };
    let ending = if session.metadata.deletion_timestamp.is_some() { ", being deleted" } else { "" };
    lines.add(mark, "session", &format!("{name}: {phase}{verdict}{ending}, created {created} ago"));
}
