//! How far a run is, for those who wait: a bar on a terminal, plain lines elsewhere. All of it goes to standard error, as what is
//! asked for goes to standard output.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use backproof_api::duration::size;
use serde::Deserialize;

use crate::output::plain;

/// Least time between two lines about one step.
const EVERY: Duration = Duration::from_secs(10);
/// Characters of the bar.
const WIDTH: u64 = 30;

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watcher {
    /// A person at a terminal.
    Terminal,
    /// A file or another program.
    Lines,
}

/// What the executor prints every few seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Figures {
    step: String,
    objects: u64,
    objects_total: u64,
    bytes: u64,
    bytes_total: u64,
}

#[derive(Deserialize)]
struct Line {
    progress: Figures,
}

impl Figures {
    /// The figures of a line of the log, if it is one of those.
    pub(super) fn of(line: &str) -> Option<Self> {
        serde_json::from_str::<Line>(line).ok().map(|line| line.progress)
    }

    fn step(&self) -> &str {
        match self.step.as_str() {
            "open" => "opening the repository",
            "trees" => "reading directories",
            "wipe" => "wiping the target",
            "restore" => "restoring",
            "sync" => "syncing",
            "readBack" => "reading back",
            other => other,
        }
    }

    /// Hundredths that are done; by objects where there are no bytes.
    fn percent(&self) -> Option<u64> {
        let (done, total) = if self.bytes_total > 0 { (self.bytes, self.bytes_total) } else { (self.objects, self.objects_total) };
        (total > 0).then(|| u64::try_from(u128::from(done) * 100 / u128::from(total)).unwrap_or(100).min(100))
    }

    fn amount(&self) -> String {
        let objects = format!("{} of {}", self.objects, self.objects_total);
        match (self.bytes_total, self.objects_total) {
            (0, 0) => String::new(),
            (0, _) => objects,
            (total, 0) => format!("{} of {}", size(self.bytes), size(total)),
            (total, _) => format!("{} of {}, {objects} objects", size(self.bytes), size(total)),
        }
    }

    fn bar(&self) -> String {
        let percent = self.percent().unwrap_or(0);
        let full = percent * WIDTH / 100;
        let bar: String = (0..WIDTH).map(|n| if n < full { '#' } else { '.' }).collect();
        format!("[{bar}] {percent:>3}% {} {}", plain(self.step()), self.amount()).trim_end().to_owned()
    }

    fn line(&self) -> String {
        let percent = self.percent().map(|percent| format!(" {percent}%")).unwrap_or_default();
        let amount = self.amount();
        let amount = if amount.is_empty() { amount } else { format!(" ({amount})") };
        format!("{}{percent}{amount}", plain(self.step()))
    }
}

/// What was shown so far.
pub(super) struct Progress {
    watcher: Watcher,
    said: String,
    shown: Figures,
    at: Option<Instant>,
    bar: bool,
}

impl Progress {
    pub(super) fn new(watcher: Watcher) -> Self {
        Self { watcher, said: String::new(), shown: Figures::default(), at: None, bar: false }
    }

    /// A line, once.
    pub(super) fn say(&mut self, text: &str) {
        if text.is_empty() || self.said == text {
            return;
        }
        text.clone_into(&mut self.said);
        self.end();
        write(&format!("{}\n", plain(text)));
    }

    /// Figures: the bar is drawn anew; a line is written when the step is another one, or now and then.
    pub(super) fn show(&mut self, figures: &Figures) {
        if *figures == self.shown {
            return;
        }
        match self.watcher {
            Watcher::Terminal => {
                self.bar = true;
                write(&format!("\r{}\u{1b}[K", figures.bar()));
            }
            Watcher::Lines => {
                let now = Instant::now();
                if figures.step == self.shown.step && self.at.is_some_and(|at| now.duration_since(at) < EVERY) {
                    return;
                }
                self.at = Some(now);
                write(&format!("{}\n", figures.line()));
            }
        }
        self.shown = figures.clone();
    }

    /// Leaves the bar's line.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.bar) {
            write("\n");
        }
    }
}

fn write(text: &str) {
    // A closed stderr is no reason to end.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_executor_is_read_and_others_are_not() {
        let line = r#"{"progress":{"step":"restore","objects":3,"objectsTotal":12,"bytes":512,"bytesTotal":2048}}"#;
        let figures = Figures::of(line).unwrap();
        assert_eq!(figures.line(), "restoring 25% (512 B of 2.000 KiB, 3 of 12 objects)");
        assert_eq!(figures.bar(), "[#######.......................]  25% restoring 512 B of 2.000 KiB, 3 of 12 objects");
        for other in ["", "Verified", r#"{"outcome":"Verified"}"#, r#"{"progress":3}"#] {
            assert_eq!(Figures::of(other), None, "{other}");
        }
    }

    #[test]
    fn what_has_no_total_has_no_percentage() {
        let figures = Figures::of(r#"{"progress":{"step":"open","objects":0,"objectsTotal":0,"bytes":0,"bytesTotal":0}}"#).unwrap();
        assert_eq!(figures.line(), "opening the repository");
        let more = Figures { bytes: 30, bytes_total: 10, ..figures };
        assert_eq!(more.percent(), Some(100), "never more than all");
    }
}
