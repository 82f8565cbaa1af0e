//! Tables over `decide`: invokers and verifiers as YAML, the CronJob as a whole value.

use backproof_api::{BackupBatch, BackupConfiguration};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const HEAD: &str = "apiVersion: core.kubestash.com/v1alpha1\n";

fn configuration(spec: &str) -> BackupConfiguration {
    serde_saphyr::from_str(&format!(
        "{HEAD}kind: BackupConfiguration\nmetadata: {{name: sample, namespace: demo, uid: inv-uid}}\nspec:\n{spec}"
    ))
    .unwrap()
}

fn one_repository() -> BackupConfiguration {
    configuration("  sessions: [{name: daily, repositories: [{name: repo, backupVerifier: {name: ver}}, {name: unverified}]}]")
}

fn verifier(scheduler: &str) -> BackupVerifier {
    serde_saphyr::from_str(&format!("{HEAD}kind: BackupVerifier\nmetadata: {{name: ver, namespace: demo, uid: ver-uid}}\nspec: {{retryConfig: {{maxRetry: 2}}, {scheduler}}}")).unwrap()
}

const SCHEDULE: &str = "scheduler: {schedule: '*/5 * * * *', jobTemplate: {}}";

fn observed<'a>(invoker: Invoker<'a>, verifier: Option<BackupVerifier>, cronjobs: &[CronJob]) -> Observed<'a> {
    Observed {
        invoker,
        verifiers: verifier.into_iter().map(|verifier| (("demo".to_owned(), "ver".to_owned()), Arc::new(verifier))).collect(),
        discovered: Vec::new(),
        cronjobs: cronjobs.iter().cloned().map(Arc::new).collect(),
        image: "image:1",
    }
}

/// The CronJob as the API server would give it back.
fn stored(mut cronjob: CronJob) -> CronJob {
    cronjob.metadata.uid = Some("cron-uid".into());
    cronjob.metadata.resource_version = Some("7".into());
    let spec = cronjob.spec.as_mut().unwrap();
    spec.successful_jobs_history_limit.get_or_insert(3);
    spec.failed_jobs_history_limit.get_or_insert(1);
    let pod = spec.job_template.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    pod.dns_policy = Some("ClusterFirst".into());
    pod.containers[0].image_pull_policy = Some("IfNotPresent".into());
    cronjob
}

fn wanted(invoker: Invoker<'_>, verifier: BackupVerifier) -> CronJob {
    let mut decision = decide(&observed(invoker, Some(verifier), &[]));
    assert_eq!(decision.apply.len(), 1, "{decision:?}");
    decision.apply.remove(0).cronjob
}

#[test]
fn a_reference_becomes_this_cronjob() {
    let configuration = one_repository();
    let mut found = serde_json::to_value(wanted(Invoker::Configuration(&configuration), verifier(SCHEDULE))).unwrap();
    let hash = found["metadata"]["annotations"]["backproof.dev/applied"].take();
    assert_eq!(hash.as_str().unwrap().len(), 64);
    let labels = json!({
        "app.kubernetes.io/managed-by": "kubestash.com", "app.kubernetes.io/component": "kubestash-backup-verifier",
        "kubestash.com/invoker-kind": "BackupConfiguration", "kubestash.com/invoker-name": "sample", "kubestash.com/invoker-namespace": "demo",
        "kubestash.com/session-name": "daily", "kubestash.com/repo-name": "repo", "backproof.dev/invoker-uid": "inv-uid",
    });
    let name = "trigger-verifier-sample-daily-repo-46ea7d26";
    let container = json!({
        "name": "trigger", "image": "image:1", "command": ["/bin/backproof-executor"],
        "args": [
            "trigger", format!("--cronjob={name}"), "--invoker-kind=BackupConfiguration", "--invoker-name=sample", "--invoker-uid=inv-uid",
            "--session=daily", "--repository=repo", "--concurrency-policy=Allow", "--retry-left=2", "--report=/dev/termination-log",
        ],
        "env": [
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
            {"name": "JOB_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}},
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
    });
    assert_eq!(
        found,
        json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {
                "name": name, "namespace": "demo", "labels": labels, "annotations": {"backproof.dev/applied": null},
                "ownerReferences": [{"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "name": "sample", "uid": "inv-uid", "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {
                "schedule": "*/5 * * * *", "concurrencyPolicy": "Allow", "suspend": false,
                "jobTemplate": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "completions": 1, "parallelism": 1, "backoffLimit": 0, "podReplacementPolicy": "Failed", "activeDeadlineSeconds": 600,
                        "template": {
                            "metadata": {"labels": labels},
                            "spec": {
                                "restartPolicy": "Never", "serviceAccountName": "backproof-trigger", "automountServiceAccountToken": true, "enableServiceLinks": false,
                                "securityContext": {"runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
                                "containers": [container],
                            },
                        },
                    },
                },
            },
        })
    );
}

#[test]
fn the_verifier_says_when_and_where_but_not_what_runs() {
    let configuration = one_repository();
    let settings = "scheduler: {schedule: '0 3 * * *', startingDeadlineSeconds: 60, concurrencyPolicy: Forbid, successfulJobsHistoryLimit: 0, failedJobsHistoryLimit: 5, \
         jobTemplate: {backoffLimit: 6, parallelism: 3, completions: 3, activeDeadlineSeconds: 90, ttlSecondsAfterFinished: 5, template: {metadata: {labels: {a: b, kubestash.com/repo-name: other}}, \
         spec: {serviceAccountName: other, hostNetwork: true, nodeSelector: {disk: ssd}, args: [x], securityContext: {runAsUser: 0, runAsGroup: 7}}}}}";
    let spec = wanted(Invoker::Configuration(&configuration), verifier(settings)).spec.unwrap();
    assert_eq!(
        (
            spec.starting_deadline_seconds,
            spec.concurrency_policy.as_deref(),
            spec.successful_jobs_history_limit,
            spec.failed_jobs_history_limit
        ),
        (Some(60), Some("Allow"), Some(0), Some(5))
    );
    let job = spec.job_template.spec.unwrap();
    assert_eq!(
        (job.backoff_limit, job.parallelism, job.completions, job.active_deadline_seconds, job.ttl_seconds_after_finished),
        (Some(0), Some(1), Some(1), Some(90), Some(5))
    );
    let labels = job.template.metadata.unwrap().labels.unwrap();
    assert_eq!((labels["a"].as_str(), labels["kubestash.com/repo-name"].as_str()), ("b", "repo"));
    let pod = job.template.spec.unwrap();
    assert_eq!(
        (pod.service_account_name.as_deref(), pod.host_network, pod.node_selector.unwrap()["disk"].as_str()),
        (Some("backproof-trigger"), None, "ssd")
    );
    let security = pod.security_context.unwrap();
    assert_eq!((security.run_as_user, security.run_as_group, security.run_as_non_root), (Some(65534), Some(7), Some(true)));
    assert!(pod.containers[0].args.as_ref().unwrap().contains(&"--concurrency-policy=Forbid".to_owned()));
}

#[test]
fn who_holds_it_back() {
    for (paused, scheduler, suspended) in [
        ("false", SCHEDULE, false),
        ("true", SCHEDULE, true),
        ("false", "scheduler: {schedule: '@daily', suspend: true, jobTemplate: {}}", true),
        ("false", "scheduler: {schedule: '@daily', jobTemplate: {suspend: true}}", true),
    ] {
        let configuration = configuration(&format!(
            "  paused: {paused}\n  sessions: [{{name: daily, repositories: [{{name: repo, backupVerifier: {{name: ver}}}}]}}]"
        ));
        let cronjob = wanted(Invoker::Configuration(&configuration), verifier(scheduler));
        assert_eq!(cronjob.spec.unwrap().suspend, Some(suspended), "{paused} {scheduler}");
    }
}

#[test]
fn what_kubelet_would_expand_stays_as_it_is() {
    let configuration =
        configuration("  sessions: [{name: '$(POD_NAMESPACE)', repositories: [{name: repo, backupVerifier: {name: ver}}]}]");
    let cronjob = wanted(Invoker::Configuration(&configuration), verifier(SCHEDULE));
    let pod = cronjob.spec.unwrap().job_template.spec.unwrap().template.spec.unwrap();
    assert!(pod.containers[0].args.as_ref().unwrap().contains(&"--session=$$(POD_NAMESPACE)".to_owned()));
}

/// What a decision does, in words.
fn words(decision: &Decision) -> Vec<String> {
    let name = |cronjob: &CronJob| cronjob.metadata.name.clone().unwrap_or_default();
    let applied =
        decision.apply.iter().map(|applied| format!("apply {} {}", name(&applied.cronjob), applied.uid.as_deref().unwrap_or("new")));
    let deleted = decision.delete.iter().map(|(name, uid)| format!("delete {name} {uid}"));
    let notes = decision.notes.iter().map(|note| format!("{}: {}", note.reason, note.message));
    applied.chain(deleted).chain(notes).collect()
}

#[test]
fn edits_are_followed_and_nothing_is_written_without_one() {
    let before = one_repository();
    let there = stored(wanted(Invoker::Configuration(&before), verifier(SCHEDULE)));
    let name = there.metadata.name.clone().unwrap();
    let renamed = configuration("  sessions: [{name: daily, repositories: [{name: other, backupVerifier: {name: ver}}]}]");
    let other = "trigger-verifier-sample-daily-other-904c7087";
    let dropped = configuration("  sessions: [{name: daily, repositories: [{name: repo}]}]");
    let mut leaving = one_repository();
    leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    let mut edited = there.clone();
    edited.spec.as_mut().unwrap().schedule = "0 0 1 1 *".into();
    let mut unasked = there.clone();
    unasked.spec.as_mut().unwrap().starting_deadline_seconds = Some(5);
    let apply = |uid: &str| format!("apply {name} {uid}");
    let delete = format!("delete {name} cron-uid");
    let missing = "VerifierNotFound: BackupConfiguration demo/sample: spec.sessions[0].repositories[0].backupVerifier names BackupVerifier demo/ver, which does not exist; create it or take the reference out";

    for (case, invoker, verifier, cronjob, expected) in [
        ("nothing changed", &before, Some(verifier(SCHEDULE)), Some(&there), vec![]),
        ("new", &before, Some(verifier(SCHEDULE)), None, vec![apply("new")]),
        (
            "verifier changed",
            &before,
            Some(verifier("scheduler: {schedule: '@daily', jobTemplate: {}}")),
            Some(&there),
            vec![apply("cron-uid")],
        ),
        (
            "retries changed",
            &before,
            Some(BackupVerifier {
                spec: backproof_api::BackupVerifierSpec { retry_config: None, ..verifier(SCHEDULE).spec },
                ..verifier(SCHEDULE)
            }),
            Some(&there),
            vec![apply("cron-uid")],
        ),
        ("verifier removed", &before, None, Some(&there), vec![delete.clone(), missing.to_owned()]),
        ("reference dropped", &dropped, Some(verifier(SCHEDULE)), Some(&there), vec![delete.clone()]),
        ("repository renamed", &renamed, Some(verifier(SCHEDULE)), Some(&there), vec![format!("apply {other} new"), delete.clone()]),
        ("invoker going away", &leaving, Some(verifier(SCHEDULE)), Some(&there), vec![delete.clone()]),
        ("somebody edited it", &before, Some(verifier(SCHEDULE)), Some(&edited), vec![apply("cron-uid")]),
        ("somebody added a field nobody asked for", &before, Some(verifier(SCHEDULE)), Some(&unasked), vec![]),
    ] {
        let cronjobs: Vec<_> = cronjob.into_iter().cloned().collect();
        let decision = decide(&observed(Invoker::Configuration(invoker), verifier, &cronjobs));
        assert_eq!(words(&decision), expected, "{case}");
    }
}

#[test]
fn a_field_that_is_asked_for_no_more_is_taken_back() {
    let configuration = one_repository();
    let invoker = Invoker::Configuration(&configuration);
    let there = stored(wanted(invoker, verifier("scheduler: {schedule: '*/5 * * * *', startingDeadlineSeconds: 60, jobTemplate: {}}")));
    let decision = decide(&observed(invoker, Some(verifier(SCHEDULE)), &[there]));
    assert_eq!(decision.apply.len(), 1);
}

#[test]
fn a_scheduler_that_cannot_work_leaves_no_cronjob_and_says_why() {
    let configuration = one_repository();
    let invoker = Invoker::Configuration(&configuration);
    let there = stored(wanted(invoker, verifier(SCHEDULE)));
    for (scheduler, message) in [
        (
            "type: RestoreOnly",
            "BackupVerifier demo/ver: spec.scheduler is missing, so nothing is verified by itself; set spec.scheduler.schedule, such as \"0 3 * * *\"",
        ),
        (
            "scheduler: {schedule: '0 3 * *', jobTemplate: {}}",
            "BackupVerifier demo/ver: spec.scheduler.schedule is \"0 3 * *\": it has 4 fields, not 5 (minute, hour, day of month, month, day of week); write five fields such as \"0 3 * * *\"",
        ),
        (
            "scheduler: {schedule: '@daily', concurrencyPolicy: Never, jobTemplate: {}}",
            "BackupVerifier demo/ver: spec.scheduler.concurrencyPolicy is \"Never\"; write Allow, Forbid or Replace",
        ),
    ] {
        let decision = decide(&observed(invoker, Some(verifier(scheduler)), std::slice::from_ref(&there)));
        assert_eq!(
            words(&decision),
            [format!("delete {} cron-uid", there.metadata.name.clone().unwrap()), format!("ScheduleInvalid: {message}")]
        );
    }
}

#[test]
fn a_batch_that_names_a_repository_twice_in_a_session_is_ambiguous() {
    let batch: BackupBatch = serde_saphyr::from_str(&format!(
        "{HEAD}kind: BackupBatch\nmetadata: {{name: sample, namespace: demo, uid: inv-uid}}\nspec:\n  sessions:\n  - name: daily\n    targets:\n    - {{name: a, repositories: [{{name: repo, backupVerifier: {{name: ver}}}}, {{name: own, backupVerifier: {{name: ver}}}}]}}\n    - {{name: b, repositories: [{{name: repo, backupVerifier: {{name: ver}}}}]}}\n  - name: weekly\n    targets:\n    - {{name: a, repositories: [{{name: repo, backupVerifier: {{name: ver}}}}]}}\n"
    ))
    .unwrap();
    let decision = decide(&observed(Invoker::Batch(&batch), Some(verifier(SCHEDULE)), &[]));
    let ambiguous = |field: &str| {
        format!(
            "AmbiguousRepository: BackupBatch demo/sample: {field}: session \"daily\" names repository \"repo\" more than once, so it is not clear which entry is meant; keep one of them"
        )
    };
    let said = words(&decision);
    assert_eq!(
        said[2..],
        [ambiguous("spec.sessions[0].targets[0].repositories[0]"), ambiguous("spec.sessions[0].targets[1].repositories[0]")]
    );
    assert!(
        said[0].starts_with("apply trigger-verifier-sample-daily-own-") || said[1].starts_with("apply trigger-verifier-sample-daily-own-"),
        "{said:?}"
    );
    assert!(said[..2].iter().any(|line| line.starts_with("apply trigger-verifier-sample-weekly-repo-")), "{said:?}");
}

#[test]
fn a_discovered_repository_leaves_the_snapshot_to_the_controller() {
    let configuration = one_repository();
    let mut observed = observed(Invoker::Configuration(&configuration), Some(verifier(SCHEDULE)), &[]);
    observed.discovered = vec!["repo".into()];
    let decision = decide(&observed);
    let pod = decision.apply[0].cronjob.spec.clone().unwrap().job_template.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].args.as_ref().unwrap().last().unwrap(), "--discovered");
}

proptest! {
    #[test]
    fn applied_once_there_is_nothing_left_to_do(repositories in proptest::collection::btree_set("[a-z]{1,40}", 0..6), sessions in proptest::collection::btree_set("[a-z]{1,40}", 1..3), paused: bool) {
        let entries: Vec<_> = repositories.iter().map(|name| format!("{{name: 'r-{name}', backupVerifier: {{name: ver}}}}")).collect();
        let sessions: Vec<_> = sessions.iter().map(|name| format!("{{name: 's-{name}', repositories: [{}]}}", entries.join(", "))).collect();
        let configuration = configuration(&format!("  paused: {paused}\n  sessions: [{}]", sessions.join(", ")));
        let invoker = Invoker::Configuration(&configuration);
        let first = decide(&observed(invoker, Some(verifier(SCHEDULE)), &[]));
        prop_assert_eq!(first.apply.len(), entries.len() * sessions.len());
        let there: Vec<_> = first.apply.into_iter().map(|applied| stored(applied.cronjob)).collect();
        for cronjob in &there {
            prop_assert!(cronjob.metadata.name.as_ref().unwrap().len() <= 52);
        }
        let second = decide(&observed(invoker, Some(verifier(SCHEDULE)), &there));
        prop_assert!(second.apply.is_empty() && second.delete.is_empty() && second.notes.is_empty());
        let without = decide(&observed(invoker, None, &there));
        prop_assert_eq!(without.delete.len(), there.len());
    }
}

/// A verifier may lie in another namespace than its invoker: the CronJob is the invoker's all the same.
#[test]
fn a_verifier_of_another_namespace_schedules_in_the_invokers() {
    let configuration = configuration(
        "  sessions: [{name: daily, repositories: [{name: repo, backupVerifier: {name: ver, namespace: checks}}, {name: own, backupVerifier: {name: ver}}]}]",
    );
    let invoker = Invoker::Configuration(&configuration);
    let mut elsewhere = verifier("scheduler: {schedule: '0 4 * * *', jobTemplate: {}}");
    elsewhere.metadata.namespace = Some("checks".into());
    let mut both = observed(invoker, Some(verifier(SCHEDULE)), &[]);
    both.verifiers.insert(("checks".into(), "ver".into()), Arc::new(elsewhere.clone()));
    let decision = decide(&both);
    let made: Vec<_> = decision
        .apply
        .iter()
        .map(|applied| {
            let meta = &applied.cronjob.metadata;
            let owner = &meta.owner_references.as_ref().unwrap()[0];
            (meta.namespace.clone().unwrap(), owner.uid.clone(), applied.cronjob.spec.clone().unwrap().schedule)
        })
        .collect();
    let in_demo = |schedule: &str| ("demo".to_owned(), "inv-uid".to_owned(), schedule.to_owned());
    assert_eq!((made, decision.notes.len()), (vec![in_demo("*/5 * * * *"), in_demo("0 4 * * *")], 0));
    // One of the name in the invoker's own namespace is another verifier.
    let alone = decide(&observed(invoker, Some(verifier(SCHEDULE)), &[]));
    assert_eq!((alone.apply.len(), alone.notes.len()), (1, 1));
    assert!(alone.notes[0].message.contains("checks/ver"), "{}", alone.notes[0].message);
}

#[test]
fn edits_of_a_batch_with_several_sessions_and_repositories_are_followed() {
    let batch = |sessions: &str| -> BackupBatch {
        serde_saphyr::from_str(&format!(
            "{HEAD}kind: BackupBatch\nmetadata: {{name: sample, namespace: demo, uid: inv-uid}}\nspec:\n  sessions: [{sessions}]"
        ))
        .unwrap()
    };
    let session = |name: &str, repositories: &[&str]| {
        let repositories: Vec<_> = repositories.iter().map(|name| format!("{{name: {name}, backupVerifier: {{name: ver}}}}")).collect();
        format!("{{name: {name}, targets: [{{name: t, repositories: [{}]}}]}}", repositories.join(", "))
    };
    let all = batch(&format!("{}, {}", session("daily", &["a", "b"]), session("weekly", &["a"])));
    let made = decide(&observed(Invoker::Batch(&all), Some(verifier(SCHEDULE)), &[])).apply;
    let there: Vec<CronJob> = made.into_iter().map(|applied| stored(applied.cronjob)).collect();
    assert_eq!(there.len(), 3);
    let after = |batch: &BackupBatch, verifier: Option<BackupVerifier>| {
        let decision = decide(&observed(Invoker::Batch(batch), verifier, &there));
        (decision.apply.len(), decision.delete.len(), decision.notes.len())
    };
    assert_eq!(after(&all, Some(verifier(SCHEDULE))), (0, 0, 0), "nothing changed");
    assert_eq!(after(&batch(&session("daily", &["a", "b"])), Some(verifier(SCHEDULE))), (0, 1, 0), "a session dropped");
    assert_eq!(after(&batch(&session("daily", &["a"])), Some(verifier(SCHEDULE))), (0, 2, 0), "and a repository");
    assert_eq!(after(&all, None), (0, 3, 3), "the verifier removed");
    assert_eq!(after(&all, Some(verifier("scheduler: {schedule: '@daily', jobTemplate: {}}"))), (3, 0, 0), "the verifier changed");
    let mut paused = all.clone();
    paused.spec.paused = true;
    assert_eq!(after(&paused, Some(verifier(SCHEDULE))), (3, 0, 0), "paused");
    let mut leaving = all.clone();
    leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(after(&leaving, Some(verifier(SCHEDULE))), (0, 3, 0), "deleted");
}
