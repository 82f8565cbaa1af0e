//! CronJobs that outlived their invoker: one deleted without what belongs to it (`--cascade=orphan`) leaves them without an
//! owner, and they would tick for ever. Pure.

use std::{collections::BTreeSet, sync::Arc};

use backproof_api::labels;
use k8s_openapi::api::batch::v1::CronJob;
use kube::ResourceExt as _;

/// Those of `cronjobs` to delete, by name and UID. One that has an owner goes with it, or is its owner's to mend.
pub(super) fn orphans(cronjobs: &[Arc<CronJob>], live: &BTreeSet<String>) -> Vec<(String, String)> {
    let gone = |cronjob: &&Arc<CronJob>| {
        let invoker = cronjob.labels().get(labels::INVOKER_UID);
        let ours = cronjob.labels().get(labels::COMPONENT).map(String::as_str) == Some(labels::COMPONENT_VERIFIER);
        ours && cronjob.owner_references().is_empty()
            && cronjob.metadata.deletion_timestamp.is_none()
            && invoker.is_some_and(|uid| !live.contains(uid))
    };
    cronjobs.iter().filter(gone).map(|cronjob| (cronjob.name_any(), cronjob.uid().unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_invoker_that_is_gone_left_without_owner_is_deleted() {
        let live = ["here".to_owned()].into();
        let ours = "app.kubernetes.io/component: kubestash-backup-verifier";
        let owner = "ownerReferences: [{apiVersion: v1, kind: BackupConfiguration, name: c, uid: gone, controller: true}]";
        for (case, labels, more, deleted) in [
            ("its invoker is gone", format!("{ours}, backproof.dev/invoker-uid: gone"), "", true),
            ("its invoker is there", format!("{ours}, backproof.dev/invoker-uid: here"), "", false),
            ("it goes with its owner", format!("{ours}, backproof.dev/invoker-uid: gone"), owner, false),
            ("not ours", "backproof.dev/invoker-uid: gone".to_owned(), "", false),
            ("no invoker named", ours.to_owned(), "", false),
            ("going already", format!("{ours}, backproof.dev/invoker-uid: gone"), "deletionTimestamp: '2026-01-01T00:00:00Z'", false),
        ] {
            let cronjob: CronJob =
                serde_saphyr::from_str(&format!("{{metadata: {{name: c, uid: u, labels: {{{labels}}}, {more}}}}}")).unwrap();
            assert_eq!(
                orphans(&[Arc::new(cronjob)], &live),
                if deleted { vec![("c".to_owned(), "u".to_owned())] } else { vec![] },
                "{case}"
            );
        }
    }
}
