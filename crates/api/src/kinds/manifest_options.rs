//! Choices of the task manifest-restore, by engine. The spellings of the engines are upstream's, and not those of `spec.query`.

use crate::shared::{ObjectReference, TypedLocalObjectReference, wire};

wire! {
    /// Choices of the task manifest-restore, by engine.
    #[derive(Eq)]
    pub struct ManifestOptions {
        /// For plain workloads.
        pub workload: Option<WorkloadManifestOptions>,
        /// For MongoDB.
        #[serde(rename = "mongoDB")]
        pub mongo_db: Option<KubeDbManifestOptions>,
        /// For PostgreSQL.
        pub postgres: Option<KubeDbManifestOptions>,
        /// For MySQL.
        #[serde(rename = "mySQL")]
        pub my_sql: Option<KubeDbManifestOptions>,
        /// For MariaDB.
        #[serde(rename = "mariaDB")]
        pub maria_db: Option<KubeDbManifestOptions>,
        /// For Redis.
        pub redis: Option<KubeDbManifestOptions>,
        /// For Redis Sentinel.
        pub redis_sentinel: Option<RedisSentinelManifestOptions>,
        /// For SingleStore.
        pub singlestore: Option<KubeDbManifestOptions>,
        /// For Microsoft SQL Server.
        #[serde(rename = "msSQLServer")]
        pub ms_sql_server: Option<MsSqlServerManifestOptions>,
        /// For Druid.
        pub druid: Option<DruidManifestOptions>,
        /// For ZooKeeper.
        #[serde(rename = "zooKeeper")]
        pub zoo_keeper: Option<KubeDbManifestOptions>,
        /// For ClickHouse.
        pub clickhouse: Option<KubeDbManifestOptions>,
    }

    /// For plain workloads.
    #[derive(Eq)]
    pub struct WorkloadManifestOptions {
        /// Namespace to apply into.
        pub restore_namespace: String,
    }

    /// For databases of most engines.
    #[derive(Eq)]
    pub struct KubeDbManifestOptions {
        /// Namespace to apply into.
        pub restore_namespace: String,
        /// Whether the database object is restored.
        #[schemars(extend("x-default" = true))]
        pub db: Option<bool>,
        /// Name of the restored database object.
        pub db_name: String,
        /// Whether its credentials are restored.
        #[schemars(extend("x-default" = true))]
        pub auth_secret: Option<bool>,
        /// Name of the restored credentials.
        pub auth_secret_name: String,
        /// Whether its configuration is restored.
        #[schemars(extend("x-default" = true))]
        pub config_secret: Option<bool>,
        /// Name of the restored configuration.
        pub config_secret_name: String,
        /// Whether its init script is restored.
        #[schemars(extend("x-default" = true))]
        pub init_script: Option<bool>,
        /// Issuer of the restored database's certificates.
        pub tls_issuer_ref: Option<TypedLocalObjectReference>,
        /// Whether its archiver is restored.
        #[schemars(extend("x-default" = false))]
        pub archiver: Option<bool>,
        /// Archiver of the restored database.
        pub archiver_ref: Option<ObjectReference>,
    }

    /// For Microsoft SQL Server.
    #[derive(Eq)]
    pub struct MsSqlServerManifestOptions {
        /// Namespace to apply into.
        pub restore_namespace: String,
        /// Whether the database object is restored.
        #[schemars(extend("x-default" = true))]
        pub db: Option<bool>,
        /// Name of the restored database object.
        pub db_name: String,
        /// Whether its credentials are restored.
        #[schemars(extend("x-default" = true))]
        pub auth_secret: Option<bool>,
        /// Name of the restored credentials.
        pub auth_secret_name: String,
        /// Whether its init script is restored.
        #[schemars(extend("x-default" = true))]
        pub init_script: Option<bool>,
        /// Issuer of the restored database's certificates.
        pub tls_issuer_ref: Option<TypedLocalObjectReference>,
        /// Whether its archiver is restored.
        #[schemars(extend("x-default" = false))]
        pub archiver: Option<bool>,
        /// Archiver of the restored database.
        pub archiver_ref: Option<ObjectReference>,
    }

    /// For Druid.
    #[derive(Eq)]
    pub struct DruidManifestOptions {
        /// Namespace to apply into.
        pub restore_namespace: String,
        /// Whether the database object is restored.
        #[schemars(extend("x-default" = true))]
        pub db: Option<bool>,
        /// Name of the restored database object.
        pub db_name: String,
        /// Whether its credentials are restored.
        #[schemars(extend("x-default" = true))]
        pub auth_secret: Option<bool>,
        /// Name of the restored credentials.
        pub auth_secret_name: String,
        /// Whether its configuration is restored.
        #[schemars(extend("x-default" = true))]
        pub config_secret: Option<bool>,
        /// Name of the restored configuration.
        pub config_secret_name: String,
        /// Whether the credentials of its deep storage are restored.
        #[schemars(extend("x-default" = true))]
        pub deep_storage_secret: Option<bool>,
    }

    /// For Redis Sentinel.
    #[derive(Eq)]
    pub struct RedisSentinelManifestOptions {
        /// Namespace to apply into.
        pub restore_namespace: String,
        /// Whether the sentinel object is restored.
        #[schemars(extend("x-default" = true))]
        pub sentinel: Option<bool>,
        /// Name of the restored sentinel object; upstream spells it with a capital letter.
        #[serde(rename = "SentinelName")]
        pub sentinel_name: String,
        /// Whether its credentials are restored.
        #[schemars(extend("x-default" = true))]
        pub auth_secret: Option<bool>,
        /// Name of the restored credentials.
        pub auth_secret_name: String,
        /// Issuer of the restored sentinel's certificates.
        pub tls_issuer_ref: Option<TypedLocalObjectReference>,
    }
}
