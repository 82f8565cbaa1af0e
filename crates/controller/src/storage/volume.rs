//! The volume a repository lies on, with every way to write to it shut. Pure.

use backproof_api::{BackupStorage, shared::VolumeSource};
use k8s_openapi::api::core::v1::Volume;
use kube::ResourceExt as _;

use super::{AccessError, HostPath, Place, REPOSITORY_VOLUME};

/// The volume with every way to write to it shut.
pub(super) fn read_only_volume(
    object: &str,
    storage: &BackupStorage,
    source: &VolumeSource,
    place: Place<'_>,
) -> Result<Volume, AccessError> {
    let unfit = |problem: String| AccessError::Invalid {
        object: object.to_owned(),
        field: "spec.storage.local".into(),
        problem,
        remedy: "give a persistentVolumeClaim, or a network volume that can be mounted read-only".into(),
    };
    match given_members(source).as_slice() {
        [] => return Err(unfit("names no volume".into())),
        [_] => {}
        several => return Err(unfit(format!("names {} volumes ({})", several.len(), several.join(", ")))),
    }
    let mut volume = source.to_volume(REPOSITORY_VOLUME);
    if let Some(claim) = &mut volume.persistent_volume_claim {
        let claim_namespace = storage.namespace().unwrap_or_default();
        if claim_namespace != place.namespace {
            return Err(AccessError::VolumeElsewhere { object: object.to_owned(), claim_namespace, namespace: place.namespace.to_owned() });
        }
        claim.read_only = Some(true);
        return Ok(volume);
    }
    if let Some(directory) = &mut volume.host_path {
        if place.host_path == HostPath::Refused {
            return Err(AccessError::HostPathRefused {
                object: object.to_owned(),
                field: "spec.storage.local.hostPath",
                namespace: place.namespace.to_owned(),
            });
        }
        // Any other type lets the node make a missing directory.
        directory.type_ = Some("Directory".into());
        return Ok(volume);
    }
    if set_read_only(&mut volume) {
        Ok(volume)
    } else {
        Err(unfit(format!("is of type {}, which cannot be mounted read-only or holds no repository", given_members(source).join(", "))))
    }
}

fn set_read_only(volume: &mut Volume) -> bool {
    macro_rules! read_only {
        ($($source:ident),+ $(,)?) => {
            $(if let Some(source) = &mut volume.$source {
                source.read_only = Some(true);
                return true;
            })+
        };
    }
    read_only!(
        nfs,
        csi,
        aws_elastic_block_store,
        azure_disk,
        azure_file,
        cephfs,
        cinder,
        fc,
        flex_volume,
        gce_persistent_disk,
        glusterfs,
        iscsi,
        portworx_volume,
        quobyte,
        rbd,
        scale_io,
        storageos,
    );
    false
}

fn given_members(source: &VolumeSource) -> Vec<String> {
    match serde_json::to_value(source) {
        Ok(serde_json::Value::Object(members)) => members.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    }
}
