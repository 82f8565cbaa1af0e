//! A stand-in for Job controller and kubelet: each Job that was started gets one pod, which ends at once with a report.

use anyhow::{Context as _, Result};
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
}

fn is_started(job: &Job) -> bool {
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
    for job in jobs.list(&ListParams::default()).await?.items.iter().filter(|job| is_started(job)) {
        if job.status.as_ref().is_none_or(|status| status.conditions.as_ref().is_none_or(Vec::is_empty)) {
            run(client, job, report).await?;
            let now = jiff::Timestamp::now().to_string();
            let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now});
            let status = json!({"status": {
                "startTime": now, "completionTime": now, "succeeded": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
                "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
            }});
            jobs.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.context("Job status")?;
        }
    }
    Ok(())
}

async fn run(client: &Client, job: &Job, report: Report) -> Result<()> {
    let template = serde_json::to_value(job.spec.as_ref().context("no spec")?.template.clone())?;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": format!("{}-x", job.name_any()), "namespace": "demo",
            "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true,
            }],
        },
        "spec": template["spec"],
    }))?;
    let pods = Api::<Pod>::namespaced(client.clone(), "demo");
    match pods.create(&PostParams::default(), &pod).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error).context("pod"),
    }
    let container = &template["spec"]["containers"][0];
    let variable = |name: &str| -> Value {
        let variables = container["env"].as_array().map(Vec::as_slice).unwrap_or_default();
        variables.iter().find(|variable| variable["name"] == name).map_or(Value::Null, |variable| variable["value"].clone())
    };
    let Report::Green = report;
    let counts = json!({"files": 3, "directories": 1, "bytes": 42});
    let attempt: u32 = variable("BACKPROOF_ATTEMPT").as_str().unwrap_or_default().parse()?;
    let message = json!({
        "identity": {"sessionUid": variable("BACKPROOF_SESSION_UID"), "attempt": attempt, "component": variable("BACKPROOF_COMPONENT")},
        "outcome": "Verified", "snapshot": {"id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa7"}, "restored": counts, "readBack": counts, "executor": "test", "seconds": 1,
    });
    let now = jiff::Timestamp::now().to_string();
    let status = json!({"status": {"phase": "Succeeded", "startTime": now, "containerStatuses": [{
        "name": container["name"], "image": container["image"], "imageID": "x", "ready": false, "restartCount": 0, "started": false,
        "state": {"terminated": {"exitCode": 0, "reason": "Completed", "message": message.to_string(), "startedAt": now, "finishedAt": now}},
    }]}});
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.context("pod status")?;
    Ok(())
}
