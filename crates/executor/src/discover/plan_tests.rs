//! The object made for a restic snapshot as a whole value, and what is done about what is there already.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn repository() -> Repository {
    serde_saphyr::from_str(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\nmetadata: {name: repo, namespace: demo, uid: repo-uid}\nspec: {path: x, appRef: {apiGroup: '', kind: PersistentVolumeClaim, name: source}}",
    )
    .unwrap()
}

fn found(digit: char, second: i64) -> Found {
    Found {
        id: digit.to_string().repeat(64),
        time: Timestamp::from_second(second).unwrap(),
        paths: vec!["/a".into(), "/b".into()],
        session: "daily".into(),
    }
}

fn made(found: &Found) -> Snapshot {
    super::snapshot(&repository(), found)
}

fn all(found: &[Found]) -> Vec<String> {
    found.iter().map(|found| found.id.clone()).collect()
}

#[test]
fn a_restic_snapshot_becomes_this_object() {
    assert_eq!(
        serde_json::to_value(made(&found('a', 1_730_205_000))).unwrap(),
        json!({
            "apiVersion": "storage.kubestash.com/v1alpha1",
            "kind": "Snapshot",
            "metadata": {
                "name": "repo-restic-aaaaaaaaaaaaaaaa",
                "namespace": "demo",
                "labels": {
                    "app.kubernetes.io/managed-by": "kubestash.com",
                    "backproof.dev/repository-uid": "repo-uid",
                    "kubestash.com/repo-name": "repo",
                    "kubestash.com/app-ref-kind": "PersistentVolumeClaim",
                    "kubestash.com/app-ref-name": "source",
                    "kubestash.com/app-ref-namespace": "demo",
                },
                "ownerReferences": [{
                    "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "name": "repo", "uid": "repo-uid",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "snapshotID": "01JBC428A0NANANANANANANANA", "type": "FullBackup", "repository": "repo", "session": "daily", "version": "v1",
                "appRef": {"kind": "PersistentVolumeClaim", "name": "source"},
            },
            "status": {
                "phase": "Succeeded", "verificationStatus": "NotVerified", "snapshotTime": "2024-10-29T12:30:00Z", "totalComponents": 1,
                "components": {"pod": {"path": ".", "phase": "Succeeded", "driver": "Restic", "resticStats": [{"summary": {"id": "a".repeat(64), "hostPath": "/a,/b"}}]}},
            },
        })
    );
}

#[test]
fn only_what_is_missing_is_made() {
    let (old, new) = (found('a', 100), found('b', 200));
    let complete = made(&old);
    let interrupted = Snapshot { status: None, ..made(&old) };
    let mut moved = made(&old);
    moved.spec.session = "earlier".into();
    let mut stranger = made(&old);
    stranger.metadata.owner_references = None;
    let mut twin = made(&old);
    twin.status.as_mut().unwrap().components.get_mut("pod").unwrap().restic_stats[0].summary.as_mut().unwrap().id =
        format!("{}{}", "a".repeat(16), "c".repeat(48));

    let create = |found: &Found| Step::Create(Box::new(made(found)));
    let left_out = "restic snapshot aaaaaaaaaaaaaaaa is left out: Snapshot repo-restic-aaaaaaaaaaaaaaaa exists and was not made by discovery of this Repository; delete or rename it";
    for (case, existing, steps, notes) in [
        ("nothing there", vec![], vec![create(&new), create(&old)], vec![]),
        ("one there", vec![complete.clone()], vec![create(&new)], vec![]),
        ("both there", vec![complete, made(&new)], vec![], vec![]),
        ("status missing", vec![interrupted], vec![create(&new), Step::Complete(Box::new(made(&old)))], vec![]),
        (
            "other session",
            vec![moved],
            vec![create(&new), Step::Move { name: "repo-restic-aaaaaaaaaaaaaaaa".into(), session: "daily".into() }],
            vec![],
        ),
        ("a stranger", vec![stranger], vec![create(&new)], vec![left_out]),
        ("another id of this name", vec![twin], vec![create(&new)], vec![left_out]),
    ] {
        let both = vec![old.clone(), new.clone()];
        let listed = [all(&both), vec![format!("{}{}", "a".repeat(16), "c".repeat(48))]].concat();
        let plan = plan(&repository(), both, &listed, &existing);
        let expected = Plan {
            steps,
            newest: Some("repo-restic-bbbbbbbbbbbbbbbb".into()),
            ids: vec!["b".repeat(16), "a".repeat(16)],
            gone: vec![],
            notes: notes.into_iter().map(str::to_owned).collect(),
        };
        assert_eq!(plan, expected, "{case}");
    }
}

#[test]
fn what_the_repository_does_not_hold_any_more_is_gone_and_what_is_filtered_out_is_not() {
    let (a, b, c) = (found('a', 1), found('b', 2), found('c', 3));
    let mut stranger = made(&found('d', 4));
    stranger.metadata.labels = None;
    let existing = [made(&a), made(&b), made(&c), stranger];
    let plan = plan(&repository(), vec![a.clone()], &all(&[a, b]), &existing);
    assert_eq!(plan.gone, ["c".repeat(16)]);
}

#[test]
fn without_snapshots_there_is_nothing() {
    assert_eq!(plan(&repository(), vec![], &[], &[]), Plan::default());
}

proptest! {
    #[test]
    fn the_newest_fifty_are_made_and_a_second_run_makes_nothing(seconds in proptest::collection::vec(0i64..2_000_000_000, 0..90)) {
        let found: Vec<_> = seconds.iter().enumerate().map(|(at, second)| Found {
            id: format!("{at:016x}{}", "0".repeat(48)), time: Timestamp::from_second(*second).unwrap(), paths: vec![], session: "s".into(),
        }).collect();
        let first = plan(&repository(), found.clone(), &all(&found), &[]);
        prop_assert_eq!(first.steps.len(), found.len().min(MOST));
        let made: Vec<Snapshot> = first.steps.iter().filter_map(|step| if let Step::Create(snapshot) = step { Some((**snapshot).clone()) } else { None }).collect();
        let newest = made.iter().max_by_key(|snapshot| (snapshot.status.clone().unwrap().snapshot_time.map(|time| time.0), snapshot.name_any()));
        prop_assert_eq!(&first.newest, &newest.map(kube::ResourceExt::name_any));
        let second = plan(&repository(), found.clone(), &all(&found), &made);
        prop_assert!(second.steps.is_empty() && second.gone.is_empty() && second.notes.is_empty());
    }
}
