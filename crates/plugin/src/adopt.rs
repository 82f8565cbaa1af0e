//! `adopt`: the manifests by which an existing restic repository is verified, as the quickstart writes them by hand. Nothing is applied.

use serde_json::{Map, Value, json};

use crate::{
    error::Error,
    options::{Adopt, Connection},
    output,
};

/// Where pods that verify find the volume of a repository.
const MOUNTED: &str = "/repository";

pub(crate) fn run(connection: &Connection, asked: &Adopt) -> Result<u8, Error> {
    let mut text = String::new();
    for manifest in manifests(connection.namespace.as_deref(), asked)? {
        text.push_str("---\n");
        text.push_str(&output::yaml(&manifest)?);
    }
    output::print(&text).map(|()| 0)
}

/// BackupStorage, Repository, BackupVerifier and BackupConfiguration.
fn manifests(namespace: Option<&str>, asked: &Adopt) -> Result<[Value; 4], Error> {
    if asked.source == asked.target {
        return Err(Error::Reference(
            "--target is the --source: restoring would overwrite what was backed up; name an empty claim".to_owned(),
        ));
    }
    let name = &asked.name;
    let user = asked.run_as_user.map(|uid| json!({"runAsUser": uid, "runAsGroup": uid}));
    let place = place(asked)?;
    let claim = |claim: &str| json!({"apiGroup": "", "kind": "PersistentVolumeClaim", "name": claim});
    let mut storage = json!({"storage": place.storage});
    let mut addon = json!({"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}]});
    if let Some(user) = user {
        let mut with_group = user.clone();
        with_group["fsGroup"] = user["runAsGroup"].clone();
        storage["runtimeSettings"] = json!({"pod": {"securityContext": user}});
        addon["jobTemplate"] = json!({"spec": {"securityContext": with_group}});
    }
    let secret = json!({"name": asked.secret});
    let object = |group: &str, kind: &str, annotations: Option<Value>, spec: Value| {
        let mut meta = Map::new();
        meta.insert("name".to_owned(), json!(name));
        meta.extend(namespace.map(|namespace| ("namespace".to_owned(), json!(namespace))));
        meta.extend(annotations.map(|annotations| ("annotations".to_owned(), annotations)));
        json!({"apiVersion": format!("{group}.kubestash.com/v1alpha1"), "kind": kind, "metadata": meta, "spec": spec})
    };
    let repository = json!({
        "appRef": claim(&asked.source), "storageRef": {"name": name}, "path": place.path, "encryptionSecret": secret,
    });
    let verifier = json!({
        "type": "RestoreOnly",
        "scheduler": {"schedule": asked.schedule, "jobTemplate": {}},
        "sessionHistoryLimit": 3,
        "restoreOption": {"target": claim(&asked.target), "addonInfo": addon},
    });
    // Backproof makes no backups: the session says what belongs together, and its schedule is KubeStash's to run.
    let session = json!({
        "name": "backup",
        "scheduler": {"schedule": "0 3 * * *", "jobTemplate": {}},
        "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]},
        "repositories": [{
            "name": name, "backend": name, "directory": format!("/{}", place.path), "encryptionSecret": secret,
            "backupVerifier": {"name": name},
        }],
    });
    let configuration = json!({
        "target": claim(&asked.source), "backends": [{"name": name, "storageRef": {"name": name}}], "sessions": [session],
    });
    Ok([
        object("storage", "BackupStorage", None, storage),
        object("storage", "Repository", Some(json!({"backproof.dev/discover": "true"})), repository),
        object("core", "BackupVerifier", None, verifier),
        object("core", "BackupConfiguration", None, configuration),
    ])
}

/// `spec.storage` of the BackupStorage, and the Repository's path below it.
struct Place {
    storage: Value,
    path: String,
}

fn place(asked: &Adopt) -> Result<Place, Error> {
    let wrong = |why: &str| Error::Reference(format!("{:?}: {why}", crate::redact::text(&asked.url)));
    let (scheme, rest) = asked.url.split_once("://").ok_or_else(|| wrong("write s3://, gs://, az:// or pvc:// before it"))?;
    if rest.contains(['@', '?', '#']) {
        return Err(wrong("credentials belong into the Secret, not into the URL"));
    }
    let (root, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_matches('/');
    if root.is_empty() {
        return Err(wrong("the bucket, container or claim is missing"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(wrong("a path must not lead upwards"));
    }
    let mut held = match scheme {
        "s3" => json!({"bucket": root, "prefix": path, "secretName": asked.secret}),
        "gs" => json!({"bucket": root, "prefix": path, "secretName": asked.secret}),
        "az" => {
            let account = asked.account.as_ref().ok_or_else(|| wrong("name the storage account by --account"))?;
            json!({"storageAccount": account, "container": root, "prefix": path, "secretName": asked.secret})
        }
        "pvc" => json!({"mountPath": MOUNTED, "persistentVolumeClaim": {"claimName": root}}),
        _ => return Err(wrong("only s3://, gs://, az:// and pvc:// can be verified")),
    };
    for (key, value) in [("endpoint", &asked.endpoint), ("region", &asked.region)] {
        match value {
            Some(value) if scheme == "s3" => held[key] = json!(value),
            Some(_) => return Err(wrong(&format!("--{key} is for s3:// only"))),
            None => {}
        }
    }
    let (provider, path) = match scheme {
        "gs" => ("gcs", ""),
        "az" => ("azure", ""),
        "pvc" => ("local", path),
        _ => ("s3", ""),
    };
    Ok(Place { storage: json!({"provider": provider, (provider): held}), path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Adopt {
        let text = |text: &str| text.to_owned();
        Adopt {
            url: text(url),
            name: text("shop"),
            secret: text("reader"),
            source: text("data"),
            target: text("proof"),
            schedule: text("0 4 * * *"),
            endpoint: None,
            region: None,
            account: None,
            run_as_user: None,
        }
    }

    #[test]
    fn places_are_told_apart_and_credentials_refused() {
        let storage = |asked: &Adopt| place(asked).map(|place| (place.storage, place.path)).map_err(|error| error.to_string());
        assert_eq!(
            storage(&asked("s3://b/a/c/")).unwrap(),
            (json!({"provider": "s3", "s3": {"bucket": "b", "prefix": "a/c", "secretName": "reader"}}), String::new())
        );
        assert_eq!(
            storage(&asked("pvc://claim/a")).unwrap(),
            (
                json!({"provider": "local", "local": {"mountPath": "/repository", "persistentVolumeClaim": {"claimName": "claim"}}}),
                "a".into()
            )
        );
        for wrong in ["b", "file:///x", "s3:///x", "az://c/p", "pvc://c/../x", "s3://user:hunter2@b/x"] {
            let error = storage(&asked(wrong)).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(storage(&Adopt { region: Some("r".into()), ..asked("gs://b") }).is_err());
        assert!(manifests(None, &Adopt { target: "data".into(), ..asked("gs://b") }).is_err());
    }
}
