//! What verifiers and Repositories need beside each other: Addons, Functions, targets, storages, Secrets, claims, classes.

use std::collections::BTreeMap;

use backproof_api::{Addon, BackupStorage, BackupVerifier, Function, Repository};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Secret},
    storage::v1::StorageClass,
};
use kube::{Api, ResourceExt as _};

use super::{Findings, Level, catalog, references::Key};
use crate::{
    cluster::Cluster,
    error::{Error, tried},
};

pub(super) async fn verifiers(cluster: &Cluster, findings: &mut Findings, verifiers: Vec<&BackupVerifier>) -> Result<(), Error> {
    if verifiers.is_empty() {
        return Ok(());
    }
    let addons = findings.read(catalog::all::<Addon>(cluster).await)?;
    let functions = findings.read(catalog::all::<Function>(cluster).await)?;
    let classes = findings.read(catalog::all::<StorageClass>(cluster).await)?;
    for verifier in verifiers {
        let described = format!("BackupVerifier {}/{}", verifier.namespace().unwrap_or_default(), verifier.name_any());
        let option = verifier.spec.restore_option.clone().unwrap_or_default();
        if let Some(addons) = &addons {
            addon(findings, &described, &option.addon_info.unwrap_or_default(), addons, functions.as_deref());
        }
        let target = option.target.unwrap_or_default();
        if target.kind != "PersistentVolumeClaim" {
            continue;
        }
        let own = verifier.namespace().unwrap_or_default();
        let at = (target.namespace_or(&own).to_owned(), target.name.clone());
        let Some(claim) = claim(cluster, findings, &at, &format!("the target of {described}")).await? else { continue };
        let bound = claim.status.and_then(|status| status.phase).is_some_and(|phase| phase == "Bound");
        let class = claim.spec.and_then(|spec| spec.storage_class_name).filter(|class| !class.is_empty() && !bound);
        if let (Some(class), Some(classes)) = (class, &classes) {
            findings.check(classes.iter().any(|known| known.name_any() == class), Level::Problem, || {
                format!(
                    "StorageClass {class} does not exist, but PersistentVolumeClaim {}/{}, the target of {described}, asks for it: no pod will start",
                    at.0, at.1
                )
            });
        }
    }
    Ok(())
}

fn addon(
    findings: &mut Findings,
    described: &str,
    named: &backproof_api::shared::AddonInfo,
    addons: &[Addon],
    functions: Option<&[Function]>,
) {
    let found = catalog::resolve(addons, &named.name);
    findings.check(found.is_some(), Level::Problem, || {
        format!(
            "Addon {:?} does not exist, but {described} names it: install the chart's catalog (value catalog.enabled), or correct the name",
            named.name
        )
    });
    let Some(addon) = found else { return };
    for task in &named.tasks {
        let known = addon.spec.restore_tasks.iter().find(|known| known.name == task.name);
        findings.check(known.is_some(), Level::Problem, || {
            format!("Addon {} has no restore task {:?}, but {described} names it: correct the name", addon.name_any(), task.name)
        });
        if let (Some(known), Some(functions)) = (known, functions) {
            findings.check(catalog::resolve(functions, &known.function).is_some(), Level::Problem, || {
                format!(
                    "Function {:?} does not exist, but task {} of Addon {}, which {described} names, runs it: install the chart's catalog",
                    known.function,
                    task.name,
                    addon.name_any()
                )
            });
        }
    }
}

pub(super) async fn repositories(cluster: &Cluster, findings: &mut Findings, repositories: Vec<&Repository>) -> Result<(), Error> {
    let mut storages: BTreeMap<Key, Option<BackupStorage>> = BTreeMap::new();
    for repository in repositories {
        let own = repository.namespace().unwrap_or_default();
        let described = format!("Repository {own}/{}", repository.name_any());
        match repository.spec.encryption_secret.as_ref().filter(|secret| !secret.name.is_empty()) {
            Some(secret) => self::secret(cluster, findings, secret.namespace_or(&own), &secret.name, &described).await?,
            None => findings
                .check(false, Level::Problem, || format!("{described} names no Secret with its password: set spec.encryptionSecret")),
        }
        let reference = repository.spec.storage_ref.clone().unwrap_or_default();
        let at = (reference.namespace_or(&own).to_owned(), reference.name.clone());
        if !storages.contains_key(&at) {
            let Some(found) = findings.read(cluster.get::<BackupStorage>(&at.0, &at.1).await)? else { continue };
            if let Some(found) = &found {
                storage(cluster, findings, &at, found).await?;
            }
            storages.insert(at.clone(), found);
        }
        findings.check(storages.get(&at).is_some_and(Option::is_some), Level::Problem, || {
            format!("BackupStorage {}/{} does not exist, but {described} names it: create it, or correct spec.storageRef", at.0, at.1)
        });
    }
    Ok(())
}

async fn storage(cluster: &Cluster, findings: &mut Findings, at: &Key, storage: &BackupStorage) -> Result<(), Error> {
    let described = format!("BackupStorage {}/{}", at.0, at.1);
    let spec = storage.spec.storage.clone().unwrap_or_default();
    let secrets = [spec.s3.map(|s3| s3.secret_name), spec.gcs.map(|gcs| gcs.secret_name), spec.azure.map(|azure| azure.secret_name)];
    for name in secrets.into_iter().flatten().filter(|name| !name.is_empty()) {
        secret(cluster, findings, &at.0, &name, &described).await?;
    }
    let claimed = spec.local.and_then(|local| local.source.persistent_volume_claim);
    if let Some(claimed) = claimed {
        claim(cluster, findings, &(at.0.clone(), claimed.claim_name), &format!("the volume of {described}")).await?;
    }
    Ok(())
}

/// Whether a Secret exists. Its data is not asked for.
async fn secret(cluster: &Cluster, findings: &mut Findings, namespace: &str, name: &str, by: &str) -> Result<(), Error> {
    let api: Api<Secret> = cluster.within(namespace);
    let read = api.get_metadata_opt(name).await.map_err(tried(format!("cannot get Secrets in namespace {namespace}")));
    // The API server's words name the Secret; one line for all of them is enough.
    let read = read.map_err(|error| match error {
        Error::Refused { what, .. } => Error::Refused { what, why: "not allowed, so it is not known whether they exist".to_owned() },
        error @ (Error::Reference(_) | Error::Session(_) | Error::Cluster { .. } | Error::Local { .. }) => error,
    });
    let Some(found) = findings.read(read)? else { return Ok(()) };
    findings.check(found.is_some(), Level::Problem, || {
        format!("Secret {namespace}/{name} does not exist, but {by} names it: create it, or correct the name")
    });
    Ok(())
}

async fn claim(cluster: &Cluster, findings: &mut Findings, at: &Key, role: &str) -> Result<Option<PersistentVolumeClaim>, Error> {
    let Some(found) = findings.read(cluster.get::<PersistentVolumeClaim>(&at.0, &at.1).await)? else { return Ok(None) };
    findings.check(found.is_some(), Level::Problem, || {
        format!("PersistentVolumeClaim {}/{}, {role}, does not exist: create it, or correct the reference", at.0, at.1)
    });
    Ok(found)
}
