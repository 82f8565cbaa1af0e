//! The manifests of `docs/samples/demo`, as the README tells users to apply them, and small changes tests make to them.

/// One manifest by file name, with images replaced where `BACKPROOF_RESTIC_IMAGE` names another one.
macro_rules! sample {
    ($name:ident, $file:literal) => {
        #[doc = concat!("`docs/samples/demo/", $file, "`")]
        pub fn $name() -> String {
            with_image(include_str!(concat!("../../docs/samples/demo/", $file)))
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

/// The image of the sample Jobs as written in the samples.
const RESTIC_IMAGE: &str = "localhost/backproof/restic:dev";

fn with_image(manifest: &str) -> String {
    match std::env::var("BACKPROOF_RESTIC_IMAGE") {
        Ok(image) if !image.is_empty() => manifest.replace(RESTIC_IMAGE, &image),
        _ => manifest.to_owned(),
    }
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
