//! Writes a result on the Snapshot it is about, and what it means for the Repository.

use backproof_api::{BackupVerificationSession, Repository, Snapshot, SnapshotStatus, labels};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::reflector::ObjectRef,
};
use serde_json::json;

use super::{
    apply::changes,
    driver::Driver,
    observed::{Observed, Seen},
};
use crate::{
    Error,
    events::{Note, path},
    hold::Hold,
};

impl Driver {
    /// Writes the Snapshot's status in one step, record and verdict together. Where the schema has pruned the record, it goes
    /// into an annotation: without a record, a verdict is never believed.
    pub(super) async fn write_snapshot(
        &self,
        observed: &Observed,
        name: &str,
        version: &str,
        status: &SnapshotStatus,
    ) -> Result<(), Error> {
        let Seen::Present(snapshot) = &observed.snapshot else { return Ok(()) };
        let api: Api<Snapshot> = Api::namespaced(self.context.client.clone(), &snapshot.namespace().unwrap_or_default());
        let what = format!("Snapshot {}", path(snapshot.as_ref()));
        let encode = |source| Error::Encode { what: what.clone(), source };
        let old = serde_json::to_value(snapshot.status.clone().unwrap_or_default()).map_err(encode)?;
        let changes = changes(&old, &serde_json::to_value(status).map_err(encode)?);
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": changes });
        // What was kept is out of date now, whatever comes of this.
        self.shared.unpin(&observed.session.uid().unwrap_or_default());
        let written = match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(written) => written,
            Err(kube::Error::Api(refused)) if refused.code == 404 => return Ok(()),
            Err(error) => return Err(Error::api(format!("patch status of {what}"))(error)),
        };
        let pruned = written.status.as_ref().is_none_or(|written| written.verification.is_none());
        if let Some(record) = status.verification.as_ref().filter(|_| pruned) {
            let text = serde_json::to_string(record).map_err(encode)?;
            let patch =
                json!({ "metadata": { "resourceVersion": written.resource_version(), "annotations": { (labels::VERIFICATION): text } } });
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(Error::api(format!("annotate {what}")))?;
        }
        Ok(())
    }

    /// Writes what is known of failures on the Repository. That it is gone is fine.
    pub(super) async fn write_hold(&self, observed: &Observed, hold: Option<&Hold>) -> Result<(), Error> {
        let Some(place) = &observed.place else { return Ok(()) };
        let session = &observed.session;
        let namespace = session.namespace().unwrap_or_default();
        let what = format!("Repository {namespace}/{}", session.spec.repository);
        let text = hold.map(serde_json::to_string).transpose().map_err(|source| Error::Encode { what: what.clone(), source })?;
        let patch = json!({ "metadata": { "resourceVersion": place.version, "annotations": { (labels::HOLD): text } } });
        let api: Api<Repository> = Api::namespaced(self.context.client.clone(), &namespace);
        match api.patch_metadata(&session.spec.repository, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(()),
            Err(error) => Err(Error::api(format!("annotate {what}"))(error)),
        }
    }

    /// Tells the reader of the session's Repository.
    pub(super) async fn tell_repository(&self, session: &BackupVerificationSession, note: Note) {
        let namespace = session.namespace().unwrap_or_default();
        if let Some(repository) = self.shared.repositories.store().get(&ObjectRef::new(&session.spec.repository).within(&namespace)) {
            self.context.events.on(repository.as_ref(), note).await;
        }
    }
}
