//! How a Job is told where a repository's settings and Secrets are: what the controller sets, the executor reads. The names
//! of a provider's settings are the provider's usual ones, so that a run by hand is told in the same way.

/// Directory in which the Secret with the repository's password is mounted.
pub const ENCRYPTION_DIR: &str = "BACKPROOF_ENCRYPTION_DIR";
/// Directory in which the Secret with the storage's credentials is mounted.
pub const STORAGE_DIR: &str = "BACKPROOF_STORAGE_DIR";
/// Directory in which the Secret of a database server is mounted: files `password` and `username`, and `ca.crt` for TLS.
pub const CONNECTION_DIR: &str = "BACKPROOF_CONNECTION_DIR";
/// Authorities (PEM) that a database server's certificate must come from.
pub const CONNECTION_CA: &str = "BACKPROOF_CONNECTION_CA";
/// What is asked of a restored database, as JSON: what stands below `spec.query` of a BackupVerifier.
pub const QUERY: &str = "BACKPROOF_QUERY";
/// The restic snapshot that was restored into the database that is asked.
pub const RESTIC_SNAPSHOT: &str = "BACKPROOF_RESTIC_SNAPSHOT";
/// UID of the session a Job belongs to: also the name of the run in the marker of a database.
pub const SESSION_UID: &str = "BACKPROOF_SESSION_UID";
/// Where a part of a run lands in a target that it shares with the others: a directory below the target's root, or nothing for that
/// root. Whoever is told this wipes nothing that an earlier part of the same session restored.
pub const LANDING_DIRECTORY: &str = "BACKPROOF_LANDING_DIRECTORY";
/// `true`: what a part consists of lands below its full path in that directory, not with its content there.
pub const LANDING_FULL_PATH: &str = "BACKPROOF_LANDING_FULL_PATH";

/// `true`: certificates of the storage are not checked.
pub const INSECURE_TLS: &str = "BACKPROOF_INSECURE_TLS";
/// Certificates (PEM) of further authorities that the storage's certificate may come from.
pub const CA_CERT_DATA: &str = "CA_CERT_DATA";

/// Region of an S3 bucket.
pub const S3_REGION: &str = "AWS_REGION";
/// Address of what speaks S3 and is not Amazon.
pub const S3_ENDPOINT: &str = "AWS_ENDPOINT_URL";
/// `true`: that address may be one without TLS.
pub const S3_ALLOW_HTTP: &str = "AWS_ALLOW_HTTP";
/// Name of the Azure storage account.
pub const AZURE_ACCOUNT: &str = "AZURE_STORAGE_ACCOUNT_NAME";

/// The key of a Google service account, as the JSON document it comes as.
pub const GCS_KEY: &str = "GOOGLE_SERVICE_ACCOUNT_JSON_KEY";
/// A key of the Azure storage account.
pub const AZURE_KEY: &str = "AZURE_ACCOUNT_KEY";

/// Keys that a Secret for S3 must have.
pub const S3_REQUIRED: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
/// Keys that a Secret for Google Cloud Storage must have.
pub const GCS_REQUIRED: &[&str] = &[GCS_KEY];
/// Keys that a Secret for Azure must have.
pub const AZURE_REQUIRED: &[&str] = &[AZURE_KEY];

/// Keys of the repository's Secret that a Job mounts.
pub const ENCRYPTION_KEYS: &[&str] = &["RESTIC_PASSWORD"];
/// Keys of a Secret for S3 that a Job mounts.
pub const S3_KEYS: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", CA_CERT_DATA];
/// Keys of a Secret for Google Cloud Storage that a Job mounts.
pub const GCS_KEYS: &[&str] = GCS_REQUIRED;
/// Keys of a Secret for Azure that a Job mounts.
pub const AZURE_KEYS: &[&str] = AZURE_REQUIRED;
