//! The controller killed: after each single write it makes, in three ways, and at random while sessions run.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    controller::{Away, Controller, Plain, Stage},
    fleet::{Fleet, pods_made, told},
    proxy::{Fate, Proxy, Request},
};
use crate::{
    cases::Case,
    fixture::{Fixture, RESTORES, SESSIONS, assert_ended, text},
};

/// A controller that is started again whenever it is dead.
struct Phoenix {
    stage: Stage,
    proxy: Proxy,
    _plain: Plain,
    controller: Controller,
    lives: usize,
}

impl Phoenix {
    fn new() -> Self {
        let stage = Stage::new();
        let plain = Plain::start();
        let proxy = Proxy::start(&plain.address);
        let controller = stage.start(&proxy.url());
        proxy.victim(controller.id());
        Self { stage, proxy, _plain: plain, controller, lives: 1 }
    }

    fn rise(&mut self) {
        if self.controller.is_dead() {
            self.stage.bury();
            self.controller = self.stage.start(&self.proxy.url());
            self.proxy.victim(self.controller.id());
            self.lives += 1;
        }
    }

    /// Keeps it alive until `done`.
    fn until(&mut self, limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            self.rise();
            assert!(start.elapsed() < limit, "waited {} s in vain for {what}\n{}", limit.as_secs(), self.stage.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn is_done(fixture: &Fixture, session: &str) -> bool {
    let phase = text(&fixture.kubectl.get(SESSIONS, session).unwrap(), "/status/phase");
    matches!(phase.as_str(), "Succeeded" | "Failed" | "Skipped")
}

#[test]
#[ignore = "long: replaces the controller, and needs the cluster to itself"]
fn killed_at_each_of_its_writes() {
    let fixture = Fixture::new("each-write");
    fixture.verify_by_hand();
    let snapshot = fixture.discovered("sample");
    let case = Case::new("mortal");
    fixture.apply_all(&case.objects());
    let mut phoenix = Phoenix::new();
    for (way, fate) in [("before", Fate::KillBefore), ("untold", Fate::KillUntold), ("told", Fate::KillTold)] {
        for turn in 1..=2 {
            let name = format!("{way}-{turn}");
            let mut session = case.session_named(&name);
            session["spec"]["snapshot"] = json!(snapshot);
            let (before, kills) = (phoenix.lives, Arc::new(AtomicUsize::new(0)));
            phoenix.proxy.rule(each_write_once(fate, fixture.kubectl.in_namespace().to_owned(), kills.clone()));
            fixture.apply_all(&[session]);
            phoenix.until(Duration::from_secs(300), &name, || is_done(&fixture, &name));
            phoenix.proxy.rule(|_| Fate::Pass);
            phoenix.rise();
            assert_ended(&fixture, &fixture.ended(&name), "Succeeded", "Verified", None);
            let killed = kills.load(Ordering::SeqCst);
            println!("{name}: {killed} kills, {} lives", phoenix.lives - before);
            assert!(killed >= 10, "only {killed} writes were seen");
            once(&fixture, &name, killed);
        }
    }
}

/// Kills at each write for the namespace, and for the locks. A write that never arrived comes again and passes then; what
/// arrived is not to come again, so whatever else comes there dies too, within reason.
fn each_write_once(fate: Fate, namespace: String, kills: Arc<AtomicUsize>) -> impl FnMut(&Request) -> Fate {
    const MOST: usize = 12;
    let mut seen: HashMap<String, usize> = HashMap::new();
    move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let concerns = path.contains(&format!("/namespaces/{namespace}/")) || path.contains("/leases");
        if !request.is_write() || !concerns {
            return Fate::Pass;
        }
        let times = seen.entry(format!("{} {path}", request.method)).or_default();
        *times += 1;
        let again = fate == Fate::KillBefore && times.is_multiple_of(2);
        if again || *times > MOST {
            return Fate::Pass;
        }
        kills.fetch_add(1, Ordering::SeqCst);
        fate
    }
}

/// One RestoreSession, one pod that was ever made for it, and no more of the story than there were lives to tell it.
fn once(fixture: &Fixture, name: &str, killed: usize) {
    let uid = text(&fixture.kubectl.get(SESSIONS, name).unwrap(), "/metadata/uid");
    let restores = fixture.kubectl.list(RESTORES, &["-l", &format!("backproof.dev/session-uid={uid}")]).unwrap();
    assert_eq!(restores.len(), 1, "{name}: RestoreSessions");
    assert_eq!(pods_made(fixture).get(name), Some(&1), "{name}: pods that were ever made for it\n{}", fixture.describe(name));
    let lines: u64 = told(fixture).iter().filter(|((of, _), _)| of == name).map(|(_, times)| times).sum();
    assert!(lines <= 10 + 2 * killed as u64, "{name} tells {lines} lines after {killed} kills");
}

#[test]
#[ignore = "long: replaces the controller, and needs the cluster to itself"]
fn killed_at_random_thirty_times_during_sixty_sessions() {
    const KILLS: usize = 30;
    let fleet = Fleet::new("random-kills", 20);
    let mut phoenix = Phoenix::new();
    let seed = std::env::var("BACKPROOF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    println!("BACKPROOF_SEED={seed} repeats these moments");
    let mut chance = seed;
    let mut kills = 0;
    for round in ["one", "two", "three"] {
        let names = fleet.round(round);
        let started = Instant::now();
        while kills < KILLS && !names.iter().all(|name| is_done(&fleet.fixture, name)) {
            // xorshift: moments that no rhythm of the controller's matches.
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            std::thread::sleep(Duration::from_millis(200 + chance % 2_000));
            phoenix.controller.kill();
            phoenix.rise();
            kills += 1;
            assert!(started.elapsed() < Duration::from_secs(600), "{}", phoenix.stage.said());
        }
        fleet.must_end_rightly(&names);
    }
    println!("{kills} kills, {} requests came by", phoenix.proxy.take_log().len());
    assert!(kills >= 20, "the sessions were done after {kills} kills");
}

#[test]
fn the_controller_away_while_a_restore_ends() {
    let fixture = Fixture::new("away");
    fixture.verify_by_hand();
    let case = Case::new("alone");
    fixture.start(std::slice::from_ref(&case));
    fixture.pod_of("alone", |pod| pod["status"]["phase"] != "Pending");
    let away = Away::new();
    fixture.pod_of("alone", |pod| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")));
    drop(away);
    assert_ended(&fixture, &fixture.ended("alone"), "Succeeded", "Verified", None);
}
