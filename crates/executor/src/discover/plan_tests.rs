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
        component: "pod".into(),
        place: WHOLE.into(),
    }
}

fn made(found: &Found) -> Snapshot {
    super::snapshot(&repository(), found, &[found])
}

/// The repositories that hold these.
fn held(found: &[Found]) -> Vec<Held> {
    let mut held: Vec<Held> = Vec::new();
    for found in found {
        match held.iter_mut().find(|held| held.place == found.place) {
            Some(held) => held.ids.push(found.id.clone()),
            None => held.push(Held { place: found.place.clone(), ids: vec![found.id.clone()] }),
        }
    }
    held
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
        let mut listed = held(&both);
        listed[0].ids.push(format!("{}{}", "a".repeat(16), "c".repeat(48)));
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
    let plan = plan(&repository(), vec![a.clone()], &held(&[a, b]), &existing);
    assert_eq!(plan.gone, ["c".repeat(16)]);
    // Of a repository that was not listed nothing is known to be gone.
    assert_eq!(super::plan(&repository(), vec![], &[], &existing).gone, Vec::<String>::new());
}

#[test]
fn without_snapshots_there_is_nothing() {
    assert_eq!(plan(&repository(), vec![], &[], &[]), Plan::default());
}

/// One of a component's own repository.
fn part(digit: char, second: i64, component: &str) -> Found {
    Found { component: component.into(), place: format!("repository/v1/daily/{component}"), ..found(digit, second) }
}

/// Component, place and first digit of what a Snapshot stands for.
fn composition(snapshot: &Snapshot) -> String {
    let status = snapshot.status.clone().unwrap();
    assert_eq!(usize::try_from(status.total_components).unwrap(), status.components.len());
    let parts = status.components.iter().map(|(name, component)| {
        let id = &component.restic_stats[0].summary.as_ref().unwrap().id;
        assert_eq!(component.path, format!("repository/v1/{}/{name}", snapshot.spec.session));
        format!("{name}={}", &id[..1])
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_snapshot_of_components_is_what_would_be_restored_as_of_then() {
    let weekly = Found { session: "weekly".into(), place: "repository/v1/weekly/dump".into(), ..part('e', 25, "dump") };
    let found = vec![part('a', 10, "pod-0"), part('b', 11, "pod-1"), part('c', 20, "pod-0"), weekly, part('d', 30, "pod-0")];
    let plan = plan(&repository(), found.clone(), &held(&found), &[]);
    let made: Vec<_> = plan
        .steps
        .iter()
        .map(|step| match step {
            Step::Create(snapshot) => format!("{}: {}", snapshot.name_any(), composition(snapshot)),
            other @ (Step::Complete(_) | Step::Move { .. } | Step::Recompose { .. }) => panic!("{other:?}"),
        })
        .collect();
    let name = |digit: &str| format!("repo-restic-{}", digit.repeat(16));
    // pod-1 was not backed up again; the newest stands for it all the same.
    assert_eq!(
        made,
        [
            format!("{}: pod-0=d pod-1=b", name("d")),
            format!("{}: dump=e", name("e")),
            format!("{}: pod-0=c pod-1=b", name("c")),
            format!("{}: pod-0=a pod-1=b", name("b")),
            format!("{}: pod-0=a", name("a")),
        ]
    );
    assert_eq!(plan.newest, Some(name("d")));
}

#[test]
fn what_comes_to_be_known_later_is_taken_in_and_what_vanishes_is_not_dropped_at_once() {
    // pod-1's backup began first and ended last, so that the first listing did not show it.
    let (old, late, first) = (part('b', 5, "pod-1"), part('c', 9, "pod-1"), part('a', 10, "pod-0"));
    let before = super::snapshot(&repository(), &first, &[&first, &old]);
    let all = [old.clone(), late.clone(), first.clone()];
    let both = |step: &Step| match step {
        Step::Recompose { snapshot, dropped } => format!("{}: {} -{}", snapshot.name_any(), composition(snapshot), dropped.join("-")),
        Step::Create(snapshot) => composition(snapshot),
        other @ (Step::Complete(_) | Step::Move { .. }) => panic!("{other:?}"),
    };
    let made = [super::snapshot(&repository(), &late, &[&late]), super::snapshot(&repository(), &old, &[&old])];
    let existing = [vec![before.clone()], made.to_vec()].concat();
    let plan = plan(&repository(), all.to_vec(), &held(&all), &existing);
    assert_eq!(plan.steps.iter().map(both).collect::<Vec<_>>(), ["repo-restic-aaaaaaaaaaaaaaaa: pod-0=a pod-1=c -"]);
    assert_eq!(plan.gone, Vec::<String>::new());

    // pod-1's repository is not there, or only what is left of it: its Snapshots stay as they are.
    for (rest, gone) in [(vec![first.clone()], vec![]), (vec![late.clone(), first.clone()], vec!["b".repeat(16)])] {
        let again = super::plan(&repository(), rest.clone(), &held(&rest), &existing);
        assert_eq!((again.steps, again.gone), (vec![], gone), "{rest:?}");
    }
    // Another repository at its place holds nothing that is known, so nothing of the earlier one is given up.
    let other = [part('f', 3, "pod-1"), first];
    let replaced = super::plan(&repository(), other.to_vec(), &held(&other), &existing);
    assert_eq!(replaced.gone, Vec::<String>::new());
}

proptest! {
    #[test]
    fn the_newest_fifty_are_made_and_a_second_run_makes_nothing(seconds in proptest::collection::vec(0i64..2_000_000_000, 0..90)) {
        let found: Vec<_> = seconds.iter().enumerate().map(|(at, second)| Found {
            id: format!("{at:016x}{}", "0".repeat(48)), time: Timestamp::from_second(*second).unwrap(), paths: vec![], session: "s".into(),
            component: "pod".into(), place: WHOLE.into(),
        }).collect();
        let first = plan(&repository(), found.clone(), &held(&found), &[]);
        prop_assert_eq!(first.steps.len(), found.len().min(MOST));
        let made: Vec<Snapshot> = first.steps.iter().filter_map(|step| if let Step::Create(snapshot) = step { Some((**snapshot).clone()) } else { None }).collect();
        let newest = made.iter().max_by_key(|snapshot| (snapshot.status.clone().unwrap().snapshot_time.map(|time| time.0), snapshot.name_any()));
        prop_assert_eq!(&first.newest, &newest.map(kube::ResourceExt::name_any));
        let second = plan(&repository(), found.clone(), &held(&found), &made);
        prop_assert!(second.steps.is_empty() && second.gone.is_empty() && second.notes.is_empty());
    }
}
