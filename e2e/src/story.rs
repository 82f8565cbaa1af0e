//! How the demo talks: numbered steps with the seconds since the start, commands as typed, and a table at the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use backproof_e2e::Kubectl;

/// The terminal, and what was expected and came so far.
pub(crate) struct Story {
    start: Instant,
    step: u32,
    rows: Vec<Row>,
}

/// One line of the closing table.
struct Row {
    what: &'static str,
    expected: String,
    came: String,
    seconds: Option<u64>,
    bar: Option<u64>,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), step: 0, rows: Vec::new() }
    }

    /// A numbered heading.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        println!("\n[{:>3} s] {}. {title}", self.start.elapsed().as_secs(), self.step);
    }

    /// Text below a heading.
    pub(crate) fn say(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("        {line}");
        }
    }

    /// A sign of life on a long step.
    pub(crate) fn progress(&self) -> impl FnMut(&str, Duration) + use<> {
        |what, waited| println!("        ... {} s waiting for {what}", waited.as_secs())
    }

    /// Runs a kubectl command and shows both it and its output.
    pub(crate) fn show(&self, kubectl: &Kubectl, args: &[&str]) -> Result<()> {
        println!("        $ kubectl -n {} {}", kubectl.in_namespace(), args.join(" "));
        self.say(&kubectl.run(args)?);
        Ok(())
    }

    /// Notes a result for the table.
    pub(crate) fn expect(&mut self, what: &'static str, expected: &str, came: &str) {
        self.rows.push(Row { what, expected: expected.into(), came: came.into(), seconds: None, bar: None });
    }

    /// Notes a result that has a bar in seconds; the bar is shown, it does not judge.
    pub(crate) fn expect_within(&mut self, what: &'static str, expected: &str, came: &str, seconds: u64, bar: u64) {
        self.rows.push(Row { what, expected: expected.into(), came: came.into(), seconds: Some(seconds), bar: Some(bar) });
    }

    /// Prints the table; whether everything came as expected.
    pub(crate) fn table(&self) -> bool {
        println!("\n{:<46} {:<22} {:<22} {:>9} {:>6}", "what", "expected", "came", "seconds", "bar");
        let text = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        for row in &self.rows {
            let mark = if row.expected == row.came { "ok" } else { "WRONG" };
            println!("{:<46} {:<22} {:<22} {:>9} {:>6}  {mark}", row.what, row.expected, row.came, text(row.seconds), text(row.bar));
        }
        let wrong = self.rows.iter().filter(|row| row.expected != row.came).count();
        println!("\n{} of {} as expected, {} s in all", self.rows.len() - wrong, self.rows.len(), self.start.elapsed().as_secs());
        wrong == 0 && !self.rows.is_empty()
    }
}
