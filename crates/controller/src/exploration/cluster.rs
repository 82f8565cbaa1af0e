//! The Job controller, kubelet and the garbage collector, as far as Jobs with one pod need them: what each may do next, and how
//! it does it. What a container really did is remembered as the truth.

use std::{fmt, str::FromStr};

use backproof_api::run::VERIFIER_JOB;
use backproof_testing::memory::{By, Key, Object, Propagation};
use serde_json::{Value, json};

use super::{
    NAMESPACE,
    ends::{self, End},
    truth::Did,
    world::World,
};

/// Something the cluster does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Deed {
    /// Makes the pod of a Job that was started.
    Start,
    /// Starts the container of a pod.
    Run,
    /// Ends it.
    End(End),
    /// Notes on a Job how its pod ended.
    Finish,
    /// Stops a Job that is past its deadline.
    Expire,
    /// Removes a pod that was told to go.
    Kill,
    /// Loses the node of a pod: it is told to go, and never does.
    Lose,
    /// Removes what has no owner any more.
    Collect,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Run => f.write_str("run"),
            Self::End(end) => write!(f, "end-{}", end.word()),
            Self::Finish => f.write_str("finish"),
            Self::Expire => f.write_str("expire"),
            Self::Kill => f.write_str("kill"),
            Self::Lose => f.write_str("lose"),
            Self::Collect => f.write_str("collect"),
        }
    }
}

impl FromStr for Deed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = [Self::Start, Self::Run, Self::Finish, Self::Expire, Self::Kill, Self::Lose, Self::Collect];
        let ends = End::ALL.map(Self::End);
        plain.into_iter().chain(ends).find(|deed| deed.to_string() == text).ok_or_else(|| format!("{text:?} is no deed"))
    }
}

/// What the cluster may do now. Everything but ways to end is what a healthy cluster does by itself.
pub(super) fn possible(world: &World) -> Vec<(Deed, String)> {
    let mut all = Vec::new();
    for (key, job) in world.store.all("Job") {
        all.extend(of_job(world, job).map(|deed| (deed, key.name.clone())));
    }
    for (key, pod) in world.store.all("Pod") {
        if pod.label("foreign") == "true" || world.stuck.contains(&key.name) {
            continue;
        }
        match (pod.text_at("/status/phase"), pod.is_leaving()) {
            (_, true) => all.push((Deed::Kill, key.name.clone())),
            ("Pending", false) => all.push((Deed::Run, key.name.clone())),
            ("Running", false) => all.extend(End::ALL.map(|end| (Deed::End(end), key.name.clone()))),
            _ => {}
        }
    }
    if world.store.has_garbage() {
        all.push((Deed::Collect, String::new()));
    }
    all
}

fn of_job(world: &World, job: &Object) -> Option<Deed> {
    if is_finished(job) || job.is_leaving() || job.at("/spec/suspend") == true {
        return None;
    }
    if job.text_at("/status/startTime").is_empty() {
        return Some(Deed::Start);
    }
    match pod_of(world, job) {
        None => Some(Deed::Finish),
        Some(pod) if matches!(pod.text_at("/status/phase"), "Succeeded" | "Failed") => Some(Deed::Finish),
        Some(pod) if world.now() >= expiry(job) && !pod.is_leaving() => Some(Deed::Expire),
        Some(_) => None,
    }
}

/// When the Job controller stops a Job that runs.
pub(super) fn next_expiry(world: &World) -> Option<i64> {
    let running =
        |job: &&std::sync::Arc<Object>| !is_finished(job) && !job.is_leaving() && pod_of(world, job).is_some_and(|pod| !pod.is_leaving());
    world.store.all("Job").map(|(_, job)| job).filter(running).map(|job| expiry(job)).filter(|at| *at > world.now()).min()
}

fn expiry(job: &Object) -> i64 {
    let started = job.text_at("/status/startTime").parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
    match (started, job.at("/spec/activeDeadlineSeconds").as_i64()) {
        (Ok(started), Some(seconds)) => started + seconds,
        _ => i64::MAX,
    }
}

fn is_finished(job: &Object) -> bool {
    job.at("/status/conditions").as_array().is_some_and(|all| !all.is_empty())
}

fn pod_of<'a>(world: &'a World, job: &Object) -> Option<&'a Object> {
    let owned = |pod: &Object| pod.owners().iter().any(|owner| owner["uid"] == job.uid() && owner["controller"] == true);
    let honest = |pod: &Object| pod.label("foreign") != "true";
    world.store.all("Pod").map(|(_, pod)| &**pod).find(|pod| owned(pod) && honest(pod))
}

/// Does it; `None` when it is not possible now.
pub(super) fn perform(world: &mut World, deed: Deed, name: &str) -> Option<()> {
    let lost = deed == Deed::Lose && world.store.get(&key("Pod", name)).is_some_and(|pod| pod.text_at("/status/phase") == "Running");
    if !lost && !possible(world).iter().any(|(other, of)| *other == deed && of == name) {
        return None;
    }
    match deed {
        Deed::Start => start(world, name),
        Deed::Run => {
            let container = world.store.get(&key("Pod", name))?.text_at("/spec/containers/0/name").to_owned();
            let running = json!({"phase": "Running", "containerStatuses": [{"name": container, "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "started": true, "state": {"running": {"startedAt": world.store.time()}}}]});
            status(world, "Pod", name, &running);
        }
        Deed::End(how) => end(world, name, how),
        Deed::Finish => finish(world, name),
        Deed::Expire => {
            let job = world.store.get(&key("Job", name))?.clone();
            let pod = pod_of(world, &job)?.text_at("/metadata/name").to_owned();
            world.store.delete(By::Cluster, &key("Pod", &pod), Propagation::Background).ok()?;
        }
        Deed::Kill => {
            let pod = world.store.get(&key("Pod", name))?.clone();
            if pod.text_at("/status/phase") == "Running" {
                terminated(world, name, "Failed", 143, "Error", "");
            }
            world.store.remove(By::Cluster, &key("Pod", name));
        }
        Deed::Lose => {
            world.stuck.insert(name.to_owned());
            let condition = json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
                "lastTransitionTime": world.store.time()}]});
            status(world, "Pod", name, &condition);
            world.store.delete(By::Cluster, &key("Pod", name), Propagation::Background).ok()?;
        }
        Deed::Collect => world.store.collect(),
    }
    Some(())
}

pub(super) fn key(kind: &str, name: &str) -> Key {
    Key::new(kind, NAMESPACE, name)
}

fn status(world: &mut World, kind: &str, name: &str, patch: &Value) {
    let merged = world.store.update(By::Cluster, &key(kind, name), |object| {
        for (field, value) in patch.as_object().unwrap() {
            object["status"][field] = value.clone();
        }
    });
    merged.unwrap();
}

fn start(world: &mut World, name: &str) {
    let job = world.store.get(&key("Job", name)).unwrap().clone();
    let mut labels = job.at("/spec/template/metadata/labels").clone();
    labels["batch.kubernetes.io/job-name"] = name.into();
    labels["batch.kubernetes.io/controller-uid"] = job.uid().into();
    let mut spec = job.at("/spec/template/spec").clone();
    spec["nodeName"] = "node".into();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{name}-{}", &job.uid()[..4]), "namespace": NAMESPACE, "labels": labels,
            "annotations": job.at("/spec/template/metadata/annotations"),
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.uid(), "controller": true,
                "blockOwnerDeletion": true}],
        },
        "spec": spec, "status": {"phase": "Pending"},
    });
    let time = world.store.time();
    status(world, "Job", name, &json!({"startTime": time, "active": 1}));
    // Somebody else's pod of this name: the next try takes another suffix; here, none is made.
    let _ = world.store.create(By::Cluster, pod);
}

fn terminated(world: &mut World, name: &str, phase: &str, code: i64, reason: &str, message: &str) {
    let now = world.store.time();
    let pod = world.store.get(&key("Pod", name)).unwrap();
    let started = pod.text_at("/status/containerStatuses/0/state/running/startedAt").to_owned();
    let container = pod.text_at("/spec/containers/0/name").to_owned();
    let ended = json!({"phase": phase, "containerStatuses": [{"name": container, "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": reason, "message": message, "startedAt": started, "finishedAt": now}}}]});
    status(world, "Pod", name, &ended);
}

fn finish(world: &mut World, name: &str) {
    let job = world.store.get(&key("Job", name)).unwrap().clone();
    let good = pod_of(world, &job).is_some_and(|pod| pod.text_at("/status/phase") == "Succeeded");
    let reason = if world.now() >= expiry(&job) { "DeadlineExceeded" } else { "BackoffLimitExceeded" };
    let time = world.store.time();
    let condition = if good {
        json!({"type": "Complete", "status": "True", "lastTransitionTime": time})
    } else {
        json!({"type": "Failed", "status": "True", "reason": reason, "lastTransitionTime": time})
    };
    status(world, "Job", name, &json!({"conditions": [condition], "active": 0}));
}

/// Whether a pod gets into a database.
pub(super) fn uses_database(pod: &Object) -> bool {
    let volumes = pod.at("/spec/volumes").as_array().map(Vec::as_slice).unwrap_or_default();
    volumes.iter().any(|volume| volume["name"] == "backproof-connection")
}

fn end(world: &mut World, name: &str, how: End) {
    let pod = world.store.get(&key("Pod", name)).unwrap().clone();
    let did = Did::of_pod(&pod);
    let wipes = did.component.is_empty();
    let into_database = uses_database(&pod);
    let (phase, code, reason, message) = match did.component.as_str() {
        "" => ends::of_wipe(how, &did),
        VERIFIER_JOB => ends::of_verification(how, &did),
        _ if into_database => ends::of_dump(how, &did),
        _ => ends::of_restore(how, &did),
    };
    terminated(world, name, phase, code, reason, &message);
    if how == End::Evicted {
        status(world, "Pod", name, &json!({"reason": "Evicted", "message": "The node was low on resource: memory."}));
    }
    std::sync::Arc::make_mut(&mut world.truth).ran(did, if wipes { ends::wiped(how) } else { ends::restored(how) });
}
