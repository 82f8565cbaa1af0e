//! Rules of the kinds that verification meets and does not own.

use crate::validate::rule::rules;

rules! {
    /// Rules of RestoreSession.
    RESTORES of ["RestoreSession"] {
        RESTORE_SOURCE: "restore-source", "spec.dataSource", Refused, "A data source is given.", "spec.dataSource: is missing; say what is restored: repository and snapshot";
        RESTORE_SNAPSHOT: "restore-snapshot", "spec.dataSource.snapshot", Refused, "Without a point in time, a Snapshot is named, or `latest`.", "spec.dataSource.snapshot: is missing; name a Snapshot, or write latest";
        RESTORE_REPOSITORY: "restore-repository", "spec.dataSource.repository", Refused, "`latest` and a point in time are of a repository.", "spec.dataSource.repository: is missing, and latest needs it; name the Repository";
        RESTORE_TIME: "restore-time", "spec.dataSource.pitr.targetTime", Refused, "A point in time has a time.", "spec.dataSource.pitr.targetTime: is missing; write the time to restore, such as 2026-01-31T12:00:00Z";
        RESTORE_DURATION: "restore-duration", "spec.restoreTimeout", Refused, "The timeout is a Go duration.", "spec.restoreTimeout: \"5 minutes\" has the unit \" minutes\"; the units are ns, us, ms, s, m and h; write a day as 24h";
    }
}

rules! {
    /// Rules of Addon.
    ADDONS of ["Addon"] {
        ADDON_TASK: "addon-task", "spec.restoreTasks[*].name, spec.backupTasks[*].name", Refused, "Each task has a name of its own.", "spec.backupTasks[0].name: is missing; give the task a name";
        ADDON_FUNCTION: "addon-function", "spec.restoreTasks[*].function, spec.backupTasks[*].function", Refused, "Each task names the Function that runs it.", "spec.restoreTasks[1].function: is missing; name the Function that runs the task";
        ADDON_PARAMETER: "addon-parameter", "spec.restoreTasks[*].parameters[*].name, spec.backupTasks[*].parameters[*].name", Refused, "Each parameter of a task has a name of its own.", "spec.restoreTasks[2].parameters[1].name: p names another parameter already; give each parameter a name of its own";
        ADDON_VOLUME: "addon-volume", "spec.restoreTasks[*].volumeTemplate[*].name, spec.backupTasks[*].volumeTemplate[*].name", Refused, "Each volume of a task has a name of its own.", "spec.restoreTasks[2].volumeTemplate[1].name: v names another volume already; give each volume a name of its own";
        ADDON_EXECUTOR: "addon-executor", "spec.restoreTasks[*].executor", Warned, "Backproof runs restore tasks whose executor is Job.", "spec.restoreTasks[1].executor: Backproof does not run Sidecar; verifiers that use this task end Inconclusive ExecutorNotSupported; write Job";
    }
}

rules! {
    /// Rules of Function.
    FUNCTIONS of ["Function"] {
        FUNCTION_IMAGE: "function-image", "spec.image", Refused, "An image is named.", "spec.image: is missing; name the image whose program the Function runs";
    }
}

rules! {
    /// Rules of Repository.
    REPOSITORIES of ["Repository"] {
        REPOSITORY_PATH: "repository-path", "spec.path", Refused, "The path never changes.", "spec.path: is immutable, it cannot change from \"/dep/mysql\" to \"/other\"; make another Repository for the other path";
        REPOSITORY_STORAGE: "repository-storage", "spec.storageRef", Warned, "The BackupStorage exists; it may be created later.", "spec.storageRef: BackupStorage demo/gcs-storage does not exist; create it, or correct the reference; until then nothing there can be read";
        REPOSITORY_USAGE: "repository-usage", "spec.storageRef", Refused, "The BackupStorage's usagePolicy allows its use from here.", "spec.storageRef: BackupStorage infra/gcs-storage does not allow its use from namespace demo; set its spec.usagePolicy.allowedNamespaces, or name a BackupStorage of this namespace";
        REPOSITORY_WIPE: "repository-wipe", "spec.deletionPolicy", Warned, "Where discovery finds the Snapshots, WipeOut is not asked for: Backproof never wipes data.", "spec.deletionPolicy: WipeOut is never carried out by Backproof; delete the data by the tool that wrote it";
        REPOSITORY_FILTER: "repository-filter", "metadata.annotations[backproof.dev/discover-filter]", Warned, "The filter of discovery is a JSON object.", "metadata.annotations[backproof.dev/discover-filter]: is no JSON object; write it like {\"session\": \"nightly\", \"tags\": [\"db\"]}, or nothing is discovered";
        REPOSITORY_DISCOVER: "repository-discover", "metadata.annotations[backproof.dev/discover]", Warned, "The mark for discovery is \"true\" or \"false\".", "metadata.annotations[backproof.dev/discover]: \"yes\" turns nothing on; write \"true\"";
    }
}

rules! {
    /// Rules of Snapshot.
    SNAPSHOTS of ["Snapshot"] {
        SNAPSHOT_REPOSITORY: "snapshot-repository", "spec.repository", Refused, "It names its repository.", "spec.repository: is missing; name the Repository the Snapshot lies in";
        SNAPSHOT_SESSION: "snapshot-session", "spec.session", Warned, "It names the session that made it; otherwise no verification ever finds it.", "spec.session: is missing; name the session of the BackupConfiguration, or no verification ever finds the Snapshot";
        SNAPSHOT_TYPE: "snapshot-type", "spec.type", Warned, "The type is FullBackup or IncrementalBackup.", "spec.type: \"Full\" is no type of Snapshot; write FullBackup or IncrementalBackup";
    }
}

rules! {
    /// Rules of BackupStorage.
    STORAGES of ["BackupStorage"] {
        STORAGE_PROVIDER: "storage-provider", "spec.storage.provider", Refused, "A provider is named, and it is one of local, s3, gcs and azure.", "spec.storage.provider: is missing; write one of: local, s3, gcs, azure";
        STORAGE_BLOCK: "storage-block", "spec.storage", Refused, "The block of that provider is there.", "spec.storage.s3: is missing, and provider s3 needs it; say where the data lies";
        STORAGE_OTHER_BLOCK: "storage-other-block", "spec.storage", Warned, "No block of another provider is there.", "spec.storage.gcs: is not used by provider s3; take it out";
        STORAGE_BUCKET: "storage-bucket", "spec.storage.s3.bucket, spec.storage.gcs.bucket, spec.storage.azure.container", Refused, "The bucket or container is named.", "spec.storage.gcs.bucket: is missing; name it";
        STORAGE_VOLUME: "storage-volume", "spec.storage.local", Refused, "A local storage has a volume and a place where it is mounted.", "spec.storage.local: has no volume; say which volume holds the data, such as persistentVolumeClaim";
        STORAGE_SELECTOR: "storage-selector", "spec.usagePolicy.allowedNamespaces.selector", Refused, "A usage policy by selector has a selector.", "spec.usagePolicy.allowedNamespaces.selector: is missing, and from: Selector needs it; write the labels of the namespaces that may use the storage";
        STORAGE_DEFAULT: "storage-default", "spec.default", Refused, "A namespace has one default storage.", "spec.default: BackupStorage demo/first is the default of this namespace already; set spec.default of one of them to false";
        STORAGE_SAME: "storage-same", "spec.storage", Warned, "No two storages are the same place.", "spec.storage: is the same place as BackupStorage demo/first; use one of them, or give this one a prefix of its own";
        STORAGE_IMMUTABLE: "storage-immutable", "spec.storage", Refused, "A storage in use never moves: provider, bucket, endpoint, region, prefix and volume stay.", "spec.storage: cannot move while it holds Repository demo/demo-storage; make another BackupStorage for the other place";
    }
}
