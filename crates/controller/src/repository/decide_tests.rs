//! Tables over `decide`: Repository, storage, Jobs and pods as YAML; the Job as a whole value.

use std::sync::LazyLock;

use backproof_api::labels;
use clap::Parser as _;
use proptest::prelude::*;
use serde_json::json;

use super::*;

static CONFIG: LazyLock<Config> =
    LazyLock::new(|| Config::parse_from(["backproof-controller", "--image=image:1", "--allow-cross-namespace=demo=vault"]));
const NOW: &str = "2024-10-29T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn repository(annotations: &str) -> Repository {
    serde_saphyr::from_str(&format!(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\nmetadata: {{name: repo, namespace: demo, uid: 0a1b2c3d-4e5f, annotations: {{backproof.dev/discover: \"true\"{annotations}}}}}\nspec: {{path: dir, storageRef: {{name: store}}, encryptionSecret: {{name: key}}}}"
    ))
    .unwrap()
}

fn storage(more: &str) -> BackupStorage {
    serde_saphyr::from_str(&format!(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: BackupStorage\nmetadata: {{name: store, namespace: demo, uid: store-uid}}\nspec:\n  storage: {{provider: local, local: {{mountPath: /x, persistentVolumeClaim: {{claimName: backups}}}}}}\n{more}"
    ))
    .unwrap()
}

fn observed(repository: &Repository, record: DiscoveryRecord) -> Observed<'_> {
    Observed {
        repository,
        storage: Some(Arc::new(storage("  runtimeSettings: {pod: {securityContext: {runAsUser: 1000, runAsGroup: 1001}}}"))),
        session: Session::Only("daily".into()),
        record,
        jobs: Vec::new(),
        pods: Vec::new(),
        writers: Vec::new(),
        host_path: HostPath::Refused,
        patience: SignedDuration::from_mins(10),
        config: &CONFIG,
        proxies: &[],
        labels: BTreeMap::new(),
        refused: None,
    }
}

/// A record of `minutes` ago that agrees with what is observed.
fn record(repository: &Repository, minutes: i64, failures: u32) -> DiscoveryRecord {
    let inputs = hash(&observed(repository, DiscoveryRecord::default()));
    let at = (now() - SignedDuration::from_mins(minutes)).to_string();
    DiscoveryRecord {
        at,
        complete: failures == 0,
        cause: (failures > 0).then_some(Cause::StorageUnreachable),
        repository_id: "r1".into(),
        failures,
        run: 7,
        inputs,
        ..DiscoveryRecord::default()
    }
}

#[test]
fn discovery_runs_this_job() {
    let repository = repository(", backproof.dev/discover-filter: '{\"host\": \"$(HOST)\"}'");
    let decision = decide(&observed(&repository, DiscoveryRecord::default()), now());
    let mut job = serde_json::to_value(decision.start.unwrap()).unwrap();
    let inputs = job["metadata"]["annotations"]["backproof.dev/inputs"].take();
    assert_eq!(inputs.as_str().unwrap().len(), 16);
    let labels = json!({
        "app.kubernetes.io/managed-by": "kubestash.com", "app.kubernetes.io/component": "backproof-discovery",
        "kubestash.com/repo-name": "repo", "backproof.dev/repository-uid": "0a1b2c3d-4e5f",
    });
    let container = json!({
        "name": "discover", "image": "image:1", "command": ["/bin/backproof-executor"],
        "args": [
            "discover", "--repository=file:///backproof/repository/dir", "--repository-name=repo", "--namespace=demo", "--repository-uid=0a1b2c3d-4e5f",
            "--session=daily", "--filter={\"host\": \"$$(HOST)\"}", "--report=/dev/termination-log",
        ],
        "env": [{"name": "BACKPROOF_ENCRYPTION_DIR", "value": "/backproof/encryption"}],
        "volumeMounts": [
            {"name": "backproof-repository", "mountPath": "/backproof/repository", "readOnly": true},
            {"name": "backproof-encryption", "mountPath": "/backproof/encryption", "readOnly": true},
        ],
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
    });
    assert_eq!(
        job,
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "discover-repo-1-0a1b2c3d", "namespace": "demo", "labels": labels,
                "annotations": {"backproof.dev/asked-at": NOW, "backproof.dev/inputs": null},
                "ownerReferences": [{"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "name": "repo", "uid": "0a1b2c3d-4e5f", "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {
                "completions": 1, "parallelism": 1, "backoffLimit": 0, "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}, "activeDeadlineSeconds": 1800, "ttlSecondsAfterFinished": 86400,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "restartPolicy": "Never", "serviceAccountName": "backproof-discover", "automountServiceAccountToken": true, "enableServiceLinks": false,
                        "securityContext": {"runAsUser": 1000, "runAsGroup": 1001, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                        "volumes": [
                            {"name": "backproof-repository", "persistentVolumeClaim": {"claimName": "backups", "readOnly": true}},
                            {"name": "backproof-encryption", "secret": {"secretName": "key", "optional": true, "defaultMode": 292, "items": [{"key": "RESTIC_PASSWORD", "path": "RESTIC_PASSWORD"}]}},
                        ],
                        "containers": [container],
                    },
                },
            },
        })
    );
}

#[test]
fn when_the_next_one_is_due() {
    let plain = repository("");
    let asked = |when: &str| repository(&format!(", backproof.dev/discover-request: \"{when}\""));
    let minutes = |minutes| Some(SignedDuration::from_mins(minutes));
    for (case, repository, record, wait) in [
        ("never ran", plain.clone(), DiscoveryRecord::default(), None),
        ("ran just now", plain.clone(), record(&plain, 0, 0), minutes(10)),
        ("ran a while ago", plain.clone(), record(&plain, 9, 0), minutes(1)),
        ("interval over", plain.clone(), record(&plain, 10, 0), None),
        ("failed once", plain.clone(), record(&plain, 4, 1), minutes(1)),
        ("failed once, waited", plain.clone(), record(&plain, 5, 1), None),
        ("failed twice", plain.clone(), record(&plain, 5, 2), minutes(5)),
        ("failed often", plain.clone(), record(&plain, 0, 99), minutes(30)),
        ("asked since", asked("2024-10-29T11:59:00Z"), record(&plain, 2, 0), None),
        ("asked before", asked("2024-10-29T11:59:00Z"), record(&plain, 1, 0), minutes(9)),
        ("asked since although it failed", asked("2024-10-29T11:59:00Z"), record(&plain, 2, 9), None),
        ("asked by a clock that runs ahead", asked("2024-10-29T13:00:00Z"), record(&plain, 0, 0), minutes(10)),
        ("asked for nonsense", asked("soon"), record(&plain, 2, 0), minutes(8)),
        ("ran in the future", plain.clone(), record(&plain, -600, 0), minutes(10)),
        ("settings changed", plain.clone(), DiscoveryRecord { inputs: "other".into(), ..record(&plain, 0, 0) }, None),
    ] {
        let decision = decide(&observed(&repository, record), now());
        assert_eq!((decision.start.is_none(), decision.wake), (wait.is_some(), wait), "{case}");
    }
}

#[test]
fn every_setting_that_decides_starts_another_one() {
    let base = repository("");
    let hash_of = |change: &dyn Fn(&mut Observed<'_>)| {
        let mut observed = observed(&base, DiscoveryRecord::default());
        change(&mut observed);
        hash(&observed)
    };
    let before = hash_of(&|_| {});
    assert_eq!(before, hash_of(&|observed| observed.record.run = 5));
    assert_ne!(before, hash_of(&|observed| observed.session = Session::Unclear));
    assert_ne!(before, hash_of(&|observed| observed.storage = None));
    assert_ne!(before, hash_of(&|observed| observed.storage = Some(Arc::new(storage("")))));
    let other = Config::parse_from(["backproof-controller", "--image=image:2"]);
    let mut of_other = observed(&base, DiscoveryRecord::default());
    of_other.config = &other;
    assert_ne!(before, hash(&of_other));
    let filtered = repository(", backproof.dev/discover-filter: '{}'");
    assert_ne!(before, hash(&observed(&filtered, DiscoveryRecord::default())));
}

#[test]
fn what_cannot_start_is_written_down_with_its_remedy() {
    let repository = repository("");
    let mut without = observed(&repository, DiscoveryRecord::default());
    without.storage = None;
    let mut root = observed(&repository, DiscoveryRecord::default());
    root.storage = Some(Arc::new(storage("  runtimeSettings: {pod: {securityContext: {runAsUser: 0}}}")));
    for (observed, cause, error) in [
        (
            without,
            Cause::StorageObjectNotFound,
            "Repository demo/repo: spec.storageRef names store, and there is no such BackupStorage; create it or mend the reference",
        ),
        (
            root,
            Cause::UnsafeSettings,
            "BackupStorage demo/store: spec.runtimeSettings.pod.securityContext.runAsUser is 0; name the user that owns the repository's files, or list namespace demo in the chart's value unsafeNamespaces",
        ),
    ] {
        let decision = decide(&observed, now());
        assert!(decision.start.is_none());
        let ended = decision.ended.unwrap();
        assert_eq!(
            (ended.record.cause, ended.record.error.as_deref(), ended.record.failures, ended.record.run),
            (Some(cause), Some(error), 1, 1)
        );
        assert_eq!(decision.notes, [Note::warning("DiscoveryFailed", "Discover", format!("{cause}: {error}"))]);
    }
}

fn job(run: u64, status: &str) -> Arc<Job> {
    Arc::new(
        serde_saphyr::from_str(&format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: discover-repo-{run}-0a1b2c3d, namespace: demo, uid: job-{run}, creationTimestamp: \"2024-10-29T11:59:00Z\", annotations: {{backproof.dev/asked-at: \"2024-10-29T11:58:59Z\", backproof.dev/inputs: in}}}}\nstatus: {{{status}}}"
        ))
        .unwrap(),
    )
}

const DONE: &str = "conditions: [{type: Complete, status: \"True\"}]";

fn pod(run: u64, message: &str) -> Pod {
    serde_saphyr::from_str(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: demo, ownerReferences: [{{apiVersion: batch/v1, kind: Job, name: j, uid: job-{run}, controller: true}}]}}\nstatus: {{containerStatuses: [{{name: discover, image: i, imageID: i, ready: false, restartCount: 0, state: {{terminated: {{exitCode: 0, message: '{message}'}}}}}}]}}"
    ))
    .unwrap()
}

#[test]
fn a_finished_job_becomes_the_record() {
    let repository = repository("");
    let report =
        |id: &str| format!(r#"{{"complete": true, "repositoryId": "{id}", "found": 3, "created": 1, "newest": "n", "gone": ["aa"]}}"#);
    let told = Note::normal("SnapshotsDiscovered", "Discover", "3 restic snapshots found, 1 of them new, the newest is n");
    let (none, aa, bb) = (Vec::new, || vec!["aa".to_owned()], || vec!["bb".to_owned()]);
    for (case, id, known, missed, forget, misses, notes) in [
        ("the first time", "r1", "", none(), Forget::Allowed(none()), aa(), 1),
        ("the same again", "r1", "r1", none(), Forget::Allowed(none()), aa(), 1),
        ("missing for the second time", "r1", "r1", aa(), Forget::Allowed(aa()), aa(), 1),
        ("another one was missing", "r1", "r1", bb(), Forget::Allowed(none()), aa(), 1),
        ("another repository", "r2", "r1", aa(), Forget::Refused, aa(), 2),
        ("without an id", "", "r1", bb(), Forget::Refused, bb(), 2),
    ] {
        let before = DiscoveryRecord { repository_id: known.into(), missing: missed, ..record(&repository, 10, 0) };
        let mut observed = observed(&repository, before);
        observed.jobs = vec![job(8, DONE)];
        observed.pods = vec![pod(8, &report(id))];
        let decision = decide(&observed, now());
        let ended = decision.ended.unwrap();
        let expected = DiscoveryRecord {
            at: "2024-10-29T11:58:59Z".into(),
            complete: true,
            found: 3,
            newest: Some("n".into()),
            error: None,
            cause: None,
            sessions: Vec::new(),
            repository_id: if known.is_empty() { id.into() } else { known.into() },
            missing: misses,
            failures: 0,
            run: 8,
            waiting_since: None,
            waiting_for: None,
            job: None,
            inputs: "in".into(),
        };
        assert_eq!((ended.record, ended.forget), (expected, forget), "{case}");
        assert_eq!((decision.notes.len(), &decision.notes[0], decision.start, decision.delete.len()), (notes, &told, None, 0), "{case}");
    }
}

#[test]
fn a_failure_keeps_what_was_known_and_is_told_once() {
    let repository = repository("");
    let refused = r#"{"complete": false, "repositoryId": "", "found": 0, "cause": "StorageUnreachable", "error": "no answer"}"#;
    let mut before = DiscoveryRecord { found: 3, newest: Some("n".into()), ..record(&repository, 10, 0) };
    for told in [1, 0] {
        let mut observed = observed(&repository, before.clone());
        observed.jobs = vec![job(before.run + 1, "conditions: [{type: Failed, status: \"True\"}]")];
        observed.pods = vec![pod(before.run + 1, refused)];
        let decision = decide(&observed, now());
        let ended = decision.ended.unwrap();
        assert_eq!((decision.notes.len(), ended.forget), (told, Forget::Refused));
        assert_eq!(
            (ended.record.complete, ended.record.found, ended.record.newest.as_deref(), ended.record.repository_id.as_str()),
            (false, 3, Some("n"), "r1")
        );
        assert_eq!(ended.record.failures, before.failures + 1);
        before = ended.record;
    }
}

#[test]
fn an_incomplete_listing_forgets_nothing_although_objects_were_made() {
    let repository = repository("");
    let partly = r#"{"complete": false, "repositoryId": "r1", "found": 2, "created": 2, "cause": "SnapshotDamaged", "error": "snapshots/ab", "gone": ["aa"]}"#;
    let mut observed = observed(&repository, record(&repository, 10, 0));
    observed.jobs = vec![job(8, "conditions: [{type: Failed, status: \"True\"}]")];
    observed.pods = vec![pod(8, partly)];
    let ended = decide(&observed, now()).ended.unwrap();
    assert_eq!((ended.forget, ended.record.complete, ended.record.cause), (Forget::Refused, false, Some(Cause::SnapshotDamaged)));
}

#[test]
fn while_a_job_runs_nothing_else_starts_and_older_ones_are_cleared() {
    let repository = repository("");
    let mut observed = observed(&repository, record(&repository, 60, 0));
    observed.jobs = vec![job(6, DONE), job(7, DONE), job(8, "active: 1")];
    let decision = decide(&observed, now());
    assert_eq!(
        decision,
        Decision {
            delete: vec![("discover-repo-6-0a1b2c3d".into(), "job-6".into())],
            wake: Some(SignedDuration::from_mins(9)),
            ..Decision::default()
        }
    );
}

#[test]
fn a_job_that_never_starts_is_ended_with_its_cause() {
    let repository = repository("");
    let mut observed = observed(&repository, record(&repository, 60, 0));
    observed.jobs = vec![job(8, "active: 1")];
    let decision = decide(&observed, now() + SignedDuration::from_mins(9));
    assert_eq!(decision.delete, [("discover-repo-8-0a1b2c3d".into(), "job-8".into())]);
    assert_eq!(decision.ended.unwrap().record.cause, Some(Cause::PodNotStarted));
}

#[test]
fn wipe_out_is_warned_about() {
    let mut repository = repository("");
    repository.spec.deletion_policy = Some(Wire::Known(backproof_api::DeletionPolicy::WipeOut));
    let decision = decide(&observed(&repository, DiscoveryRecord::default()), now());
    assert_eq!(decision.notes.iter().map(|note| note.reason).collect::<Vec<_>>(), ["WipeOutIgnored"]);
}

#[test]
fn one_session_that_uses_the_repository_is_clear() {
    let configuration = |sessions: &str| -> backproof_api::BackupConfiguration {
        serde_saphyr::from_str(&format!("apiVersion: core.kubestash.com/v1alpha1\nkind: BackupConfiguration\nmetadata: {{name: c, namespace: demo}}\nspec: {{sessions: [{sessions}]}}")).unwrap()
    };
    let session = |name: &str, repository: &str| format!("{{name: {name}, repositories: [{{name: {repository}}}]}}");
    for (sessions, expected) in [
        (vec![], Session::Unclear),
        (vec![session("daily", "repo")], Session::Only("daily".into())),
        (vec![session("daily", "repo"), session("weekly", "other")], Session::Only("daily".into())),
        (vec![session("daily", "repo"), session("weekly", "repo")], Session::Unclear),
        (vec![session("daily", "other")], Session::Unclear),
    ] {
        let configuration = configuration(&sessions.join(", "));
        let invokers = std::iter::once(backproof_api::validate::Invoker::Configuration(&configuration));
        assert_eq!(Session::of("repo", invokers), expected, "{sessions:?}");
    }
}

#[test]
fn a_record_that_cannot_be_read_counts_as_none() {
    for text in ["", "no", "[]", r#"{"failures": -1}"#] {
        let mut repository = repository("");
        repository.metadata.annotations.as_mut().unwrap().insert(labels::DISCOVERY.into(), text.into());
        assert_eq!(super::super::record(&repository), DiscoveryRecord::default(), "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_happens_something_is_due_within_half_an_hour(ago in -100i64..100, failures in 0u32..20, status in proptest::option::of(0usize..3)) {
        let repository = repository("");
        let mut observed = observed(&repository, record(&repository, ago, failures));
        if let Some(status) = status {
            observed.jobs = vec![job(8, ["", "active: 1", DONE][status])];
        }
        let decision = decide(&observed, now());
        let acts = decision.start.is_some() || decision.ended.is_some();
        prop_assert!(acts || decision.wake.is_some_and(|wake| wake.is_positive() && wake <= SignedDuration::from_mins(30)), "{:?}", decision);
    }
}

#[test]
fn who_may_write_to_the_repository_is_waited_for_but_not_for_ever() {
    let repository = repository("");
    let pod = |minutes: i64| -> Pod {
        let created = now() - SignedDuration::from_mins(minutes);
        serde_saphyr::from_str(&format!("{{metadata: {{name: backup, creationTimestamp: '{created}'}}}}")).unwrap()
    };
    let waiting = |minutes: i64| DiscoveryRecord {
        waiting_since: Some((now() - SignedDuration::from_mins(minutes)).to_string()),
        waiting_for: Some("Pod backup".into()),
        ..DiscoveryRecord::default()
    };
    for (case, writers, record, started) in [
        ("nobody", vec![], DiscoveryRecord::default(), true),
        ("a backup starts", vec![pod(0)], DiscoveryRecord::default(), false),
        ("it is still there", vec![pod(9)], waiting(9), false),
        ("it has been there for long", vec![pod(10)], waiting(10), true),
        ("one after another", vec![pod(1)], waiting(29), false),
        ("one after another, too long", vec![pod(1)], waiting(30), true),
    ] {
        let mut observed = observed(&repository, record);
        observed.writers = writers;
        let decision = decide(&observed, now());
        assert_eq!((decision.start.is_some(), decision.wake.is_some()), (started, !started), "{case}");
        // Written down and told once, not at every look.
        let first = !started && observed.record.waiting_since.is_none();
        assert_eq!((decision.waiting.is_some(), decision.notes.len()), (first, usize::from(first)), "{case}");
    }
    // What was waited for is not part of what came of it.
    let mut ended = observed(&repository, waiting(1));
    ended.storage = None;
    assert_eq!(decide(&ended, now()).ended.unwrap().record.waiting_for, None);
}

#[test]
fn the_job_never_asks_a_node_to_change_owners() {
    let repository = repository("");
    let mut observed = observed(&repository, DiscoveryRecord::default());
    let settings = "  runtimeSettings: {pod: {securityContext: {runAsUser: 1000, fsGroup: 1000, fsGroupChangePolicy: Always}}}";
    observed.storage = Some(Arc::new(storage(settings)));
    let pod = decide(&observed, now()).start.unwrap().spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.security_context.unwrap().fs_group, None);
    assert_eq!(pod.volumes.unwrap()[0].persistent_volume_claim.clone().unwrap().read_only, Some(true));
}

/// What keeps sessions from verifying a Repository keeps discovery from listing it, unless somebody asks or what failed changed.
#[test]
fn nobody_looks_into_a_repository_that_is_held_off_unasked() {
    let held = |more: &str, cause: &str, next: &str, inputs: Option<&str>| {
        let plain = repository(more);
        let inputs = inputs
            .map_or_else(|| hold::Place::of(&plain, observed(&plain, DiscoveryRecord::default()).storage.as_deref()).inputs, str::to_owned);
        let scope = if cause == "ImagePullFailed" { "u/1" } else { "" };
        let hold = json!({"since": NOW, "tries": 2, "next": next, "cause": cause, "last": "u", "inputs": inputs, "scope": scope});
        repository(&format!("{more}, backproof.dev/hold: '{hold}'"))
    };
    let asked = ", backproof.dev/discover-request: \"2024-10-29T11:59:59Z\"";
    let (soon, over) = ("2024-10-29T12:20:00Z", "2024-10-29T11:59:00Z");
    for (case, repository, wait) in [
        ("not held", repository(""), None),
        ("held", held("", "StorageUnreachable", soon, None), Some(20)),
        ("held, and somebody asks", held(asked, "StorageUnreachable", soon, None), None),
        ("its time is over", held("", "StorageUnreachable", over, None), None),
        ("held for another storage", held("", "StorageUnreachable", soon, Some("other")), None),
        ("held for a verifier's image", held("", "ImagePullFailed", soon, None), None),
        ("longer than any hold", held("", "StorageUnreachable", "2034-10-29T12:20:00Z", None), None),
        ("unreadable", held("", "StorageUnreachable", "soon", None), None),
    ] {
        let record = record(&repository, 11, 0);
        let decision = decide(&observed(&repository, record), now());
        assert_eq!((decision.start.is_none(), decision.wake), (wait.is_some(), wait.map(SignedDuration::from_mins)), "{case}");
    }
}

/// A repository whose Secret lies in namespace `vault`.
fn crossing() -> Repository {
    let mut repository = repository("");
    repository.spec.encryption_secret = Some(serde_json::from_value(json!({"name": "key", "namespace": "vault"})).unwrap());
    repository
}

#[test]
fn a_secret_of_another_namespace_is_copied_to_a_job_that_waits_for_it() {
    let repository = crossing();
    let decision = decide(&observed(&repository, record(&repository, 11, 0)), now());
    let job = decision.start.unwrap();
    assert_eq!((job.spec.as_ref().unwrap().suspend, job.name_any().as_str()), (Some(true), "discover-repo-8-0a1b2c3d"));
    assert!(copies::needs_copy(&job), "{job:?}");
    let named: Vec<_> = decision.secrets.iter().map(|source| (source.namespace.as_str(), source.name.as_str(), source.keys)).collect();
    assert_eq!(named, [("vault", "key", backproof_api::environment::ENCRYPTION_KEYS)]);

    // Only where the installation says so.
    let nobody = Config::parse_from(["backproof-controller"]);
    let mut refused = observed(&repository, record(&repository, 11, 0));
    refused.config = &nobody;
    let ended = decide(&refused, now()).ended.unwrap();
    assert_eq!(ended.record.cause, Some(Cause::SecretNotReachable));
    assert!(ended.record.error.unwrap().contains("crossNamespace to {demo: [vault]}"));
}

#[test]
fn only_a_job_that_was_recorded_gets_its_copy() {
    let repository = crossing();
    let suspended = |uid: &str| {
        let mut job = (*job(8, "")).clone();
        job.metadata.uid = Some(uid.into());
        job.metadata.resource_version = Some("5".into());
        job.spec.get_or_insert_default().suspend = Some(true);
        Arc::new(job)
    };
    let waiting = |uid: &str| Waiting::of(&suspended(uid));
    let of = |uid: &str, refused: Option<Failure>| {
        let before = DiscoveryRecord { job: Some("job-8".into()), ..record(&repository, 11, 0) };
        let mut observed = observed(&repository, before);
        (observed.jobs, observed.refused) = (vec![suspended(uid)], refused);
        decide(&observed, now())
    };
    let resumed = of("job-8", None);
    assert_eq!((resumed.resume, resumed.secrets.len(), resumed.forget), (Some(waiting("job-8")), 1, None));
    let stranger = of("stranger", None);
    assert_eq!((stranger.resume, stranger.secrets.len(), stranger.forget), (None, 0, Some(waiting("stranger"))));
    let refused = of("job-8", Some(Failure::new(Cause::SecretNotReachable, "no right")));
    assert_eq!((refused.resume, refused.delete), (None, vec![("discover-repo-8-0a1b2c3d".into(), "job-8".into())]));
    assert_eq!(refused.ended.unwrap().record.cause, Some(Cause::SecretNotReachable));
}

#[test]
fn a_storage_elsewhere_is_used_only_where_it_says_so() {
    let repository = repository("");
    for (policy, labels, cause) in [
        ("", "{}", Some(Cause::CrossNamespaceNotAllowed)),
        ("usagePolicy: {allowedNamespaces: {from: All}}", "{}", None),
        ("usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}", "{team: blue}", None),
        (
            "usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}",
            "{team: red}",
            Some(Cause::CrossNamespaceNotAllowed),
        ),
    ] {
        let mut observed = observed(&repository, DiscoveryRecord::default());
        observed.labels = serde_saphyr::from_str(labels).unwrap();
        observed.storage = Some(Arc::new(
            serde_saphyr::from_str(&format!(
                "{{metadata: {{name: store, namespace: vault, uid: store-uid}}, spec: {{storage: {{provider: gcs, gcs: {{bucket: b}}}}, {policy}}}}}"
            ))
            .unwrap(),
        ));
        let decision = decide(&observed, now());
        assert_eq!(
            (decision.start.is_some(), decision.ended.and_then(|ended| ended.record.cause)),
            (cause.is_none(), cause),
            "{policy} {labels}"
        );
    }
}
