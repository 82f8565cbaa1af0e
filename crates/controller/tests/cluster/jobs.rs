//! A stand-in for Job controller and kubelet, and no more than that: each Job that was started gets one pod, which does nothing,
//! and ends with a report as the executor's.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// What pods report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Report {
    /// Everything came back and was read again.
    Green,
    /// A pack is damaged.
    Red,
}

pub(crate) fn is_started(job: &Job) -> bool {
    job.spec.as_ref().is_some_and(|spec| spec.suspend != Some(true))
}

/// How many Jobs were started.
pub(crate) async fn started(client: &Client) -> Result<usize> {
    let jobs = Api::<Job>::namespaced(client.clone(), "demo").list(&ListParams::default()).await?;
    Ok(jobs.items.iter().filter(|job| is_started(job)).count())
}

/// Ends every Job that was started and has not ended.
pub(crate) async fn end_all(client: &Client, report: Report) -> Result<()> {
    let jobs = Api::<Job>::namespaced(client.clone(), "demo");
    for job in jobs.list(&ListParams::default()).await?.items.iter().filter(|job| is_started(job) && !is_ended(job)) {
        run(client, job).await?;
        report_of(client, job, report).await?;
        match report {
            Report::Green => end(client, job).await?,
            Report::Red => fail(client, job).await?,
        }
    }
    Ok(())
}

pub(crate) fn is_ended(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| status.conditions.as_ref().is_some_and(|conditions| !conditions.is_empty()))
}

fn name(job: &Job) -> String {
    format!("{}-x", job.name_any())
}

/// Makes the pod of a Job; its container runs.
pub(crate) async fn run(client: &Client, job: &Job) -> Result<()> {
    let namespace = job.namespace().context("no namespace")?;
    let template = serde_json::to_value(job.spec.as_ref().context("no spec")?.template.clone())?;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": name(job), "namespace": namespace,
            "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true,
            }],
        },
        "spec": template["spec"],
    }))?;
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    match pods.create(&PostParams::default(), &pod).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error).context("pod"),
    }
    let now = jiff::Timestamp::now().to_string();
    say(client, job, "Running", json!({"running": {"startedAt": now}})).await?;
    if job.status.as_ref().is_some_and(|status| status.start_time.is_some()) {
        return Ok(());
    }
    let status = json!({"status": {"startTime": now, "active": 1, "ready": 1}});
    let jobs = Api::<Job>::namespaced(client.clone(), &namespace);
    jobs.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.context("Job status")?;
    Ok(())
}

/// Ends the container of a Job's pod with a report.
pub(crate) async fn report_of(client: &Client, job: &Job, report: Report) -> Result<()> {
    let template = serde_json::to_value(job.spec.as_ref().context("no spec")?.template.clone())?;
    let variable = |name: &str| -> Value {
        let variables = template["spec"]["containers"][0]["env"].as_array().map(Vec::as_slice).unwrap_or_default();
        variables.iter().find(|variable| variable["name"] == name).map_or(Value::Null, |variable| variable["value"].clone())
    };
    let counts = json!({"files": 3, "directories": 1, "bytes": 42});
    let attempt: u32 = variable("BACKPROOF_ATTEMPT").as_str().unwrap_or_default().parse()?;
    let mut message = json!({
        "identity": {"sessionUid": variable("BACKPROOF_SESSION_UID"), "attempt": attempt, "component": variable("BACKPROOF_COMPONENT")},
        "outcome": "Verified", "snapshot": {"id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa7"},
        "repository": {"id": "r", "version": 2, "keys": ["k"], "passwordFingerprint": "p"},
        "restored": counts, "readBack": counts, "executor": "test", "seconds": 1,
    });
    let (phase, code, reason) = match report {
        Report::Green => ("Succeeded", 0, "Completed"),
        Report::Red => {
            message["outcome"] = json!("VerificationFailed");
            message["cause"] = json!("PackDamaged");
            message["error"] = json!("pack data/aa/aa00 is damaged");
            message["findings"] = json!([{"kind": "PackDamaged", "path": "data/aa/aa00", "detail": "its hash differs"}]);
            message["findingsTotal"] = json!(1);
            ("Failed", 1, "Error")
        }
    };
    let now = jiff::Timestamp::now().to_string();
    let ended = json!({"exitCode": code, "reason": reason, "message": message.to_string(), "startedAt": now, "finishedAt": now});
    say(client, job, phase, json!({"terminated": ended})).await
}

async fn say(client: &Client, job: &Job, phase: &str, state: Value) -> Result<()> {
    let container = &job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.containers.first()).context("no container")?;
    let status = json!({"status": {"phase": phase, "containerStatuses": [{
        "name": container.name, "image": container.image, "imageID": "x", "ready": false, "restartCount": 0, "started": false, "state": state,
    }]}});
    let pods = Api::<Pod>::namespaced(client.clone(), &job.namespace().context("no namespace")?);
    pods.patch_status(&name(job), &PatchParams::default(), &Patch::Merge(status)).await.context("pod status")?;
    Ok(())
}

/// Notes on a Job that its pod has ended well.
pub(crate) async fn end(client: &Client, job: &Job) -> Result<()> {
    let now = jiff::Timestamp::now().to_string();
    note(client, job, json!({"succeeded": 1, "completionTime": now}), ["SuccessCriteriaMet", "Complete"]).await
}

/// Notes on a Job that its pod has failed.
async fn fail(client: &Client, job: &Job) -> Result<()> {
    note(client, job, json!({"failed": 1}), ["FailureTarget", "Failed"]).await
}

async fn note(client: &Client, job: &Job, mut status: Value, conditions: [&str; 2]) -> Result<()> {
    ensure!(is_started(job), "Job {} is suspended", job.name_any());
    let now = jiff::Timestamp::now().to_string();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now});
    status["active"] = Value::Null;
    status["ready"] = json!(0);
    status["terminating"] = json!(0);
    status["uncountedTerminatedPods"] = json!({});
    status["conditions"] = json!(conditions.map(condition));
    let status = json!({"status": status});
    let jobs = Api::<Job>::namespaced(client.clone(), &job.namespace().context("no namespace")?);
    jobs.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.context("Job status")?;
    Ok(())
}
