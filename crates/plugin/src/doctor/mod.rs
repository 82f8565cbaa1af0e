//! `doctor`: finds what stops verification, in the installation and in what refers to what.
//!
//! Invariant: what could not be looked at is named. It is a warning, so that `--strict` never passes over it.

mod access;
pub(crate) mod catalog;
mod installation;
mod objects;
mod references;

use std::fmt::Write as _;

use crate::{
    cluster::Cluster,
    error::Error,
    options::Doctor,
    output::{self, plain},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Something is not verified because of it.
    Problem,
    /// It may be meant so.
    Warning,
    /// Nobody could look.
    Unseen,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Unseen => "unseen",
        }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings {
    found: Vec<(Level, String)>,
    checks: usize,
}

impl Findings {
    /// Counts a check; what is wrong is said with its object and its remedy, once.
    fn check(&mut self, holds: bool, level: Level, text: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.add(level, text());
        }
    }

    fn add(&mut self, level: Level, text: String) {
        if !self.found.iter().any(|(_, other)| *other == text) {
            self.found.push((level, text));
        }
    }

    /// What was read; without the right to, that is what is found.
    fn read<T>(&mut self, read: Result<T, Error>) -> Result<Option<T>, Error> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error @ Error::Refused { .. }) => {
                self.add(Level::Unseen, error.to_string());
                Ok(None)
            }
            // Kinds that are not served are told once, as CustomResourceDefinitions that are missing.
            Err(error @ Error::Cluster { .. }) if error.to_string().contains("does not know this kind") => {
                self.add(Level::Unseen, error.to_string());
                Ok(None)
            }
            Err(error @ (Error::Reference(_) | Error::Session(_) | Error::Cluster { .. } | Error::Local { .. })) => Err(error),
        }
    }

    fn count(&self, wanted: Level) -> usize {
        self.found.iter().filter(|(level, _)| *level == wanted).count()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for wanted in [Level::Problem, Level::Warning, Level::Unseen] {
            for (level, finding) in self.found.iter().filter(|(level, _)| *level == wanted) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{:<8} {}", level.word(), plain(finding));
            }
        }
        let (problems, warnings, unseen) = (self.count(Level::Problem), self.count(Level::Warning), self.count(Level::Unseen));
        let _ = writeln!(text, "problems: {problems}, warnings: {warnings}, unseen: {unseen}; checks: {}", self.checks);
        text
    }
}

pub(crate) async fn run(cluster: &Cluster, asked: &Doctor) -> Result<u8, Error> {
    let mut findings = Findings::default();
    let place = cluster.place(asked.all_namespaces);
    installation::look(cluster, &mut findings, &asked.installed_in).await?;
    references::look(cluster, &mut findings, &place).await?;
    access::look(cluster, &mut findings, &place).await?;
    output::print(&findings.text())?;
    let fails = findings.found.iter().any(|(level, _)| asked.strict || *level == Level::Problem);
    Ok(u8::from(fails))
}
