//! Durations and schedules against Go itself and the library that CronJobs are read by: no text is taken differently.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use backproof_api::{duration, validate::check_schedule};
use backproof_testing::tool;
use serde_json::json;

use crate::generate::Dice;

/// Text that is nearly a duration.
fn some_duration(dice: &mut Dice) -> String {
    const SIGNS: [&str; 8] = ["", "", "", "", "", "-", "+", "--"];
    const NUMBERS: [&str; 24] = [
        "0",
        "1",
        "5",
        "07",
        "30",
        "90",
        "100",
        "1.5",
        ".5",
        "5.",
        ".",
        "0.3333333333333333333",
        "9223372036854775807",
        "9223372036854775808",
        "9223372036",
        "2562047",
        "2562048",
        "0.9223372036854775807",
        "99999999999999999999",
        "1e3",
        "1_000",
        "",
        " 1",
        "0.000000001",
    ];
    const UNITS: [&str; 18] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h", "s", "m", "h", "d", "w", "", "S", "sec", " s", "hm"];
    let mut text = dice.pick(&SIGNS).to_owned();
    for _ in 0..=dice.roll(4) {
        text.push_str(dice.pick(&NUMBERS));
        if dice.roll(12) > 0 {
            text.push_str(dice.pick(&UNITS));
        }
    }
    text
}

/// Text that is nearly a schedule.
fn some_schedule(dice: &mut Dice) -> String {
    const WHOLE: [&str; 22] = [
        "@daily",
        "@hourly",
        "@weekly",
        "@monthly",
        "@yearly",
        "@annually",
        "@midnight",
        "@every 1h",
        "@every 0s",
        "@every -5m",
        "@every 1d",
        "@every",
        "@often",
        "@",
        "",
        " ",
        "TZ=UTC * * * * *",
        "CRON_TZ=UTC 0 3 * * *",
        "@Daily",
        "@daily ",
        "* * * * * *",
        "@every  1h",
    ];
    const PARTS: [&str; 46] = [
        "*",
        "*",
        "*",
        "?",
        "0",
        "1",
        "5",
        "7",
        "12",
        "13",
        "23",
        "24",
        "28",
        "29",
        "30",
        "31",
        "32",
        "59",
        "60",
        "00",
        "05",
        "-1",
        "+1",
        "1-5",
        "5-1",
        "1-",
        "-",
        "*/5",
        "*/0",
        "*/1",
        "*/60",
        "5/15",
        "0-30/2",
        "1-31/10",
        "?/2",
        "JAN",
        "feb",
        "Dec",
        "MON-FRI",
        "sun",
        "SUN-SAT/2",
        "L",
        "W",
        "1#2",
        "jan-mar",
        "99999999999",
    ];
    // Valid in every field, so that whole schedules come out valid often enough.
    const SAFE: [&str; 10] = ["*", "*", "?", "1", "5", "1-5", "*/2", "5/3", "2-6/2", "06"];
    if dice.roll(12) == 0 {
        return dice.pick(&WHOLE).to_owned();
    }
    let fields = if dice.roll(25) == 0 { 3 + dice.roll(5) } else { 5 };
    let field = |dice: &mut Dice| {
        let parts: Vec<_> =
            (0..=dice.roll(8).saturating_sub(5)).map(|_| if dice.roll(8) == 0 { dice.pick(&PARTS) } else { dice.pick(&SAFE) }).collect();
        parts.join(dice.pick(&[",", ",", ",", ",,"]))
    };
    let fields: Vec<String> = (0..fields).map(|_| field(dice)).collect();
    fields.join(dice.pick(&[" ", " ", " ", "  ", "\t"]))
}

fn ours(kind: char, text: &str) -> String {
    match kind {
        'D' => duration::parse(text).map_or("error".to_owned(), |duration| duration.as_nanos().to_string()),
        _ => match check_schedule(text) {
            Ok(()) => "fires".to_owned(),
            Err(why) if why.starts_with("it never fires") => "never".to_owned(),
            Err(_) => "error".to_owned(),
        },
    }
}

fn compare(cases: usize) -> Result<()> {
    let mut dice = Dice(2026);
    let all: Vec<(char, String)> =
        (0..cases).map(|at| if at % 2 == 0 { ('D', some_duration(&mut dice)) } else { ('C', some_schedule(&mut dice)) }).collect();
    let mut child = Command::new(tool("gotruth")?).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    let lines: String = all.iter().map(|(kind, text)| format!("{kind}\t{}\n", json!(text))).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("the writer ended early"))??;
    ensure!(output.status.success(), "gotruth ended with {}", output.status);
    let theirs = String::from_utf8(output.stdout)?;
    let theirs: Vec<_> = theirs.lines().collect();
    assert_eq!(theirs.len(), all.len());
    let differ: Vec<_> = all.iter().zip(&theirs).filter(|((kind, text), theirs)| ours(*kind, text) != **theirs).collect();
    assert!(
        differ.is_empty(),
        "{} of {} differ: {:#?}",
        differ.len(),
        all.len(),
        differ
            .iter()
            .take(20)
            .map(|((kind, text), theirs)| format!("{kind} {text:?}: {theirs}, ours {}", ours(*kind, text)))
            .collect::<Vec<_>>()
    );
    // A comparison in which nearly all is refused, or nearly all is taken, says little.
    for kind in ['D', 'C'] {
        let of_kind = all.iter().zip(&theirs).filter(|((one, _), _)| *one == kind);
        let (refused, taken): (Vec<_>, Vec<_>) = of_kind.partition(|(_, answer)| **answer == "error");
        assert!(refused.len() * 20 > cases && taken.len() * 20 > cases, "{kind}: {} refused, {} taken", refused.len(), taken.len());
    }
    Ok(())
}

#[test]
fn durations_and_schedules_are_read_as_go_reads_them() -> Result<()> {
    compare(20_000)
}

#[test]
#[ignore = "long: a million texts"]
fn a_million_durations_and_schedules_are_read_as_go_reads_them() -> Result<()> {
    compare(1_000_000)
}
