//! A crash after each write, at any place of a run, with a cache that may lag: the same end, and nothing done twice.

use backproof_api::RestoreSessionStatus;
use k8s_openapi::api::batch::v1::Job;
use serde_json::json;

use super::facts::{DUMP_ID, SESSION, World, at, from, pod, report, terminated};
use crate::restore::{
    decide::{Decision, Effect},
    job::our_jobs,
};

/// An API server with one restore in it, and how many writes it still takes before our process dies.
struct Server {
    world: World,
    writes: usize,
    dies_after: usize,
    /// UIDs in the order they were started.
    starts: Vec<String>,
    made: usize,
    /// Whether the target is wiped in the end.
    wipes: bool,
}

/// Our process has died.
struct Died;

impl Server {
    fn new(dies_after: usize) -> Self {
        Self { world: World::of_two(), writes: 0, dies_after, starts: Vec::new(), made: 0, wipes: false }
    }

    /// One whose target is wiped in the end.
    fn wiping(dies_after: usize) -> Self {
        let mut server = Self { wipes: true, ..Self::new(dies_after) };
        server.world.owner.run.wipe_target = true;
        server
    }

    fn wrote(&mut self) -> Result<(), Died> {
        self.writes += 1;
        if self.writes == self.dies_after { Err(Died) } else { Ok(()) }
    }

    /// As `apply` does it; says whether anything was done.
    fn apply(&mut self, decision: Decision) -> Result<bool, Died> {
        let makes = decision.effects.iter().any(|effect| matches!(effect, Effect::Create(_)));
        let changed = self.world.restore.status.as_ref() != Some(&decision.status);
        if changed && !makes {
            let before = self.world.restore.status.clone().unwrap_or_default();
            let but_for_the_wipe = RestoreSessionStatus { wipe: decision.status.wipe.clone(), ..before.clone() };
            assert!(before.completion_time.is_none() || but_for_the_wipe == decision.status, "a closed status never changes");
            self.world.restore.status = Some(decision.status);
            self.wrote()?;
        }
        let mut again = changed;
        for effect in decision.effects {
            again = true;
            match effect {
                Effect::Create(job) => {
                    self.create(*job);
                    self.wrote()?;
                }
                Effect::Delete(object) => {
                    self.world.jobs.retain(|job| job.metadata.uid.as_ref() != Some(&object.uid));
                    self.wrote()?;
                }
                Effect::Remember { .. } => {}
                Effect::CopySecrets { job, .. } => {
                    self.world.copied.insert(job.uid);
                    self.wrote()?;
                }
                Effect::Grant(job) => {
                    self.world.granted.insert(job.metadata.uid.unwrap_or_default());
                    self.wrote()?;
                }
                Effect::Revoke(job) => {
                    self.world.revoked.insert(job.uid);
                    self.wrote()?;
                }
                Effect::Start { job, .. } => {
                    let recorded = our_jobs(self.world.restore.status.as_ref().unwrap()).contains(job.uid.as_str());
                    assert!(recorded, "a Job is recorded before it is started");
                    self.start(&job.uid);
                    self.wrote()?;
                }
            }
        }
        Ok(again)
    }

    fn create(&mut self, mut job: Job) {
        assert!(!self.world.jobs.iter().any(|other| other.metadata.name == job.metadata.name), "AlreadyExists");
        self.made += 1;
        let uid = format!("u-{}", self.made);
        job.metadata.uid = Some(uid.clone());
        job.metadata.resource_version = Some("1".into());
        self.world.made.insert(uid);
        self.world.jobs.push(job);
    }

    fn start(&mut self, uid: &str) {
        self.starts.push(uid.to_owned());
        let job = self.world.jobs.iter_mut().find(|job| job.metadata.uid.as_deref() == Some(uid)).unwrap();
        let spec = job.spec.as_mut().unwrap();
        assert_eq!(spec.suspend, Some(true), "started once");
        (spec.suspend, spec.active_deadline_seconds) = (Some(false), Some(100));
        job.status = Some(from(json!({"startTime": at(5).to_string()})));
    }

    /// What the cluster does while we wait: the Job that runs ends well.
    fn cluster(&mut self) {
        for job in &mut self.world.jobs {
            let component = job.metadata.labels.as_ref().unwrap().get("backproof.dev/component").cloned();
            let running = job.spec.as_ref().unwrap().suspend == Some(false) && job.status.as_ref().unwrap().conditions.is_none();
            if !running {
                continue;
            }
            job.status.as_mut().unwrap().conditions = Some(from(json!([{"type": "Complete", "status": "True"}])));
            let Some(component) = component else {
                let done = json!({"identity": {"sessionUid": SESSION, "attempt": 1}, "wiped": true});
                let mut pod = pod("wipe", "Succeeded", terminated(0, &done.to_string()));
                pod.metadata.owner_references.as_mut().unwrap()[0].uid = job.metadata.uid.clone().unwrap();
                pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].name = "wipe".into();
                self.world.pods.push(pod);
                continue;
            };
            let mut report = report("Verified", None);
            if component == "dump" {
                report["identity"]["component"] = "dump".into();
                report["snapshot"]["id"] = DUMP_ID.into();
            }
            let mut pod = pod(&component, "Succeeded", terminated(0, &report.to_string()));
            pod.metadata.owner_references.as_mut().unwrap()[0].uid = job.metadata.uid.clone().unwrap();
            self.world.pods.push(pod);
        }
    }

    /// Runs to the end; a death starts the process again without its memory.
    fn run(&mut self) -> String {
        for _ in 0..60 {
            // A new look at the world: what this process has made before is not known any more.
            self.world.made.clear();
            self.world.copied.clear();
            self.world.neighbours.clone_from(&self.world.pods);
            for _ in 0..8 {
                let decision = self.world.decide(at(5)).unwrap();
                match self.apply(decision) {
                    Ok(true) => {}
                    Ok(false) | Err(Died) => break,
                }
            }
            if let Some(status) = self.world.restore.status.clone().filter(|status| status.completion_time.is_some()) {
                if !self.wipes || status.wipe.is_some_and(|wipe| wipe.wiped == Some(true)) {
                    return self.world.ending(at(5));
                }
                // The session ends with it; only then is there something to wipe.
                super::wipe::over(&mut self.world);
            }
            self.cluster();
        }
        "never".into()
    }
}

#[test]
fn a_crash_after_any_write_leads_to_the_same_end() {
    let mut smooth = Server::new(usize::MAX);
    assert_eq!(smooth.run(), "Verified - Succeeded");
    assert_eq!((smooth.made, smooth.starts.len(), smooth.writes), (2, 2, 9), "two made, two started, five times status");
    for dies_after in 1..=smooth.writes + 4 {
        let mut server = Server::new(dies_after);
        assert_eq!(server.run(), "Verified - Succeeded", "after write {dies_after}");
        assert_eq!(server.starts.len(), 2, "each component ran once, after write {dies_after}");
        assert_eq!(server.world.jobs.len(), 2);
    }
}

#[test]
fn a_crash_after_any_write_wipes_the_target_once_and_last() {
    let mut smooth = Server::wiping(usize::MAX);
    assert_eq!(smooth.run(), "Verified - Succeeded");
    assert_eq!((smooth.made, smooth.starts.len()), (3, 3), "two that restore and one that wipes");
    for dies_after in 1..=smooth.writes + 4 {
        let mut server = Server::wiping(dies_after);
        assert_eq!(server.run(), "Verified - Succeeded", "after write {dies_after}");
        assert_eq!((server.starts.len(), server.world.jobs.len()), (3, 3), "after write {dies_after}");
        let wipe = server.world.restore.status.clone().unwrap().wipe.unwrap();
        assert_eq!(server.starts.last(), Some(&wipe.job.uid), "after write {dies_after}");
    }
}

#[test]
fn an_older_view_of_the_restore_starts_nothing_twice() {
    // The status with its record has not reached the cache: the Job is known, its record is not.
    let mut server = Server::new(usize::MAX);
    let before = server.world.restore.status.clone();
    server.run();
    server.world.restore.status = before;
    server.world.made.clear();
    // Started Jobs that nobody recorded: it would close as NameTaken, and the write fails for its old resourceVersion.
    assert_eq!(server.world.ending(at(5)), "Inconclusive NameTaken Failed");
    assert!(server.world.decide(at(5)).unwrap().effects.is_empty());
    // The record is there, but not that it was started.
    let mut late = World::new().started();
    late.restore.status.as_mut().unwrap().jobs[0].started = false;
    assert_eq!(late.decide(at(5)).unwrap().effects, []);
    // It is noted as started, but the Job in the cache still is suspended.
    let mut early = World::new().started();
    let spec = early.jobs[0].spec.as_mut().unwrap();
    (spec.suspend, spec.active_deadline_seconds) = (Some(true), None);
    assert_eq!(early.decide(at(5)).unwrap().effects, []);
}
