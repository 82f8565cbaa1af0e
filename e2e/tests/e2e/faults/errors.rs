//! A fifth of the controller's requests fail: conflicts, overload, errors, expired watches, and answers that get lost after
//! the API server has done what was asked.

use std::collections::BTreeMap;

use super::{
    controller::{Plain, Stage},
    fleet::{Fleet, told},
    proxy::{Fate, Logged, Proxy, Request},
};

/// Requests of a round, by what they were about.
fn tally(log: &[Logged]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for logged in log.iter().filter(|logged| logged.request.is_write()) {
        *tally.entry(format!("{} {}", logged.request.method, kind_of(&logged.request))).or_default() += 1;
    }
    tally
}

/// The resource, and its part.
fn kind_of(request: &Request) -> String {
    let path = request.path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let after = parts.iter().position(|part| *part == "namespaces").map_or(0, |at| at + 2);
    let resource = parts.get(after).copied().unwrap_or_default();
    let part = parts.get(after + 2).copied().unwrap_or_default();
    format!("{resource}/{part}").trim_end_matches('/').to_owned()
}

fn writes(log: &[Logged]) -> usize {
    log.iter().filter(|logged| logged.request.is_write() && !logged.request.is_event()).count()
}

#[test]
#[ignore = "long: replaces the controller, and needs the cluster to itself"]
fn a_fifth_of_all_requests_fails() {
    let fleet = Fleet::new("errors", 20);
    let stage = Stage::new();
    let plain = Plain::start();
    let proxy = Proxy::start(&plain.address);
    let mut controller = stage.start(&proxy.url());

    let names = fleet.round("calm");
    fleet.must_end_rightly(&names);
    let calm = proxy.take_log();
    println!("without faults: {} requests, {} writes {:?}", calm.len(), writes(&calm), tally(&calm));

    let seed = std::env::var("BACKPROOF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    println!("BACKPROOF_SEED={seed} repeats these faults");
    let mut chance = seed;
    proxy.rule(move |request| {
        // xorshift: a rhythm would hit the same request of every try.
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        if chance % 100 >= 22 {
            return Fate::Pass;
        }
        let kind = usize::try_from(chance / 100 % 12).unwrap_or_default();
        match (request.is_watch(), request.is_write()) {
            (true, _) => Fate::Refuse([410, 429, 500][kind % 3]),
            (false, true) => [Fate::Refuse(409), Fate::Refuse(429), Fate::Refuse(500), Fate::LoseAnswer][kind % 4],
            (false, false) => Fate::Refuse([429, 500, 410][kind % 3]),
        }
    });
    let names = fleet.round("rough");
    fleet.must_end_rightly(&names);
    let rough = proxy.take_log();
    proxy.rule(|_| Fate::Pass);
    let failed = rough.iter().filter(|logged| logged.fate != Fate::Pass).count();
    println!("with faults: {} requests, {failed} failed, {} writes {:?}", rough.len(), writes(&rough), tally(&rough));
    assert!(failed * 6 >= rough.len(), "only {failed} of {} requests failed", rough.len());
    assert!(!controller.is_dead(), "the controller ended: {}", stage.said());
    // Each failed write is tried again, and some are decided on again; three times as many is more than that takes.
    assert!(writes(&rough) <= 3 * writes(&calm), "{} writes with faults, {} without", writes(&rough), writes(&calm));
    for ((session, reason), times) in told(&fleet.fixture) {
        assert!(times <= 3, "{session} tells {reason} {times} times");
    }
}
