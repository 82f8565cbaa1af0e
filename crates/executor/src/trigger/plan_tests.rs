//! Tables over `plan`: sessions and Snapshots as YAML, the action as a whole value.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// 2024-10-29T12:30:00Z, which is minute 28836750.
const AT: i64 = 1_730_205_000;

fn request(policy: Policy, source: SnapshotSource) -> Request {
    Request {
        namespace: "demo".into(),
        invoker_kind: "BackupConfiguration".into(),
        invoker_name: "sample-backup".into(),
        invoker_uid: "645191bb".into(),
        session: "freq".into(),
        repository: "repo".into(),
        policy,
        retry_left: 2,
        source,
        tick: Tick { key: format!("cron/{AT}"), at: AT },
    }
}

fn sessions(yaml: &[&str]) -> Vec<BackupVerificationSession> {
    yaml.iter()
        .map(|body| {
            let head = "apiVersion: core.kubestash.com/v1alpha1\nkind: BackupVerificationSession\n";
            serde_saphyr::from_str(&format!("{head}{body}")).unwrap()
        })
        .collect()
}

fn snapshot(name: &str, repository: &str, session: &str, phase: &str, time: &str) -> Snapshot {
    serde_saphyr::from_str(&format!(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: Snapshot\nmetadata: {{name: {name}}}\nspec: {{repository: {repository}, session: {session}}}\nstatus: {{phase: {phase}, snapshotTime: {time}}}"
    ))
    .unwrap()
}

fn snapshots() -> Vec<Snapshot> {
    vec![
        snapshot("a-old", "repo", "freq", "Succeeded", "\"2024-10-28T00:00:00Z\""),
        snapshot("b-new", "repo", "freq", "Succeeded", "\"2024-10-29T00:00:00Z\""),
        snapshot("c-failed", "repo", "freq", "Failed", "\"2024-10-29T01:00:00Z\""),
        snapshot("d-elsewhere", "other", "freq", "Succeeded", "\"2024-10-29T02:00:00Z\""),
        snapshot("e-session", "repo", "daily", "Succeeded", "\"2024-10-29T03:00:00Z\""),
        snapshot("f-without-time", "repo", "freq", "Succeeded", "null"),
    ]
}

const ABOUT: &str =
    "spec: {invoker: {apiGroup: core.kubestash.com, kind: BackupConfiguration, name: sample-backup}, session: freq, repository: repo}";

#[test]
fn a_tick_makes_this_session() {
    let listed = Listed { sessions: Vec::new(), snapshots: snapshots() };
    let Action::Create(session) = plan(&listed, &request(Policy::Allow, SnapshotSource::Objects)) else { panic!("no session") };
    assert_eq!(
        serde_json::to_value(session).unwrap(),
        json!({
            "apiVersion": "core.kubestash.com/v1alpha1",
            "kind": "BackupVerificationSession",
            "metadata": {
                "name": "repo-freq-1730205000",
                "namespace": "demo",
                "labels": {"kubestash.com/invoker-name": "sample-backup"},
                "annotations": {"backproof.dev/tick": "cron/1730205000"},
                "finalizers": ["kubestash.com/cleanup"],
                "ownerReferences": [{
                    "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "name": "sample-backup", "uid": "645191bb",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "sample-backup"},
                "session": "freq", "repository": "repo", "snapshot": "b-new", "retryLeft": 2,
            },
        })
    );
}

/// What an action is, in one line.
fn line(action: Action) -> String {
    match action {
        Action::Create(session) => format!("create {} of {:?}", session.metadata.name.unwrap_or_default(), session.spec.snapshot),
        Action::Nothing(line) => line,
        Action::Warn { reason, message } => format!("{reason}: {message}"),
    }
}

#[test]
fn what_else_is_there_decides() {
    let free = "create repo-freq-1730205000 of \"b-new\"";
    let unfinished = format!("metadata: {{name: x}}\n{ABOUT}");
    let started = format!("metadata: {{name: x}}\n{ABOUT}\nstatus: {{phase: Running, run: {{restoreSession: {{name: x, uid: u}}}}}}");
    let ours_now = "conditions: [{type: Reconciling, status: 'True', lastTransitionTime: '2024-10-29T00:00:00Z'}]";
    let under_way = format!("metadata: {{name: x}}\n{ABOUT}\nstatus: {{phase: Running, {ours_now}}}");
    let started_where_pruned = under_way.replace(
        "status: 'True'",
        r#"status: 'True', lastTransitionTime: '2024-10-29T00:00:00Z'}, {type: BackproofStatus, status: 'True', message: '{"run": {"restoreSession": {"name": "x", "uid": "u"}}}'"#,
    );
    // Another operator's: nobody here will ever finish it.
    let foreign = format!(
        "metadata: {{name: x, annotations: {{backproof.dev/tick: other/1, backproof.dev/run: '{{}}'}}}}\n{ABOUT}\nstatus: {{phase: Running, {}}}",
        ours_now.replace("Reconciling", "RestoreSucceeded")
    );
    let pinned = format!("metadata: {{name: x}}\n{ABOUT}\nstatus: {{phase: Running, run: {{started: now}}}}");
    let done = |phase: &str| format!("metadata: {{name: x}}\n{ABOUT}\nstatus: {{phase: {phase}}}");
    let other_repository = format!("metadata: {{name: x}}\n{}", ABOUT.replace("repository: repo", "repository: other"));
    let other_invoker = format!("metadata: {{name: x}}\n{}", ABOUT.replace("kind: BackupConfiguration", "kind: BackupBatch"));
    let ours = format!("metadata: {{name: y, annotations: {{backproof.dev/tick: cron/{AT}}}}}\n{ABOUT}\nstatus: {{phase: Failed}}");
    let name_taken = format!("metadata: {{name: repo-freq-{AT}, annotations: {{backproof.dev/tick: other/{AT}}}}}\n{other_repository}")
        .replace("metadata: {name: x}\n", "");
    let waits = "no session made: BackupVerificationSession demo/x still waits for its turn (concurrencyPolicy)";
    let busy = "no session made: BackupVerificationSession demo/x is unfinished (concurrencyPolicy)";

    for (policy, session, expected) in [
        (Policy::Allow, &unfinished, waits),
        (Policy::Allow, &pinned, waits),
        (Policy::Allow, &started, free),
        (Policy::Allow, &started_where_pruned, free),
        (Policy::Allow, &under_way, waits),
        (Policy::Forbid, &under_way, busy),
        (Policy::Forbid, &started_where_pruned, busy),
        (Policy::Allow, &foreign, free),
        (Policy::Forbid, &foreign, free),
        (Policy::Allow, &done("Failed"), free),
        (Policy::Forbid, &unfinished, busy),
        (Policy::Forbid, &started, busy),
        (Policy::Forbid, &done("Succeeded"), free),
        (Policy::Forbid, &done("Failed"), free),
        (Policy::Forbid, &done("Skipped"), free),
        (Policy::Forbid, &done("Strange"), free),
        (Policy::Forbid, &under_way.replace("Running", "Strange"), busy),
        (Policy::Forbid, &other_repository, free),
        (Policy::Forbid, &other_invoker, free),
        (Policy::Replace, &unfinished, free),
        (Policy::Replace, &started, free),
        (Policy::Forbid, &ours, "BackupVerificationSession demo/y was already made by this tick"),
        (Policy::Replace, &ours, "BackupVerificationSession demo/y was already made by this tick"),
        (Policy::Replace, &name_taken, "create repo-freq-1730205001 of \"b-new\""),
    ] {
        let listed = Listed { sessions: sessions(&[session]), snapshots: snapshots() };
        assert_eq!(line(plan(&listed, &request(policy, SnapshotSource::Objects))), expected, "{policy:?} {session}");
    }
}

#[test]
fn without_a_good_snapshot_nothing_is_made_but_said() {
    let failed = vec![
        snapshot("c-failed", "repo", "freq", "Failed", "\"2024-10-29T01:00:00Z\""),
        snapshot("d", "other", "freq", "Succeeded", "null"),
    ];
    let listed = Listed { sessions: Vec::new(), snapshots: failed };
    assert_eq!(
        line(plan(&listed, &request(Policy::Allow, SnapshotSource::Objects))),
        "NoSnapshotToVerify: no BackupVerificationSession made: repository repo has no Succeeded Snapshot of session freq; run a backup first, or annotate the Repository with backproof.dev/discover=\"true\" if restic writes there by itself"
    );
}

#[test]
fn a_discovered_repository_leaves_the_choice_open() {
    let listed = Listed { sessions: Vec::new(), snapshots: snapshots() };
    assert_eq!(line(plan(&listed, &request(Policy::Allow, SnapshotSource::Discovery))), "create repo-freq-1730205000 of \"\"");
}

#[test]
fn equal_times_are_told_apart_by_name() {
    let twins = ["m", "n", "l"].map(|name| snapshot(name, "repo", "freq", "Succeeded", "\"2024-10-29T00:00:00Z\"")).to_vec();
    let listed = Listed { sessions: Vec::new(), snapshots: twins };
    assert_eq!(line(plan(&listed, &request(Policy::Allow, SnapshotSource::Objects))), "create repo-freq-1730205000 of \"n\"");
}

#[test]
fn names_run_out_after_a_minute() {
    let taken: Vec<_> =
        (0..60).map(|second| format!("metadata: {{name: repo-freq-{}}}\nspec: {{repository: other}}", AT + second)).collect();
    let taken: Vec<_> = taken.iter().map(String::as_str).collect();
    for (count, expected) in [(59, "create repo-freq-1730205059 of \"b-new\""), (60, "NoFreeSessionName")] {
        let listed = Listed { sessions: sessions(&taken[..count]), snapshots: snapshots() };
        let action = line(plan(&listed, &request(Policy::Allow, SnapshotSource::Objects)));
        assert!(action.starts_with(expected), "{action}");
    }
}

#[test]
fn the_job_name_tells_the_tick() {
    let now = AT + 20;
    for (job, key, at) in [
        ("cron-28836750", "cron/1730205000", AT),
        ("cron-28836749", "cron/1730204940", AT - 60),
        ("cron-manual", "cron/cron-manual", now),
        ("by-hand-28836750", "cron/by-hand-28836750", now),
        // Somebody typed a small number: 1970 is no time a CronJob was due.
        ("cron-5", "cron/cron-5", now),
        ("cron-99999999999999999999", "cron/cron-99999999999999999999", now),
        ("cron-", "cron/cron-", now),
        ("", "cron/", now),
    ] {
        assert_eq!(Tick::of("cron", job, now), Tick { key: key.into(), at }, "{job}");
    }
}

proptest! {
    #[test]
    fn one_tick_makes_one_session_whatever_happens_between(policy in 0..3usize, others in proptest::collection::vec(0..4usize, 0..4)) {
        let policy = [Policy::Allow, Policy::Forbid, Policy::Replace][policy];
        let request = request(policy, SnapshotSource::Objects);
        let mut listed = Listed { sessions: Vec::new(), snapshots: snapshots() };
        for (at, phase) in others.iter().enumerate() {
            let phase = ["Running", "Succeeded", "Failed", "Skipped"][*phase];
            let text = format!("metadata: {{name: other-{at}}}\n{ABOUT}\nstatus: {{phase: {phase}, run: {{started: now}}}}");
            listed.sessions.extend(sessions(&[&text]));
        }
        let mut made = 0;
        for _ in 0..3 {
            if let Action::Create(session) = plan(&listed, &request) {
                made += 1;
                listed.sessions.push(*session);
            }
        }
        prop_assert!(made <= 1);
        prop_assert_eq!(made == 1, policy == Policy::Replace || !others.contains(&0));
    }

    #[test]
    fn any_job_name_gives_a_tick(cronjob in "[a-z-]{0,12}", job in "\\PC{0,30}", now in 0i64..4_000_000_000) {
        let tick = Tick::of(&cronjob, &job, now);
        prop_assert!((tick.at - now).abs() <= 366 * 24 * 3600);
    }
}
