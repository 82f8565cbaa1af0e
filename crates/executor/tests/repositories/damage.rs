//! The damage table: every kind of file of the format, damaged in every way, in both formats, with the verdict that the
//! executor has to reach and restic's own verdict beside it. Writes and checks `docs/damage.md`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use backproof_api::{Cause, Verdict};

use crate::support::{
    judge::{self, Opinion},
    listing, open_up, project,
    restic::copy,
    run::Run,
    sample::{self, PASSWORD, Sample},
};

mod special;
mod table;

/// restic sleeps while it retries what is missing, so far more cases than processors can be under way.
const AT_ONCE: usize = 16;

/// How an explanation begins where restic's answer hangs on the order in which a directory lists its files.
const BY_CHANCE: &str = "by chance: ";

/// Damages the copy, given the sample it was copied from.
type Damage = Box<dyn Fn(&Sample, &Path) + Send + Sync>;

/// One row.
pub(crate) struct Case {
    /// Name in the table.
    name: String,
    /// Repository format.
    format: u32,
    /// What was done.
    what: String,
    /// How it is done to the copy of the sample.
    damage: Damage,
    /// What is asked of the executor.
    ask: Ask,
    /// What must come.
    expected: Expected,
    /// Which rule of the verdict decides.
    rule: String,
    /// Why restic says something else; empty if it does not.
    why: String,
}

/// What is asked.
pub(crate) struct Ask {
    /// The snapshot; `None` is the sample's newest by its id.
    snapshot: Option<&'static str>,
    /// The password; `None` leaves it unset.
    password: Option<&'static str>,
    /// User to run as.
    user: Option<u32>,
}

impl Default for Ask {
    fn default() -> Self {
        Self { snapshot: None, password: Some(PASSWORD), user: None }
    }
}

/// What must come.
#[derive(Clone)]
pub(crate) struct Expected {
    outcome: Verdict,
    cause: Option<Cause>,
    finding: Option<Cause>,
}

#[test]
fn every_damage_is_called_what_it_is() {
    let scratch = tempfile::tempdir().expect("a directory");
    open_up(scratch.path());
    let samples = sample::both(scratch.path());
    let mut cases = table::recipes();
    cases.extend(special::cases());
    // Those that make restic wait come first, so that their waiting overlaps with everything else.
    cases.sort_by_key(|case| {
        !(case.name.contains("data") || case.name.contains("tree") || case.name.contains("pack") || case.name.contains("lock"))
    });
    let red = cases.iter().filter(|case| case.expected.outcome == Verdict::VerificationFailed).count();
    assert!(cases.len() >= 40 && red >= 24, "{} cases, {red} red", cases.len());

    let (next, rows, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let directory = tempfile::tempdir_in(scratch.path()).expect("a directory");
                    match try_case(case, &samples[&case.format], directory.path()) {
                        Ok(opinion) => rows.lock().expect("rows").push((case, opinion)),
                        Err(problem) => wrong.lock().expect("wrong").push(format!("{} (format {}): {problem}", case.name, case.format)),
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("wrong");
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    table::check_document(rows.into_inner().expect("rows"));
}

/// Damages a copy, runs the executor on it, and lets restic judge the same.
fn try_case(case: &Case, sample: &Sample, directory: &Path) -> Result<Opinion, String> {
    let (repository, target) = (directory.join("repository"), directory.join("target"));
    copy(&sample.repository, &repository);
    (case.damage)(sample, &repository);
    fs::create_dir(&target).map_err(|error| error.to_string())?;
    if let Some(user) = case.ask.user {
        open_up(directory);
        std::os::unix::fs::chown(&target, Some(user), Some(user)).map_err(|error| format!("run the tests as root: {error}"))?;
    }
    let exists = repository.exists();
    let before = exists.then(|| listing::full(&repository));

    let snapshot = case.ask.snapshot.unwrap_or(&sample.newest);
    let run = Run { user: case.ask.user, password: case.ask.password, ..Run::new(&repository, snapshot, PASSWORD, target.clone()) };
    let outcome = run.finish();

    if let Some(before) = before {
        let changed = listing::difference(&before, &listing::full(&repository));
        if !changed.is_empty() {
            return Err(format!("the repository was changed: {}", changed.join("; ")));
        }
    } else if repository.exists() {
        return Err("the repository was made".to_owned());
    }
    let told = outcome.told()?;
    let tree = listing::difference(&sample.source, &listing::restored(&target));
    if told.outcome == Verdict::Verified && !tree.is_empty() {
        return Err(format!("Verified, but the tree differs: {}", tree.join("; ")));
    }
    let expected = &case.expected;
    let found = match expected.finding {
        Some(finding) => told.findings.contains(&finding),
        None => expected.outcome != Verdict::Verified || told.findings.iter().all(|finding| *finding == Cause::MetadataNotApplied),
    };
    if (told.outcome, told.cause) != (expected.outcome, expected.cause) || !found {
        return Err(format!("expected {:?} {:?} {:?}, got {told:?}", expected.outcome, expected.cause, expected.finding));
    }
    if told.outcome == Verdict::VerificationFailed && !names_a_file(&told.error, &sample.repository) {
        return Err(format!("the sentence names no file of the repository: {:?}", told.error));
    }
    let opinion = judge::opinion(&repository, snapshot, case.ask.password, directory, &sample.source);
    if case.why.starts_with(BY_CHANCE) && matches!(opinion, Opinion::Right | Opinion::Refused(_)) {
        return Ok(Opinion::Either);
    }
    match (agrees(expected.outcome, opinion), case.why.is_empty()) {
        (true, true) | (false, false) => Ok(opinion),
        (false, true) => Err(format!("restic says {opinion:?}, we {:?}, and the table does not explain it", expected.outcome)),
        (true, false) => Err(format!("restic says the same ({opinion:?}), yet the table explains a difference: {}", case.why)),
    }
}

/// Whether a person can find what is damaged by the sentence: it holds the beginning of a file's name, or names what is
/// there only once.
fn names_a_file(sentence: &str, repository: &Path) -> bool {
    let named =
        |path: &Path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| sentence.contains(name.get(..8).unwrap_or(name)));
    ["config", "key", "root", "directory"].iter().any(|word| sentence.contains(word))
        || listing::full(repository).keys().any(|path| named(path))
}

/// restic knows two answers: an inconclusive run is a difference in any case.
fn agrees(ours: Verdict, restics: Opinion) -> bool {
    match ours {
        Verdict::Verified => restics == Opinion::Right,
        Verdict::VerificationFailed => matches!(restics, Opinion::Refused(_)),
        Verdict::Inconclusive | Verdict::Skipped => false,
    }
}

/// Runs `sabotage/damage.sh` as a user does.
pub(crate) fn sabotage(recipe: &str, repository: &Path, donor: &Path, snapshot: Option<&str>) {
    let script = project().join("sabotage/damage.sh");
    let mut command = Command::new(script);
    command.arg(recipe).arg(repository).arg(donor).env("RESTIC_PASSWORD", PASSWORD).env_remove("SNAPSHOT").stdin(Stdio::null());
    if let Some(snapshot) = snapshot {
        command.env("SNAPSHOT", snapshot);
    }
    let output = command.output().expect("running sabotage/damage.sh");
    assert!(output.status.success(), "{recipe}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One flipped bit anywhere, one cut anywhere: whatever it hits, a green verdict means that everything came back.
#[test]
fn damage_at_random_places_is_never_green_with_a_wrong_tree() {
    let scratch = tempfile::tempdir().expect("a directory");
    let sample = sample::make(scratch.path(), 2);
    let files: Vec<_> =
        listing::full(&sample.repository).into_iter().filter(|(_, line)| line.starts_with("file")).map(|(path, _)| path).collect();
    let wrong = Mutex::new(Vec::new());
    let (next, verified, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= 160 {
                        break;
                    }
                    let directory = tempfile::tempdir_in(scratch.path()).expect("a directory");
                    let (repository, target) = (directory.path().join("repository"), directory.path().join("target"));
                    copy(&sample.repository, &repository);
                    fs::create_dir(&target).expect("a target");
                    let dice = crate::support::noise(at as u64 + 1, 24);
                    let number = |part: usize| u64::from_le_bytes(dice[part * 8..part * 8 + 8].try_into().expect("eight bytes"));
                    let file = &files[number(0) as usize % files.len()];
                    let place = strike(&repository.join(file), number(1), number(2));
                    let before = listing::full(&repository);
                    let outcome = Run::new(&repository, &sample.newest, PASSWORD, target.clone()).finish();
                    let problem = match outcome.told() {
                        Err(problem) => Some(problem),
                        Ok(told) => {
                            let tree = listing::difference(&sample.source, &listing::restored(&target));
                            match told.outcome {
                                Verdict::Verified => verified.fetch_add(1, Ordering::Relaxed),
                                Verdict::VerificationFailed | Verdict::Inconclusive | Verdict::Skipped => {
                                    failed.fetch_add(1, Ordering::Relaxed)
                                }
                            };
                            if told.outcome == Verdict::Verified && !tree.is_empty() {
                                Some(format!("Verified, but {}", tree.join("; ")))
                            } else if told.outcome == Verdict::Inconclusive {
                                Some(format!("nothing but the bytes was wrong, yet {told:?}"))
                            } else {
                                None
                            }
                        }
                    };
                    let changed = listing::difference(&before, &listing::full(&repository));
                    if let Some(problem) = problem.or_else(|| (!changed.is_empty()).then(|| changed.join("; "))) {
                        wrong.lock().expect("wrong").push(format!("{} {place}: {problem}", file.display()));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("wrong");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (verified, failed) = (verified.into_inner(), failed.into_inner());
    assert!(verified > 10 && failed > 60, "the dice hit too little: {verified} verified, {failed} not");
}

/// Flips a bit (three times of four) or cuts the file, and says where.
fn strike(file: &Path, place: u64, how: u64) -> String {
    let mut bytes = fs::read(file).expect("a repository file");
    let at = place as usize % bytes.len();
    let said = if how.is_multiple_of(4) {
        bytes.truncate(at);
        format!("cut at {at}")
    } else {
        bytes[at] ^= 1 << (how / 4 % 8);
        format!("bit {} of byte {at} flipped", how / 4 % 8)
    };
    crate::support::forge::put(file, &bytes);
    said
}
