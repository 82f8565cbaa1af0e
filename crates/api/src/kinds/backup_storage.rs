//! BackupStorage: an object store or volume that holds Repositories.

use kube::CustomResource;

use super::repository::DeletionPolicy;
use crate::{
    condition::Condition,
    shared::{RuntimeSettings, UsagePolicy, VolumeSource, Wire, wire},
};

wire! {
    /// Where backups are stored.
    #[derive(CustomResource)]
    #[kube(
        group = "storage.kubestash.com",
        version = "v1alpha1",
        kind = "BackupStorage",
        plural = "backupstorages",
        singular = "backupstorage",
        namespaced,
        status = "BackupStorageStatus",
        doc = "An object store or volume that holds Repositories, and who may use it.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Provider", type_ = "string", json_path = ".spec.storage.provider", description = "Kind of storage: local, s3, gcs or azure"),
        printcolumn(name = "Default", type_ = "boolean", json_path = ".spec.default", description = "Whether it is used where none is named"),
        printcolumn(name = "Deletion-Policy", type_ = "string", json_path = ".spec.deletionPolicy", description = "Whether data stays when the storage is deleted"),
        printcolumn(name = "Total-Size", type_ = "string", json_path = ".status.totalSize", description = "How much is stored"),
        printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Ready or NotReady"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the storage was created")
    )]
    pub struct BackupStorageSpec {
        /// The backend.
        pub storage: Option<Storage>,
        /// Which namespaces may use it.
        pub usage_policy: Option<UsagePolicy>,
        /// Whether it is used where no storage is named, in the namespaces that may use it.
        pub default: bool,
        /// Whether the data stays (Delete) or is erased (WipeOut) when the storage is deleted; Backproof never erases it.
        #[schemars(extend("x-default" = "Delete"))]
        pub deletion_policy: Option<Wire<DeletionPolicy>>,
        /// Settings of Jobs that prepare or clean the storage.
        pub runtime_settings: Option<RuntimeSettings>,
    }

    /// A backend.
    pub struct Storage {
        /// Which of the members counts: local, s3, gcs or azure.
        pub provider: String,
        /// A volume.
        pub local: Option<LocalStorage>,
        /// A bucket behind the S3 protocol.
        pub s3: Option<S3Storage>,
        /// A bucket of Google Cloud Storage.
        pub gcs: Option<GcsStorage>,
        /// A container of Azure Blob Storage.
        pub azure: Option<AzureStorage>,
    }

    /// A volume that holds Repositories.
    pub struct LocalStorage {
        /// The volume.
        #[serde(flatten)]
        pub source: VolumeSource,
        /// Where the volume is mounted.
        pub mount_path: String,
        /// Path inside the volume.
        pub sub_path: String,
        /// Most connections at once.
        pub max_connections: i64,
    }

    /// A bucket behind the S3 protocol.
    #[derive(Eq)]
    pub struct S3Storage {
        /// Address of the service, such as `s3.example.com`; empty means AWS.
        pub endpoint: String,
        /// Name of the bucket.
        pub bucket: String,
        /// Directory in the bucket.
        pub prefix: String,
        /// Region of the bucket.
        pub region: String,
        /// Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and optionally CA_CERT_DATA; empty means the cloud's identity.
        pub secret_name: String,
        /// Whether the service's certificate is not checked.
        #[serde(rename = "insecureTLS")]
        pub insecure_tls: bool,
        /// Most connections at once.
        pub max_connections: i64,
    }

    /// A bucket of Google Cloud Storage.
    #[derive(Eq)]
    pub struct GcsStorage {
        /// Name of the bucket.
        pub bucket: String,
        /// Directory in the bucket.
        pub prefix: String,
        /// Secret with the key GOOGLE_SERVICE_ACCOUNT_JSON_KEY; empty means the cloud's identity.
        pub secret_name: String,
        /// Most connections at once.
        pub max_connections: i64,
    }

    /// A container of Azure Blob Storage.
    #[derive(Eq)]
    pub struct AzureStorage {
        /// Name of the storage account.
        pub storage_account: String,
        /// Name of the container.
        pub container: String,
        /// Directory in the container.
        pub prefix: String,
        /// Secret with the key AZURE_ACCOUNT_KEY; empty means workload identity.
        pub secret_name: String,
        /// Most connections at once.
        pub max_connections: i64,
    }

    /// State of the storage.
    pub struct BackupStorageStatus {
        /// Ready or NotReady.
        pub phase: String,
        /// How much is stored, such as `1.241 KiB`.
        pub total_size: String,
        /// Repositories stored here.
        pub repositories: Vec<StoredRepository>,
        /// Whether the storage is prepared and its Secret exists.
        pub conditions: Vec<Condition>,
    }

    /// A Repository stored here.
    #[derive(Eq)]
    pub struct StoredRepository {
        /// Name of the Repository.
        pub name: String,
        /// Its namespace.
        pub namespace: String,
        /// Its directory.
        pub path: String,
        /// How much it holds.
        pub size: String,
        /// Whether object and backend agree; absent while nobody has looked.
        pub synced: Option<bool>,
        /// What went wrong.
        pub error: Option<String>,
    }
}
