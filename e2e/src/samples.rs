//! The manifests of `docs/samples`, as the README and docs/verify tell users to apply them, and small changes tests make to them.

/// One manifest by file name, with images replaced where `BACKPROOF_RESTIC_IMAGE` or `BACKPROOF_POSTGRES_SERVER_IMAGE` name others.
macro_rules! sample {
    ($name:ident, $file:literal) => {
        sample!($name, "demo", $file);
    };
    ($name:ident, $folder:literal, $file:literal) => {
        #[doc = concat!("`docs/samples/", $folder, "/", $file, "`")]
        pub fn $name() -> String {
            with_image(include_str!(concat!("../../docs/samples/", $folder, "/", $file)))
        }
    };
}

sample!(volumes, "1-volumes.yaml");
sample!(backup, "2-backup.yaml");
sample!(verify, "3-verify.yaml");
sample!(copies, "4-copies.yaml");
sample!(session_damaged, "session-damaged.yaml");
sample!(session_gone, "session-gone.yaml");
sample!(refused_invoker, "refused-invoker.yaml");
sample!(refused_snapshot, "refused-snapshot.yaml");
sample!(compare, "compare.yaml");
sample!(postgres_servers, "postgres", "1-servers.yaml");
sample!(postgres_backup, "postgres", "2-backup.yaml");
sample!(postgres_verify, "postgres", "3-verify.yaml");

/// The images of the samples as written there, and the variables that name others.
const IMAGES: [(&str, &str); 2] = [
    ("localhost/backproof/restic:dev", "BACKPROOF_RESTIC_IMAGE"),
    ("localhost/backproof/postgres-server:dev", "BACKPROOF_POSTGRES_SERVER_IMAGE"),
];

fn with_image(manifest: &str) -> String {
    IMAGES.iter().fold(manifest.to_owned(), |manifest, (written, variable)| match std::env::var(variable) {
        Ok(image) if !image.is_empty() => manifest.replace(written, &image),
        _ => manifest,
    })
}

/// Whether the samples' PostgreSQL servers can run here: on the local cluster, or where an image is named.
pub fn has_postgres() -> bool {
    let set = |variable: &str| std::env::var(variable).ok().filter(|value| !value.is_empty());
    set("BACKPROOF_CLUSTER").is_none_or(|cluster| cluster == "local") || set(IMAGES[1].1).is_some()
}

/// The backup of the database once more, by a Job of this name, after this statement.
pub fn postgres_backup_after(job: &str, statement: &str) -> String {
    let manifest = postgres_backup().replace("metadata: {name: shop-backup}\nspec:", &format!("metadata: {{name: {job}}}\nspec:"));
    let lines = manifest.lines().map(|line| match line.find("CREATE TABLE") {
        Some(at) => format!("{}{statement}\n", &line[..at]),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// The backup with little data, for tests that care about the course of things and not about volume.
pub fn small_backup() -> String {
    backup().replace(r#"value: "5200""#, r#"value: "200""#).replace(r#"value: "192""#, r#"value: "8""#)
}

/// `sabotage/bit-flip.yaml`
pub fn bit_flip() -> String {
    with_image(include_str!("../../sabotage/bit-flip.yaml"))
}

/// `sabotage/outage.yaml`
pub fn outage() -> String {
    with_image(include_str!("../../sabotage/outage.yaml"))
}

/// What `kubectl create configmap sabotage --from-file=sabotage/damage.sh` makes.
pub fn recipes() -> String {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "sabotage"},
        "data": {"damage.sh": include_str!("../../sabotage/damage.sh")},
    })
    .to_string()
}

/// The manifest with another owner of the repositories than the samples' (and Jobs' default) user.
pub fn owned_by(uid: u32, manifest: &str) -> String {
    manifest.replace("65534", &uid.to_string())
}
