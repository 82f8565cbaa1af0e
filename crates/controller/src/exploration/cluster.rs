//! The Job controller, kubelet and the garbage collector, as far as Jobs with one pod need them: what each may do next, and how
//! it does it. What a container really did is remembered as the truth.

use std::{fmt, str::FromStr};

use backproof_testing::memory::{By, Key, Object, Propagation};
use serde_json::{Value, json};

use super::{
    NAMESPACE,
    truth::{Deeds, Did},
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

/// How a container ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum End {
    Good,
    Red,
    /// It says that it could not find out.
    Unknown,
    /// It says nothing.
    Silent,
    /// It is killed for its memory.
    Memory,
    /// Its pod is evicted.
    Evicted,
    /// Its report is cut in the middle.
    Cut,
    /// It tells a green story of another session.
    Foreign,
    /// It tells a green story of another attempt.
    Attempt,
    /// It tells a green story of another restic snapshot.
    Other,
    /// It says green and exits 1.
    Liar,
    /// It says green, but has not read back everything.
    Half,
    /// It says green as an image of somebody else's might: the restore was refused, the report made up for the exit code.
    RedFinding,
}

impl End {
    pub(super) const ALL: [Self; 13] = [
        Self::Good,
        Self::Red,
        Self::Unknown,
        Self::Silent,
        Self::Memory,
        Self::Evicted,
        Self::Cut,
        Self::Foreign,
        Self::Attempt,
        Self::Other,
        Self::Liar,
        Self::Half,
        Self::RedFinding,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Red => "red",
            Self::Unknown => "unknown",
            Self::Silent => "silent",
            Self::Memory => "memory",
            Self::Evicted => "evicted",
            Self::Cut => "cut",
            Self::Foreign => "foreign",
            Self::Attempt => "attempt",
            Self::Other => "other",
            Self::Liar => "liar",
            Self::Half => "half",
            Self::RedFinding => "red-finding",
        }
    }
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

fn end(world: &mut World, name: &str, how: End) {
    let pod = world.store.get(&key("Pod", name)).unwrap().clone();
    let did = Did::of_pod(&pod);
    let report = |outcome: &str, cause: Option<&str>, did: &Did, attempt: u32, read_back: u32| {
        let cause = cause.map_or(Value::Null, Into::into);
        json!({
            "identity": {"sessionUid": did.session, "attempt": attempt, "component": did.component},
            "outcome": outcome, "cause": cause, "error": cause, "snapshot": {"id": did.restic_id},
            "restored": {"files": 3, "directories": 1, "bytes": 42}, "readBack": {"files": read_back, "directories": 1, "bytes": 42},
            "findings": [], "findingsTotal": 0, "executor": "test", "seconds": 1,
        })
        .to_string()
    };
    let good = report("Verified", None, &did, 1, 3);
    let (phase, code, reason, message) = match how {
        End::Good => ("Succeeded", 0, "Completed", good),
        End::Red => ("Failed", 1, "Error", report("VerificationFailed", Some("PackDamaged"), &did, 1, 2)),
        End::Unknown => ("Failed", 2, "Error", report("Inconclusive", Some("StorageUnreachable"), &did, 1, 0)),
        End::Silent => ("Failed", 1, "Error", String::new()),
        End::Memory => ("Failed", 137, "OOMKilled", String::new()),
        End::Evicted => ("Failed", 137, "Error", String::new()),
        End::Cut => ("Succeeded", 0, "Completed", good[..good.len() / 2].to_owned()),
        End::Foreign => ("Succeeded", 0, "Completed", report("Verified", None, &Did { session: "x".into(), ..did.clone() }, 1, 3)),
        End::Attempt => ("Succeeded", 0, "Completed", report("Verified", None, &did, 2, 3)),
        End::Other => ("Succeeded", 0, "Completed", report("Verified", None, &Did { restic_id: "e".repeat(64), ..did.clone() }, 1, 3)),
        End::Liar => ("Failed", 1, "Error", good),
        End::Half => ("Succeeded", 0, "Completed", report("Verified", None, &did, 1, 2)),
        // A finding is no cause; whoever names it as one has not understood the contract.
        End::RedFinding => ("Failed", 1, "Error", report("VerificationFailed", Some("StorageUnreachable"), &did, 1, 2)),
    };
    terminated(world, name, phase, code, reason, &message);
    if how == End::Evicted {
        status(world, "Pod", name, &json!({"reason": "Evicted", "message": "The node was low on resource: memory."}));
    }
    let deeds = match how {
        End::Good => Deeds::Proven,
        End::Red => Deeds::Defect,
        End::Unknown
        | End::Silent
        | End::Memory
        | End::Evicted
        | End::Cut
        | End::Foreign
        | End::Attempt
        | End::Other
        | End::Liar
        | End::Half
        | End::RedFinding => Deeds::Nothing,
    };
    std::sync::Arc::make_mut(&mut world.truth).ran(did, deeds);
}
