//! Rules for BackupStorage: one provider, a place that is named, and one that does not move while it is used.

use super::{Findings, closest, rules::others as rules};
use crate::{
    BackupStorage, Storage,
    shared::{FromNamespaces, VolumeSource},
};

const PROVIDERS: [&str; 4] = ["local", "s3", "gcs", "azure"];

/// What was looked up about a storage.
#[derive(Clone, Debug, Default)]
pub struct StorageFacts {
    /// The other storages of the cluster.
    pub others: Vec<BackupStorage>,
    /// Repositories that lie in it, as namespace and name.
    pub repositories: Vec<String>,
}

/// Whether a BackupStorage may be created, or changed so from an old one.
pub fn storage(storage: &BackupStorage, old: Option<&BackupStorage>, facts: &StorageFacts) -> Findings {
    let mut findings = Findings::default();
    let spec = storage.spec.storage.clone().unwrap_or_default();
    check_provider(&spec, &mut findings);
    check_policy(storage, &mut findings);
    let (namespace, name) = place_of(storage);
    if storage.spec.default {
        let other = facts.others.iter().find(|other| other.spec.default && place_of(other).0 == namespace && place_of(other).1 != name);
        if let Some(other) = other {
            findings.refuse(
                rules::STORAGE_DEFAULT,
                "spec.default",
                format!("BackupStorage {namespace}/{} is the default of this namespace already", place_of(other).1),
                "set spec.default of one of them to false",
            );
        }
    }
    let same = facts.others.iter().find(|other| {
        place_of(other) != (namespace, name)
            && location(&spec).is_some()
            && location(&spec) == other.spec.storage.as_ref().and_then(location)
    });
    if let Some(other) = same {
        let (namespace, name) = place_of(other);
        findings.warn(
            rules::STORAGE_SAME,
            "spec.storage",
            format!("is the same place as BackupStorage {namespace}/{name}"),
            "use one of them, or give this one a prefix of its own",
        );
    }
    if let Some(old) = old.and_then(|old| old.spec.storage.as_ref())
        && identity(old) != identity(&spec)
        && !facts.repositories.is_empty()
    {
        findings.refuse(
            rules::STORAGE_IMMUTABLE,
            "spec.storage",
            format!("cannot move while it holds {}", super::choices(facts.repositories.iter().map(String::as_str))),
            "make another BackupStorage for the other place",
        );
    }
    findings
}

fn place_of(storage: &BackupStorage) -> (&str, &str) {
    (storage.metadata.namespace.as_deref().unwrap_or_default(), storage.metadata.name.as_deref().unwrap_or_default())
}

fn check_provider(spec: &Storage, findings: &mut Findings) {
    let blocks = [("local", spec.local.is_some()), ("s3", spec.s3.is_some()), ("gcs", spec.gcs.is_some()), ("azure", spec.azure.is_some())];
    let provider = spec.provider.as_str();
    let at = "spec.storage.provider";
    if provider.is_empty() {
        return findings.refuse(rules::STORAGE_PROVIDER, at, "is missing", format!("write one of: {}", PROVIDERS.join(", ")));
    }
    if !PROVIDERS.contains(&provider) {
        let remedy = match closest(provider, PROVIDERS) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("write one of: {}", PROVIDERS.join(", ")),
        };
        return findings.refuse(rules::STORAGE_PROVIDER, at, format!("{provider:?} is no provider"), remedy);
    }
    for (block, there) in blocks {
        let field = format!("spec.storage.{block}");
        if block == provider && !there {
            findings.refuse(
                rules::STORAGE_BLOCK,
                field,
                format!("is missing, and provider {provider} needs it"),
                "say where the data lies",
            );
        } else if block != provider && there {
            findings.warn(rules::STORAGE_OTHER_BLOCK, field, format!("is not used by provider {provider}"), "take it out");
        }
    }
    let bucket = match provider {
        "s3" => spec.s3.as_ref().map(|s3| ("s3.bucket", &s3.bucket)),
        "gcs" => spec.gcs.as_ref().map(|gcs| ("gcs.bucket", &gcs.bucket)),
        "azure" => spec.azure.as_ref().map(|azure| ("azure.container", &azure.container)),
        _ => None,
    };
    if let Some((field, _)) = bucket.filter(|(_, name)| name.is_empty()) {
        findings.refuse(rules::STORAGE_BUCKET, format!("spec.storage.{field}"), "is missing", "name it");
    }
    if let Some(local) = spec.local.as_ref().filter(|_| provider == "local") {
        if local.source == VolumeSource::default() {
            let remedy = "say which volume holds the data, such as persistentVolumeClaim";
            findings.refuse(rules::STORAGE_VOLUME, "spec.storage.local", "has no volume", remedy);
        }
        if !local.mount_path.starts_with('/') {
            let problem = format!("{:?} is no absolute path", local.mount_path);
            findings.refuse(
                rules::STORAGE_VOLUME,
                "spec.storage.local.mountPath",
                problem,
                "write where the volume is mounted, beginning with /",
            );
        }
    }
}

fn check_policy(storage: &BackupStorage, findings: &mut Findings) {
    let Some(allowed) = storage.spec.usage_policy.as_ref().and_then(|policy| policy.allowed_namespaces.as_ref()) else { return };
    let by_selector = allowed.from.as_ref().is_some_and(|from| *from == FromNamespaces::Selector);
    if by_selector && allowed.selector.is_none() {
        findings.refuse(
            rules::STORAGE_SELECTOR,
            "spec.usagePolicy.allowedNamespaces.selector",
            "is missing, and from: Selector needs it",
            "write the labels of the namespaces that may use the storage",
        );
    }
}

/// What the data's address is made of; secrets and the number of connections are not.
fn identity(spec: &Storage) -> Vec<String> {
    let mut parts = vec![spec.provider.clone()];
    if let Some(s3) = &spec.s3 {
        parts.extend([&s3.endpoint, &s3.bucket, &s3.region, &s3.prefix].map(|part| part.trim_end_matches('/').to_owned()));
    }
    if let Some(gcs) = &spec.gcs {
        parts.extend([&gcs.bucket, &gcs.prefix].map(|part| part.trim_end_matches('/').to_owned()));
    }
    if let Some(azure) = &spec.azure {
        parts.extend([&azure.storage_account, &azure.container, &azure.prefix].map(|part| part.trim_end_matches('/').to_owned()));
    }
    if let Some(local) = &spec.local {
        parts.push(serde_json::to_string(&local.source).unwrap_or_default());
        parts.push(local.sub_path.trim_matches('/').to_owned());
    }
    parts
}

/// The address of a bucket, for comparison across namespaces; volumes mean something else in each namespace.
fn location(spec: &Storage) -> Option<Vec<String>> {
    let bucket = match spec.provider.as_str() {
        "s3" => !spec.s3.as_ref()?.bucket.is_empty(),
        "gcs" => !spec.gcs.as_ref()?.bucket.is_empty(),
        "azure" => !spec.azure.as_ref()?.container.is_empty(),
        _ => false,
    };
    bucket.then(|| identity(&Storage { local: None, ..spec.clone() }))
}
