//! Which Snapshots go, as tables over YAML.

use proptest::prelude::*;

use super::*;

fn repository() -> Repository {
    serde_saphyr::from_str(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\nmetadata: {name: repo, namespace: demo, uid: repo-uid}\nspec: {}",
    )
    .unwrap()
}

/// A Snapshot of this day with the restic id of this number.
fn snapshot(number: usize, label: &str, owner: &str, more: &str) -> Snapshot {
    let id = format!("{number:016x}{}", "0".repeat(48));
    serde_saphyr::from_str(&format!(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: Snapshot\nmetadata:\n  name: s{number:03}\n  labels: {{backproof.dev/repository-uid: {label}}}\n  ownerReferences: [{{apiVersion: x, kind: Repository, name: repo, uid: {owner}, controller: true}}]\nspec: {{repository: repo}}\nstatus: {{snapshotTime: \"{:04}-01-01T00:00:00Z\", components: {{pod: {{resticStats: [{{summary: {{id: \"{id}\"}}}}]}}}}{more}}}",
        2000 + number
    ))
    .unwrap()
}

fn ours(number: usize) -> Snapshot {
    snapshot(number, "repo-uid", "repo-uid", "")
}

fn ids(gone: &[usize]) -> Vec<String> {
    gone.iter().map(|number| format!("{number:016x}")).collect()
}

fn session(body: &str) -> BackupVerificationSession {
    serde_saphyr::from_str(&format!("apiVersion: core.kubestash.com/v1alpha1\nkind: BackupVerificationSession\n{body}")).unwrap()
}

fn names(doomed: &[&Snapshot]) -> Vec<String> {
    doomed.iter().map(|snapshot| snapshot.name_any()).collect()
}

#[test]
fn only_what_is_gone_and_ours_goes() {
    let snapshots = [ours(1), ours(2), snapshot(3, "other", "repo-uid", ""), snapshot(4, "repo-uid", "other", "")];
    assert_eq!(names(&doomed(&repository(), &snapshots, &[], &ids(&[2, 3, 4]))), ["s002"]);
}

#[test]
fn an_unfinished_session_keeps_its_snapshot() {
    let snapshots = [ours(1)];
    for (body, kept) in [
        ("metadata: {name: b}\nspec: {snapshot: s001}", true),
        ("metadata: {name: b}\nspec: {snapshot: s001}\nstatus: {phase: Running}", true),
        ("metadata: {name: b}\nspec: {snapshot: s001}\nstatus: {phase: Failed}", false),
        ("metadata: {name: b}\nspec: {snapshot: other}\nstatus: {phase: Running}", false),
        ("metadata: {name: b}\nspec: {}\nstatus: {phase: Running, run: {snapshot: {name: s001}}}", true),
        (
            "metadata: {name: b, annotations: {backproof.dev/run: '{\"snapshot\": {\"name\": \"s001\"}}'}}\nspec: {}\nstatus: {phase: Running}",
            true,
        ),
    ] {
        assert_eq!(doomed(&repository(), &snapshots, &[session(body)], &ids(&[1])).is_empty(), kept, "{body}");
    }
}

#[test]
fn beyond_fifty_the_oldest_without_a_record_go() {
    let mut snapshots: Vec<_> = (0..53).map(ours).collect();
    snapshots[1] = snapshot(1, "repo-uid", "repo-uid", ", verificationSession: v");
    assert_eq!(names(&doomed(&repository(), &snapshots, &[], &ids(&[]))), ["s002", "s000"]);
}

proptest! {
    #[test]
    fn never_below_fifty_and_never_a_strangers(count in 0usize..80, gone in proptest::collection::vec(0usize..80, 0..10)) {
        let snapshots: Vec<_> = (0..count).map(ours).collect();
        let doomed = doomed(&repository(), &snapshots, &[], &ids(&gone));
        let there: std::collections::BTreeSet<_> = gone.iter().filter(|number| **number < count).collect();
        let excess = (count - there.len()).saturating_sub(MOST_KEPT);
        prop_assert_eq!(doomed.len(), there.len() + excess);
    }
}
