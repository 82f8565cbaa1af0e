//! The explorations that are run: a short one with every test run, longer ones by `make test-long`, and one schedule by hand.

use std::time::Instant;

use super::{
    choice,
    engine::{Engine, roomy},
    scenario::{self, ALL},
    search::{self, Seen, explore},
    tell,
};

/// Fewest distinct states of the default run.
const STATES: usize = 100_000;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{variable}={text:?}: {error}")))
}

/// Explores every scenario; each until it has its share of the states.
fn run(states: usize, random: usize) -> Seen {
    let seed = number("BACKPROOF_SEED", 1) as u64;
    let mut total = Seen::default();
    for (at, scenario) in ALL.iter().enumerate() {
        let start = Instant::now();
        let share = (states - total.states.min(states)) / (ALL.len() - at);
        let seen = explore(scenario, share, seed, random).unwrap_or_else(|failure| panic!("{}", failure.report()));
        tell(&format!(
            "{}: {} distinct states, {} of them met first on the way to an end, {} schedules, seeds {seed} to {}, {} s",
            scenario.name,
            seen.states,
            seen.calm,
            seen.schedules,
            seed + random as u64,
            start.elapsed().as_secs()
        ));
        total.states += seen.states;
        total.schedules += seen.schedules;
        total.calm += seen.calm;
        total.steps.extend(seen.steps);
    }
    let Seen { states, calm, schedules, .. } = &total;
    tell(&format!("in all: {states} distinct states, {calm} of them met first on the way to an end, and {schedules} schedules"));
    total
}

#[test]
fn no_order_of_faults_breaks_a_promise() {
    let states = number("BACKPROOF_STATES", STATES);
    let seen = run(states, number("BACKPROOF_SCHEDULES", 5));
    assert!(seen.states >= states, "{seen:?}");
    super::picture::holds(&seen.steps);
}

#[test]
#[ignore = "long: BACKPROOF_STATES (default 300000) states, BACKPROOF_SCHEDULES (default 1000) random schedules per scenario from BACKPROOF_SEED on"]
fn no_order_of_many_faults_breaks_a_promise() {
    let states = number("BACKPROOF_STATES", 300_000);
    let seen = run(states, number("BACKPROOF_SCHEDULES", 1_000));
    assert!(seen.states >= states, "{seen:?}");
}

/// `BACKPROOF_REPLAY='SCENARIO CHOICE...'` replays one schedule; without it, each scenario is run without any fault.
#[test]
fn replay() {
    roomy(replayed);
}

fn replayed() {
    let engine = Engine::new();
    let given = std::env::var("BACKPROOF_REPLAY").ok();
    let schedules: Vec<String> = given.map_or_else(|| ALL.iter().map(|scenario| scenario.name.to_owned()).collect(), |one| vec![one]);
    for schedule in schedules {
        let (name, line) = schedule.split_once(' ').unwrap_or((&schedule, ""));
        let scenario = scenario::named(name).unwrap_or_else(|| panic!("no scenario {name:?}"));
        let choices = choice::parse(line).unwrap_or_else(|error| panic!("{error}"));
        match search::replay(&engine, &scenario, &choices) {
            Ok(end) => {
                for (key, session) in end.store.all("BackupVerificationSession") {
                    println!("{name}: {key} ended {} {}", session.at("/status/verdict"), session.at("/status/message"));
                }
                if line.is_empty() {
                    let first = end.store.all("BackupVerificationSession").next().unwrap().1;
                    let expected = if name == "replace" { "Inconclusive" } else { "Verified" };
                    assert_eq!(first.text_at("/status/verdict"), expected, "{name}: {}", first.at("/status"));
                }
            }
            Err((path, broken)) => panic!("{}\nby {}", broken.join("\n"), choice::line(&path)),
        }
    }
}
