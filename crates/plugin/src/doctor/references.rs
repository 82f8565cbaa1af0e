//! What is to be verified: whether every reference on the way leads somewhere, and whether anything is left out.

use std::collections::{BTreeMap, BTreeSet};

use backproof_api::{BackupVerifier, Repository, Snapshot, SnapshotPhase, labels};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Findings, Level, objects};
use crate::{
    cluster::{Cluster, Place},
    error::Error,
    find::Invokers,
    records,
};

/// An object by namespace and name.
pub(super) type Key = (String, String);

/// What invokers refer to, and from where.
#[derive(Default)]
struct Referred {
    verifiers: BTreeMap<Key, String>,
    repositories: BTreeMap<Key, String>,
    proven: BTreeSet<Key>,
}

pub(super) async fn look(cluster: &Cluster, findings: &mut Findings, place: &Place) -> Result<(), Error> {
    let Some(invokers) = findings.read(Invokers::list(cluster, place).await)? else { return Ok(()) };
    let referred = referred(findings, &invokers);
    verifiers(cluster, findings, place, &referred).await?;
    repositories(cluster, findings, place, &referred).await
}

fn referred(findings: &mut Findings, invokers: &Invokers) -> Referred {
    let mut referred = Referred::default();
    for invoker in invokers.iter() {
        let namespace = invoker.namespace();
        let mut twice = BTreeSet::new();
        for entry in invoker.entries() {
            let at = format!("{} of {invoker}", entry.field);
            let repository = (namespace.to_owned(), entry.repository.name.clone());
            referred.repositories.entry(repository.clone()).or_insert_with(|| at.clone());
            let Some(verifier) = entry.verifier() else { continue };
            let key = (verifier.namespace_or(namespace).to_owned(), verifier.name.clone());
            referred.verifiers.entry(key).or_insert_with(|| at.clone());
            findings.check(!invoker.paused(), Level::Warning, || {
                format!("{invoker} is paused: nothing of it is verified until its spec.paused is false")
            });
            findings.check(twice.insert((entry.session.to_owned(), entry.repository.name.clone())), Level::Problem, || {
                format!(
                    "{at}: session {} names Repository {} more than once, so it is not verified; keep one of them",
                    entry.session, entry.repository.name
                )
            });
            referred.proven.insert(repository);
        }
    }
    referred
}

async fn verifiers(cluster: &Cluster, findings: &mut Findings, place: &Place, referred: &Referred) -> Result<(), Error> {
    let Some(listed) = findings.read(cluster.list::<BackupVerifier>(place).await)? else { return Ok(()) };
    let mut known: BTreeMap<Key, BackupVerifier> = listed.into_iter().map(|verifier| (key(&verifier), verifier)).collect();
    for (namespace, name) in known.keys() {
        // Others may refer to it from where nobody looked.
        let elsewhere = if *place == Place::Everywhere { "" } else { " here" };
        findings.check(referred.verifiers.contains_key(&(namespace.clone(), name.clone())), Level::Warning, || {
            format!("BackupVerifier {namespace}/{name}: nobody{elsewhere} names it; set it as backupVerifier of a repository, or delete it")
        });
    }
    for (at, by) in &referred.verifiers {
        if !known.contains_key(at) {
            let Some(found) = findings.read(cluster.get::<BackupVerifier>(&at.0, &at.1).await)? else { continue };
            findings.check(found.is_some(), Level::Problem, || {
                format!("BackupVerifier {}/{} does not exist, but {by} names it: create it, or correct the reference", at.0, at.1)
            });
            known.extend(found.map(|verifier| (at.clone(), verifier)));
        }
    }
    let used = known.iter().filter(|(at, _)| referred.verifiers.contains_key(*at)).map(|(_, verifier)| verifier);
    objects::verifiers(cluster, findings, used.collect()).await
}

async fn repositories(cluster: &Cluster, findings: &mut Findings, place: &Place, referred: &Referred) -> Result<(), Error> {
    let Some(listed) = findings.read(cluster.list::<Repository>(place).await)? else { return Ok(()) };
    let known: BTreeMap<Key, Repository> = listed.into_iter().map(|repository| (key(&repository), repository)).collect();
    for (at, by) in &referred.repositories {
        findings.check(known.contains_key(at), Level::Problem, || {
            format!("Repository {}/{} does not exist, but {by} names it: create it, or correct the name", at.0, at.1)
        });
    }
    let snapshots = findings.read(cluster.list::<Snapshot>(place).await)?;
    let now = Timestamp::now();
    for ((namespace, name), repository) in &known {
        let described = format!("Repository {namespace}/{name}");
        let proven = referred.proven.contains(&(namespace.clone(), name.clone()));
        findings.check(proven, Level::Warning, || {
            format!("{described}: no verifier is named for it, so its backups are never proven; set backupVerifier where it is named")
        });
        findings.check(records::held_until(repository, now).is_none(), Level::Warning, || {
            let until = records::held_until(repository, now).unwrap_or_default();
            format!("{described} is held off until {until}, as storage, credentials or image failed; its events say why")
        });
        let Some(snapshots) = snapshots.as_ref().filter(|_| proven) else { continue };
        let is_good =
            |snapshot: &&Snapshot| snapshot.status.as_ref().is_some_and(|status| status.phase == Some(SnapshotPhase::Succeeded.into()));
        let good = snapshots.iter().filter(is_good);
        let own = good.filter(|snapshot| snapshot.spec.repository == *name && snapshot.namespace().as_ref() == Some(namespace)).count();
        let discovered = repository.annotations().get(labels::DISCOVER).is_some_and(|value| value == "true");
        findings.check(own > 0, Level::Warning, || {
            let remedy = if discovered {
                "its events say what discovery found"
            } else {
                "annotation backproof.dev/discover: \"true\" finds what restic wrote by itself"
            };
            format!("{described} has no Succeeded Snapshot, so there is nothing to verify; {remedy}")
        });
    }
    objects::repositories(cluster, findings, known.values().collect()).await
}

fn key<K: kube::Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
