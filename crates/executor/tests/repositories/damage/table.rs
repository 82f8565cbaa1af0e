//! `sabotage/recipes.tsv` as cases, and the document made from them.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use backproof_api::{Cause, Verdict};

use super::{Ask, Case, Expected, sabotage};
use crate::support::{forge::Forge, judge::Opinion, project, restic, sample};

/// Set it to write `docs/damage.md` instead of comparing with it.
const WRITE: &str = "BACKPROOF_WRITE_DOCS";

/// Every row of the recipes, once per format.
pub(super) fn recipes() -> Vec<Case> {
    let text = fs::read_to_string(project().join("sabotage/recipes.tsv")).expect("sabotage/recipes.tsv");
    let mut cases = Vec::new();
    for line in text.lines().skip(1) {
        let columns: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let [case, recipe, formats, given, outcome, cause, finding, what, rule, why] =
            <[String; 10]>::try_from(columns).unwrap_or_else(|columns| panic!("recipes.tsv: {} columns in {line:?}", columns.len()));
        for format in formats.split(',') {
            let (recipe, given) = (recipe.clone(), Given::parse(&given));
            cases.push(Case {
                name: case.clone(),
                format: format.parse().expect("a format"),
                what: what.clone(),
                damage: Box::new(move |sample, repository| {
                    let mut snapshot = Some(sample.newest.as_str());
                    match given {
                        Given::Nothing => {}
                        Given::Locks => sample::leave_locks(repository, &sample.master),
                        Given::Other => snapshot = Some(&sample.other),
                        Given::SecondKey => drop(Forge::existing(repository, sample.master.clone()).key(sample::PASSWORD, 99)),
                    }
                    // Without a snapshot the content recipes take the largest pack, as the demo does.
                    if recipe.starts_with("data-") && matches!(given, Given::Nothing) {
                        snapshot = None;
                    }
                    sabotage(&recipe, repository, &sample.donor, snapshot);
                }),
                ask: Ask::default(),
                expected: Expected { outcome: verdict(&outcome), cause: optional(&cause), finding: optional(&finding) },
                rule: rule.clone(),
                why: if why == "-" { String::new() } else { why.clone() },
            });
        }
    }
    cases
}

/// What is there before the damage is done.
#[derive(Clone, Copy)]
enum Given {
    Nothing,
    Locks,
    Other,
    SecondKey,
}

impl Given {
    fn parse(word: &str) -> Self {
        match word {
            "-" => Self::Nothing,
            "locks" => Self::Locks,
            "other" => Self::Other,
            "second-key" => Self::SecondKey,
            word => panic!("recipes.tsv: {word:?} in column given"),
        }
    }
}

fn verdict(word: &str) -> Verdict {
    serde_json::from_value(word.into()).unwrap_or_else(|error| panic!("recipes.tsv: outcome {word:?}: {error}"))
}

fn optional(word: &str) -> Option<Cause> {
    (word != "-").then(|| word.parse().unwrap_or_else(|error| panic!("recipes.tsv: {error}")))
}

/// Every recipe of the script has a row, and every row a recipe.
#[test]
fn script_and_table_know_the_same_recipes() {
    let output = std::process::Command::new(project().join("sabotage/damage.sh")).arg("list").output().expect("running sabotage/damage.sh");
    let script = String::from_utf8(output.stdout).expect("names");
    let mut of_script: Vec<_> = script.lines().filter(|recipe| *recipe != "outage-over").collect();
    let text = fs::read_to_string(project().join("sabotage/recipes.tsv")).expect("sabotage/recipes.tsv");
    let mut of_table: Vec<_> = text.lines().skip(1).filter_map(|line| line.split('\t').nth(1)).collect();
    of_script.sort_unstable();
    of_table.sort_unstable();
    of_table.dedup();
    assert_eq!(of_script, of_table);
}

/// What an outage took away comes back as it was.
#[test]
fn an_outage_heals() {
    let scratch = tempfile::tempdir().expect("a directory");
    let sample = sample::make(scratch.path(), 2);
    let whole = crate::support::listing::restored(&sample.repository);
    sabotage("outage", &sample.repository, &sample.donor, None);
    assert!(!sample.repository.join("config").exists());
    sabotage("outage-over", &sample.repository, &sample.donor, None);
    assert_eq!(crate::support::listing::restored(&sample.repository), whole);
}

/// Compares `docs/damage.md` with what was found, or writes it.
pub(super) fn check_document(rows: Vec<(&Case, Opinion)>) {
    let document = document(rows);
    let path = project().join("docs/damage.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, document).expect("writing docs/damage.md");
        return;
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    let line = known.lines().zip(document.lines()).find(|(known, now)| known != now);
    assert!(known == document, "docs/damage.md is not what this run found; look at the difference, then write it with {WRITE}=1: {line:?}");
}

fn document(rows: Vec<(&Case, Opinion)>) -> String {
    let (total, mut counts) = (rows.len(), BTreeMap::<&str, usize>::new());
    let mut lines: BTreeMap<(String, Vec<String>), Vec<u32>> = BTreeMap::new();
    for (case, opinion) in rows {
        *counts.entry(case.expected.outcome.as_str()).or_default() += 1;
        let cause = case.expected.cause.or(case.expected.finding).map_or("", Cause::as_str);
        let cells = vec![
            case.what.clone(),
            format!("{} {cause}", case.expected.outcome.as_str()).trim().to_owned(),
            case.rule.clone(),
            opinion.words(),
            case.why.clone(),
        ];
        lines.entry((case.name.clone(), cells)).or_default().push(case.format);
    }
    let mut text = format!(
        "# What damage is called\n\n\
        <!-- Written by `BACKPROOF_WRITE_DOCS=1 cargo test --release -p backproof-executor every_damage`; the same test without the variable fails when it differs. -->\n\n\
        {total} cases: {}. Each is a repository made by restic with three snapshots, damaged by a recipe of\n\
        [`sabotage/`](../sabotage/recipes.tsv) or by the test itself, and then restored with full read-back, as a user does by hand. After every\n\
        run the repository's bytes, owners, modes and times were the same as before it, and no run was `Verified` with a\n\
        restored tree that differed from the source.\n\n\
        Beside it stands what {} says of a copy with `restic restore --verify`. restic has one exit code for every failure, so\n\
        an `Inconclusive` always differs from it.\n\n\
        | Case | Formats | What was done | Verdict | Because | restic | Why restic differs |\n|---|---|---|---|---|---|---|\n",
        counts.iter().map(|(outcome, count)| format!("{count} `{outcome}`")).collect::<Vec<_>>().join(", "),
        restic::version(),
    );
    for ((name, cells), mut formats) in lines {
        formats.sort_unstable();
        let formats = formats.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        writeln!(text, "| {name} | {formats} | {} |", cells.join(" | ")).expect("text");
    }
    text
}
