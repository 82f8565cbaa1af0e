//! Where the data of a volume lies, and whether two volumes may share it. Pure.
//!
//! Two names of one place cannot always be told apart from two places (a server's name and its address, a directory of "the"
//! node), and restoring onto what is proven cannot be undone. So in doubt they are the same.

use backproof_api::shared::VolumeSource;
use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec};

/// Where a PersistentVolume's data lies, as one text for [`overlap`]; empty when nothing tells.
pub(crate) fn of_volume(volume: &PersistentVolume) -> String {
    let Some(spec) = &volume.spec else { return String::new() };
    if let Some(csi) = &spec.csi {
        return of_csi(csi);
    }
    if let Some(nfs) = &spec.nfs {
        return nfs_place(&nfs.path);
    }
    if let Some(path) = &spec.host_path {
        return node_place(&[], &path.path);
    }
    if let Some(local) = &spec.local {
        return node_place(&nodes(spec), &local.path);
    }
    other(spec)
}

/// Where the data of a volume lies that a pod names directly; empty for a claim, whose volume tells.
pub(crate) fn of_source(source: &VolumeSource) -> String {
    if let Some(nfs) = &source.nfs {
        return nfs_place(&nfs.path);
    }
    source.host_path.as_ref().map(|path| node_place(&[], &path.path)).unwrap_or_default()
}

/// Whether the data at two places may be the same, or a part of one another.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let (Some((kind, one)), Some((other_kind, other))) = (one.split_once(':'), other.split_once(':')) else { return false };
    if kind != other_kind {
        return false;
    }
    match kind {
        "nfs" => paths_overlap(one, other),
        "node" => {
            let split = |place: &str| place.split_once(':').map(|(nodes, path)| (nodes.to_owned(), path.to_owned())).unwrap_or_default();
            let ((nodes, path), (other_nodes, other_path)) = (split(one), split(other));
            nodes_overlap(&nodes, &other_nodes) && paths_overlap(&path, &other_path)
        }
        _ => one == other,
    }
}

/// A server has many names and addresses, so exports of one path may be one whatever their servers are called.
fn nfs_place(path: &str) -> String {
    format!("nfs:{path}")
}

fn node_place(nodes: &[String], path: &str) -> String {
    format!("node:{}:{path}", nodes.join(","))
}

fn of_csi(csi: &CSIPersistentVolumeSource) -> String {
    let attribute = |name: &str| {
        let attributes = csi.volume_attributes.iter().flatten();
        attributes.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    };
    // Drivers for network shares: the handle is only a name of one's own choice.
    match (attribute("server"), attribute("share")) {
        (Some(_), Some(share)) => nfs_place(&format!("{share}/{}", attribute("subdir").unwrap_or_default())),
        (Some(_) | None, _) => format!("csi:{}:{}", csi.driver, csi.volume_handle),
    }
}

/// Names of the only nodes a local volume can be on; none when that is not said, or not in these words.
fn nodes(spec: &PersistentVolumeSpec) -> Vec<String> {
    let terms = spec.node_affinity.iter().flat_map(|affinity| affinity.required.iter()).flat_map(|required| &required.node_selector_terms);
    let mut nodes = Vec::new();
    for term in terms {
        let by_name = term
            .match_expressions
            .iter()
            .flatten()
            .find(|expression| expression.key == "kubernetes.io/hostname" && expression.operator == "In");
        match by_name.and_then(|expression| expression.values.clone()) {
            Some(names) => nodes.extend(names),
            None => return Vec::new(),
        }
    }
    nodes
}

fn nodes_overlap(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one.split(',').any(|node| other.split(',').any(|other| other == node))
}

/// Whether two directories are one, or one lies inside the other, however they are written.
fn paths_overlap(one: &str, other: &str) -> bool {
    match (steps(one), steps(other)) {
        (Some(one), Some(other)) => one.iter().zip(&other).all(|(one, other)| one == other),
        // Where a path leads that climbs, links decide.
        (None, _) | (_, None) => true,
    }
}

/// The directories of a path from the root on; nothing for a path that climbs.
fn steps(path: &str) -> Option<Vec<&str>> {
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty() && *step != ".").collect();
    (!steps.contains(&"..")).then_some(steps)
}

/// Any other kind: the same only if everything that names the data is.
fn other(spec: &PersistentVolumeSpec) -> String {
    const NOT_A_PLACE: [&str; 9] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeMode",
        "volumeAttributesClassName",
    ];
    let Ok(serde_json::Value::Object(mut members)) = serde_json::to_value(spec) else { return String::new() };
    members.retain(|name, _| !NOT_A_PLACE.contains(&name.as_str()));
    for source in members.values_mut().filter_map(serde_json::Value::as_object_mut) {
        for how in ["readOnly", "fsType", "partition"] {
            source.remove(how);
        }
    }
    if members.is_empty() { String::new() } else { format!("other:{}", serde_json::Value::Object(members)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(spec: &str) -> String {
        of_volume(&serde_saphyr::from_str(&format!("{{metadata: {{name: v}}, spec: {{{spec}}}}}")).unwrap())
    }

    fn local(node: &str, path: &str) -> String {
        format!(
            "local: {{path: {path}}}, nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{node}]}}]}}]}}}}"
        )
    }

    #[test]
    fn in_doubt_two_places_are_one() {
        let zone = "local: {path: /data}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}";
        let share = |server: &str, share: &str, subdir: &str| {
            format!(
                "csi: {{driver: nfs.csi.k8s.io, volumeHandle: h{share}{subdir}{server}, volumeAttributes: {{server: {server}, share: {share}, subDir: '{subdir}'}}}}"
            )
        };
        let disk = |handle: &str| format!("csi: {{driver: d, volumeHandle: {handle}}}");
        let nfs = |server: &str, path: &str| format!("nfs: {{server: {server}, path: {path}}}");
        let cases: Vec<(String, String, bool)> = vec![
            ("hostPath: {path: /a}".into(), "hostPath: {path: /a}".into(), true),
            ("hostPath: {path: /a/}".into(), "hostPath: {path: //a}".into(), true),
            ("hostPath: {path: /a/./b}".into(), "hostPath: {path: /a/b}".into(), true),
            ("hostPath: {path: /a}".into(), "hostPath: {path: /a/b}".into(), true),
            ("hostPath: {path: /}".into(), "hostPath: {path: /a/b}".into(), true),
            ("hostPath: {path: /ab}".into(), "hostPath: {path: /a}".into(), false),
            ("hostPath: {path: /a/../b}".into(), "hostPath: {path: /c}".into(), true),
            // A directory of the node, and a local volume: which node the first one means, nobody knows.
            ("hostPath: {path: /data}".into(), local("n1", "/data/"), true),
            ("hostPath: {path: /data}".into(), local("n1", "/other"), false),
            (local("n1", "/data"), local("n1", "/data"), true),
            (local("n1", "/data"), local("n2", "/data"), false),
            (local("n1, n2", "/data"), local("n2", "/data/x"), true),
            (local("n1", "/data"), zone.into(), true),
            // A server by name and by address.
            (nfs("nas.example", "/export/a"), nfs("10.0.0.1", "/export//a/"), true),
            (nfs("nas", "/export"), nfs("nas", "/export/a"), true),
            (nfs("nas", "/export/a"), nfs("nas", "/export/b"), false),
            (nfs("nas", "/export/a"), share("NAS.", "/export", "a"), true),
            (share("x", "/export", ""), share("y", "/export/", "b"), true),
            (share("x", "/export", "a"), share("x", "/export", "b"), false),
            (disk("1"), disk("1"), true),
            (disk("1"), disk("2"), false),
            (disk("1"), nfs("nas", "/1"), false),
            (
                "awsElasticBlockStore: {volumeID: v, readOnly: true}".into(),
                "awsElasticBlockStore: {volumeID: v, fsType: ext4}, capacity: {storage: 1Gi}".into(),
                true,
            ),
            ("awsElasticBlockStore: {volumeID: v}".into(), "awsElasticBlockStore: {volumeID: w}".into(), false),
            (String::new(), String::new(), false),
        ];
        for (one, other, same) in cases {
            assert_eq!(overlap(&volume(&one), &volume(&other)), same, "{one} | {other}");
            assert_eq!(overlap(&volume(&other), &volume(&one)), same, "{other} | {one}");
        }
    }

    #[test]
    fn a_storage_without_a_claim_has_a_place_too() {
        let source = |text: &str| of_source(&serde_saphyr::from_str(text).unwrap());
        assert!(overlap(&source("{nfs: {server: nas, path: /export}}"), &volume("nfs: {server: 10.0.0.1, path: /export/scratch}")));
        assert!(overlap(&source("{hostPath: {path: /backups/}}"), &volume(&local("n1", "/backups"))));
        assert_eq!(source("{persistentVolumeClaim: {claimName: c}}"), "");
    }
}
