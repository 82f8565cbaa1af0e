//! The promises, compared with the truth: for each single write, and for each state.

use std::{collections::BTreeSet, sync::Arc};

use backproof_api::{BackupVerificationSession, labels, run::VERIFIER_JOB};
use backproof_testing::memory::{By, Change, Key, Object, Store};
use serde_json::Value;

use super::{
    cluster::uses_database,
    truth::{Deeds, Truth},
    world::World,
};
use crate::session;

thread_local! {
    /// How far sessions are that were looked at before, by digest: reading one takes as long as all the rest.
    static STEPS: std::cell::RefCell<std::collections::HashMap<u64, &'static str>> = std::cell::RefCell::default();
}

/// Learns from what was changed, and says which promises were broken by it.
pub(super) fn of_changes(world: &mut World, changes: &[Change]) -> Vec<String> {
    let mut broken = Vec::new();
    let World { store, truth, .. } = world;
    let truth = Arc::make_mut(truth);
    for change in changes {
        match change.key.kind.name {
            "BackupVerificationSession" => {
                if let (Some(before), None, By::Client) = (&change.before, &change.after, change.by) {
                    let of_it = |(_, object): (&Arc<Key>, &Arc<Object>)| object.label(labels::SESSION_UID) == before.uid();
                    if ["RestoreSession", "Job", "Pod"].into_iter().any(|kind| store.all(kind).any(of_it)) {
                        truth.let_go.insert(before.uid().to_owned());
                    }
                }
                session_changed(truth, change, &mut broken);
                broken.extend(unfounded(store, change));
            }
            "RestoreSession" => restore_changed(truth, change, &mut broken),
            "Job" => job_changed(truth, change, &mut broken),
            "Lease" => lease_changed(truth, change),
            "Snapshot" => snapshot_changed(truth, change, &mut broken),
            _ => {}
        }
    }
    broken
}

fn session_changed(truth: &mut Truth, change: &Change, broken: &mut Vec<String>) {
    let word = |object: &Option<Arc<Object>>| match object {
        None => "Absent",
        Some(object) => STEPS.with_borrow_mut(|known| {
            *known.entry(object.digest()).or_insert_with(|| session::explored::step(object.read::<BackupVerificationSession>()))
        }),
    };
    truth.steps.insert((word(&change.before), word(&change.after)));
    let Some(after) = &change.after else { return };
    let (name, uid) = (&change.key.name, after.uid());
    if change.before.is_none() {
        let left = after.at("/spec/retryLeft").as_i64().unwrap_or_default();
        truth.sessions.insert(uid.to_owned(), (name.clone(), left));
        let of = after.label(labels::RETRY_OF).to_owned();
        if change.by == By::Client {
            let retries = truth.retries.entry(of.clone()).or_default();
            retries.insert(uid.to_owned());
            if retries.len() > 1 {
                broken.push(format!("session {of} was repeated by more than one: {retries:?}"));
            }
            match truth.sessions.get(&of) {
                Some((_, before)) if left < *before && left >= 0 => {}
                other => broken.push(format!("session {name} repeats {other:?} with {left} retries left")),
            }
            let origin = truth.origins.get(&of).cloned().unwrap_or(of);
            truth.origins.insert(uid.to_owned(), origin.clone());
            let made = truth.origins.values().filter(|other| **other == origin).count();
            let most = truth.sessions.get(&origin).map_or(0, |(_, left)| usize::try_from(*left).unwrap_or_default());
            if made > most {
                broken.push(format!("session {origin} may be repeated {most} times and was {made} times"));
            }
        }
    }
    let status = after.at("/status");
    if is_green(after) {
        green(truth, after, name, broken);
    }
    if !matches!(status["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped")) {
        if truth.ended.contains_key(uid) {
            broken.push(format!("session {name} had ended, and has not any more: {}", brief(status)));
        }
        return;
    }
    let mut ending = status.clone();
    if let Some(map) = ending.as_object_mut() {
        // Whether it is repeated, and why not, is found out later.
        map.shift_remove("retried");
        map.shift_remove("message");
    }
    if let Some(before) = truth.ended.get(uid).filter(|before| ***before != ending) {
        broken.push(format!("session {name} had ended, and its status changed from {} to {}", brief(before), brief(&ending)));
    }
    truth.ended.entry(uid.to_owned()).or_insert_with(|| Arc::new(ending));
    match (status["verdict"].as_str(), status["phase"].as_str()) {
        (Some("Verified"), Some("Succeeded")) if is_green(after) => {}
        (Some("VerificationFailed"), Some("Failed")) => {
            if !truth.has_defect(uid) {
                broken.push(format!("session {name} is red, and nobody found a defect: {}", brief(status)));
            }
        }
        (Some("Inconclusive"), Some("Failed")) => {}
        (Some("Skipped"), Some("Skipped")) => {
            let by = status["run"]["provenBy"].as_str().unwrap_or_default();
            // The record of the Snapshot may be there before the session that wrote it has ended.
            let parts = status["run"]["snapshot"]["components"].as_array().map(Vec::as_slice).unwrap_or_default();
            let proves = |uid: &String, part: &Value| {
                let id = part["resticIds"][0].as_str().unwrap_or_default();
                truth.holds(uid, part["name"].as_str().unwrap_or_default(), id, Deeds::Proven)
            };
            let proof =
                |(uid, (name, _)): (&String, &(String, i64))| name == by && !parts.is_empty() && parts.iter().all(|part| proves(uid, part));
            if !truth.sessions.iter().any(proof) {
                broken.push(format!("session {name} was skipped without a proof: {}", brief(status)));
            }
        }
        other => broken.push(format!("session {name} ended as {other:?}: {}", brief(status))),
    }
    if is_green(after) && status["phase"] != "Succeeded" {
        broken.push(format!("session {name} looks green: {}", brief(status)));
    }
}

/// A session that ended for what is not so: nobody takes these objects away in any world, and only some of them change. Whatever the
/// caches say, the API server says otherwise.
fn unfounded(store: &Store, change: &Change) -> Option<String> {
    let after = change.after.as_ref()?;
    let cause = after.text_at("/status/cause");
    if change.before.as_ref().is_some_and(|before| before.text_at("/status/cause") == cause) {
        return None;
    }
    let pinned = after.text_at("/status/run/verifier/target/object/uid");
    let target = store.all("PersistentVolumeClaim").find(|(key, _)| key.name == "scratch").map_or("", |(_, claim)| claim.uid());
    let edited = |kind: &str| store.all(kind).any(|(_, object)| object.at("/metadata/generation").as_i64().is_some_and(|at| at > 1));
    let never = match cause {
        "VerifierNotFound"
        | "RepositoryObjectNotFound"
        | "StorageObjectNotFound"
        | "AddonNotFound"
        | "FunctionNotFound"
        | "TargetIsSource" => true,
        // It may be replaced afterwards.
        "TargetNotFound" => pinned.is_empty() || pinned == target,
        "VerifierChanged" => !edited("BackupVerifier"),
        _ => false,
    };
    never.then(|| format!("session {} ended for what is not so: {}", change.key.name, brief(after.at("/status"))))
}

/// A status in one line.
pub(super) fn brief(status: &Value) -> String {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<String> = conditions.iter().map(|condition| format!("{}={}", condition["type"], condition["status"])).collect();
    format!("{} {} {} {} [{}]", status["phase"], status["verdict"], status["cause"], status["message"], words.join(" ").replace('"', ""))
}

fn is_green(session: &Object) -> bool {
    let conditions = session.at("/status/conditions").as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "BackupVerified" && condition["status"] == "True")
        || session.at("/status/verdict") == "Verified"
}

/// Green needs the pinned Snapshot, its content, and for each part of it a Job of ours that really proved it.
fn green(truth: &Truth, session: &Object, name: &str, broken: &mut Vec<String>) {
    let run = session.at("/status/run");
    let components = run["snapshot"]["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut ids = Vec::new();
    for component in components {
        let part = component["name"].as_str().unwrap_or_default();
        let own: Vec<&str> = component["resticIds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for id in &own {
            if !truth.holds(session.uid(), part, id, Deeds::Proven) {
                broken.push(format!("session {name} is green, and nobody proved component {part} of restic snapshot {id}"));
            }
        }
        ids.extend(own.into_iter().map(str::to_owned));
    }
    if run["verifier"]["query"].is_object() {
        for id in &ids {
            if !truth.holds(session.uid(), VERIFIER_JOB, id, Deeds::Proven) {
                broken.push(format!("session {name} is green, and nobody asked what restic snapshot {id} became"));
            }
        }
        if session.at("/status/evidence/checksTotal") != &run["verifier"]["query"]["checks"] {
            broken.push(format!("session {name} is green, and not every check was answered: {}", session.at("/status/evidence")));
        }
    }
    ids.sort_unstable();
    let uid = run["snapshot"]["uid"].as_str().unwrap_or_default().to_owned();
    if ids.is_empty() || !truth.snapshots.contains(&(uid.clone(), ids.clone())) {
        broken.push(format!("session {name} is green for a Snapshot that never was: {uid} {ids:?}"));
    }
    let mut shown: Vec<String> =
        session.at("/status/evidence/resticIds").as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    shown.sort_unstable();
    if shown != ids || run["verifier"]["hash"].as_str().is_none_or(str::is_empty) {
        broken.push(format!("session {name} is green without evidence: {}", brief(session.at("/status"))));
    }
}

fn restore_changed(truth: &mut Truth, change: &Change, broken: &mut Vec<String>) {
    let Some(after) = &change.after else { return };
    let (name, uid) = (&change.key.name, after.uid());
    if change.before.is_none() && change.by == By::Client {
        let session = after.label(labels::SESSION_UID).to_owned();
        let made = truth.restores.entry(session).or_default();
        made.insert(uid.to_owned());
        if made.len() > 1 {
            broken.push(format!("session {name} made {} RestoreSessions", made.len()));
        }
    }
    let jobs = after.at("/status/jobs").as_array().map(Vec::as_slice).unwrap_or_default();
    truth.recorded.extend(jobs.iter().filter_map(|job| job["object"]["uid"].as_str()).map(str::to_owned));
    truth.recorded.extend(after.at("/status/wipe/job/uid").as_str().map(str::to_owned));
    let wiped = after.at("/status/wipe/wiped") == true && !truth.forged.contains(uid);
    if wiped && !truth.holds(after.label(labels::SESSION_UID), "", "", Deeds::Wiped) {
        broken.push(format!("RestoreSession {name} says that the target was wiped, and nobody wiped it"));
    }
    let conditions = after.at("/status/conditions").as_array().map(Vec::as_slice).unwrap_or_default();
    let closed = conditions.iter().any(|condition| condition["type"] == "MetricsPushed");
    if truth.forged.contains(uid) {
        if change.by == By::Client {
            broken.push(format!("RestoreSession {name} is somebody else's and was written to"));
        }
        return;
    }
    if !closed && !truth.ended.contains_key(uid) {
        return;
    }
    // What became of the target is found out later, and changes nothing else.
    let mut ending = after.at("/status").clone();
    if let Some(map) = ending.as_object_mut() {
        map.shift_remove("wipe");
    }
    if let Some(before) = truth.ended.get(uid).filter(|before| ***before != ending) {
        broken.push(format!("RestoreSession {name} was closed, and its status changed from {} to {}", brief(before), brief(&ending)));
    }
    truth.ended.entry(uid.to_owned()).or_insert_with(|| Arc::new(ending));
}

fn job_changed(truth: &mut Truth, change: &Change, broken: &mut Vec<String>) {
    let Some(after) = &change.after else { return };
    let Some(before) = &change.before else {
        if change.by == By::Client && after.at("/spec/suspend") != true {
            broken.push(format!("Job {} was made and started at once", change.key.name));
        }
        return;
    };
    let starts = before.at("/spec/suspend") == true && after.at("/spec/suspend") == false;
    if !starts || change.by != By::Client {
        return;
    }
    let (name, uid) = (&change.key.name, after.uid().to_owned());
    let (session, component) = (after.label(labels::SESSION_UID).to_owned(), after.label(labels::SNAPSHOT_COMPONENT).to_owned());
    if !truth.recorded.contains(&uid) {
        broken.push(format!("Job {name} was started before its UID was recorded"));
    }
    if !truth.torn && !truth.holders.values().any(|holder| *holder == session) {
        broken.push(format!("Job {name} was started without the lock on its target"));
    }
    if truth.forged.contains(&uid) {
        broken.push(format!("Job {name} is somebody else's and was started"));
    }
    // A wipe is of no component, and comes last: until the session is over, whoever checks what was restored needs it.
    match (component.is_empty(), truth.ended.contains_key(&session)) {
        (false, true) => broken.push(format!("Job {name} was started after its session had ended")),
        (true, false) => broken.push(format!("Job {name} wipes the target of a session that has not ended")),
        (false, false) | (true, true) => {}
    }
    if component == VERIFIER_JOB && !truth.restored(&session) {
        broken.push(format!("Job {name} asks what was not restored"));
    }
    let jobs = truth.started.entry((session.clone(), component.clone())).or_default();
    jobs.insert(uid);
    if jobs.len() > 1 {
        broken.push(format!("{} Jobs were started for component {component} of session {session}", jobs.len()));
    }
}

fn lease_changed(truth: &mut Truth, change: &Change) {
    match &change.after {
        Some(after) => truth.holders.insert(change.key.name.clone(), after.text_at("/spec/holderIdentity").to_owned()),
        None => truth.holders.remove(&change.key.name),
    };
    truth.torn |= change.by == By::Stranger;
}

/// What a Snapshot says about itself comes from a session that really found it out, about this very content.
fn snapshot_changed(truth: &Truth, change: &Change, broken: &mut Vec<String>) {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return };
    let told = |object: &Object| {
        (
            object.at("/status/verificationStatus").clone(),
            object.at("/status/verification").clone(),
            object.annotation(labels::VERIFICATION).to_owned(),
        )
    };
    if change.by != By::Client || told(before) == told(after) {
        return;
    }
    let record = after.at("/status/verification");
    let text = |field: &str| record[field].as_str().unwrap_or_default();
    let ids: Vec<String> = record["resticIds"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if text("snapshotUid") != after.uid() || !truth.snapshots.contains(&(after.uid().to_owned(), ids.clone())) {
        broken.push(format!("the record of Snapshot {} is about something else: {record}", change.key.name));
    }
    let session = text("sessionUid");
    let proven = ids.iter().all(|id| ["pod", "dump"].iter().any(|part| truth.holds(session, part, id, Deeds::Proven)));
    let right = match (after.text_at("/status/verificationStatus"), text("verdict")) {
        ("Verified", "Verified") => proven,
        ("VerificationFailed", "VerificationFailed") => truth.has_defect(session),
        _ => false,
    };
    if !right {
        broken.push(format!(
            "Snapshot {} says {}, which nobody found out: {record}",
            change.key.name,
            after.at("/status/verificationStatus")
        ));
    }
}

/// Says which promises a state breaks.
pub(super) fn of_state(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    for what in &world.store.strange {
        broken.push(format!("a call that the API in memory does not know: {what}"));
    }
    let mut users = BTreeSet::new();
    for (_, pod) in world.store.all("Pod") {
        let volumes = pod.at("/spec/volumes").as_array().map(Vec::as_slice).unwrap_or_default();
        let mounts = volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == "scratch");
        let gone = matches!(pod.text_at("/status/phase"), "Succeeded" | "Failed");
        if (mounts || uses_database(pod)) && !gone && pod.label("foreign") != "true" {
            users.insert(pod.label(labels::SESSION_UID).to_owned());
        }
    }
    if users.len() > 1 && !world.truth.torn {
        broken.push(format!("pods of several sessions use one target: {users:?}"));
    }
    broken
}
