//! Which objects there are, and what every pod keeps to.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::render::{EVERYTHING, NAMESPACE, objects, of_kind, one};

fn list(objects: &[Value]) -> Vec<String> {
    let line = |object: &Value| {
        let at = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
        let place = at("namespace").map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{} {place}{}", object["kind"].as_str().unwrap(), at("name").unwrap())
    };
    let mut lines: Vec<_> = objects.iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn the_default_installation() {
    let expected = [
        "Addon backproof-postgres-addon",
        "Addon backproof-pvc-addon",
        "ClusterRole backproof-controller",
        "ClusterRole backproof-discover",
        "ClusterRole backproof-trigger",
        "ClusterRole backproof-webhook",
        "ClusterRoleBinding backproof-controller",
        "ClusterRoleBinding backproof-webhook",
        "Deployment backproof-system/backproof-controller",
        "Deployment backproof-system/backproof-webhook",
        "Function backproof-kubedbverifier",
        "Function backproof-postgres-restore",
        "Function backproof-pvc-restore",
        "Job backproof-system/backproof-test-admission",
        "NetworkPolicy backproof-system/backproof-controller",
        "NetworkPolicy backproof-system/backproof-webhook",
        "Role backproof-system/backproof-controller",
        "Role backproof-system/backproof-test",
        "Role backproof-system/backproof-webhook",
        "RoleBinding backproof-system/backproof-controller",
        "RoleBinding backproof-system/backproof-test",
        "RoleBinding backproof-system/backproof-webhook",
        "Service backproof-system/backproof-webhook",
        "ServiceAccount backproof-system/backproof-controller",
        "ServiceAccount backproof-system/backproof-test",
        "ServiceAccount backproof-system/backproof-webhook",
        "ValidatingWebhookConfiguration backproof-webhook",
    ];
    assert_eq!(list(&objects("")), expected);
}

#[test]
fn what_each_value_adds() {
    let default: BTreeSet<String> = list(&objects("")).into_iter().collect();
    let added: Vec<_> = list(&objects(EVERYTHING)).into_iter().filter(|line| !default.contains(line)).collect();
    let expected = [
        "ClusterRole backproof-controller-foreign",
        "ClusterRole backproof-foreign",
        "ClusterRoleBinding backproof-controller-foreign",
        "ConfigMap backproof-system/backproof-dashboard",
        "NetworkPolicy verify/backproof-discovery",
        "NetworkPolicy verify/backproof-restore",
        "NetworkPolicy verify/backproof-verify",
        "PodDisruptionBudget backproof-system/backproof-controller",
        "PodDisruptionBudget backproof-system/backproof-webhook",
        "PodMonitor backproof-system/backproof-controller",
        "PodMonitor backproof-system/backproof-webhook",
        "PrometheusRule backproof-system/backproof",
        "Role demo/backproof-cross-source",
        "Role lab/backproof-cross-target",
        "Role shop/backproof-cross-source",
        "Role verify/backproof-cross-target",
        "RoleBinding demo/backproof-cross-source",
        "RoleBinding lab/backproof-cross-target",
        "RoleBinding shop/backproof-cross-source",
        "RoleBinding verify/backproof-cross-target",
    ];
    assert_eq!(added, expected);
    let less = objects("webhook: {enabled: false}\ncatalog: {enabled: false}\nnetworkPolicy: {enabled: false}\n");
    let gone: Vec<_> = default.difference(&list(&less).into_iter().collect()).cloned().collect();
    assert_eq!(
        gone,
        [
            "Addon backproof-postgres-addon",
            "Addon backproof-pvc-addon",
            "Deployment backproof-system/backproof-webhook",
            "Function backproof-kubedbverifier",
            "Function backproof-postgres-restore",
            "Function backproof-pvc-restore",
            "Job backproof-system/backproof-test-admission",
            "NetworkPolicy backproof-system/backproof-controller",
            "NetworkPolicy backproof-system/backproof-webhook",
            "Role backproof-system/backproof-test",
            "RoleBinding backproof-system/backproof-test",
            "Service backproof-system/backproof-webhook",
            "ServiceAccount backproof-system/backproof-test",
            "ValidatingWebhookConfiguration backproof-webhook",
        ]
    );
}

#[test]
fn every_object_says_whose_it_is() {
    for object in objects(EVERYTHING) {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/name"], "backproof", "{object}");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{object}");
    }
}

/// Every pod template, with what it belongs to.
fn pods(objects: &[Value]) -> Vec<(String, Value)> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let templated = objects.iter().filter(|object| object["spec"]["template"]["spec"]["containers"].is_array());
    templated.map(|object| (name(object), object["spec"]["template"]["spec"].clone())).collect()
}

#[test]
fn every_container_keeps_to_the_restricted_profile() {
    for values in ["", EVERYTHING] {
        let pods = pods(&objects(values));
        assert_eq!(pods.len(), 3, "controller, webhook, test");
        for (name, pod) in pods {
            let expected = json!({
                "runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534, "seccompProfile": {"type": "RuntimeDefault"},
            });
            assert_eq!(pod["securityContext"], expected, "{name}");
            for field in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers", "hostUsers"] {
                assert!(pod.get(field).is_none(), "{name}: {field}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let expected =
                    json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
                assert_eq!(container["securityContext"], expected, "{name}");
                assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
                assert!(container["ports"].as_array().is_none_or(|ports| ports.iter().all(|port| port.get("hostPort").is_none())));
            }
        }
    }
}

#[test]
fn a_digest_pins_every_image() {
    let image = "registry.example/backproof@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let rendered = objects(EVERYTHING);
    for (name, pod) in pods(&rendered) {
        assert_eq!(pod["containers"][0]["image"], image, "{name}");
    }
    for function in ["backproof-pvc-restore", "backproof-kubedbverifier"] {
        assert_eq!(one(&rendered, "Function", function)["spec"]["image"], image);
    }
    // An engine's image is another one, and pinned by itself.
    let engine =
        objects(&format!("engines: {{postgres: {{repository: registry.example/pg, digest: '{}'}}}}", image.split_once('@').unwrap().1));
    let pinned = image.replace("registry.example/backproof", "registry.example/pg");
    assert_eq!(one(&engine, "Function", "backproof-postgres-restore")["spec"]["image"], pinned);
    // The controller hands it on to trigger and discovery.
    let args = &one(&rendered, "Deployment", "backproof-controller")["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(args.as_array().unwrap().contains(&json!(format!("--image={image}"))), "{args}");
    let tagged = objects("image: {tag: v2}");
    assert_eq!(pods(&tagged)[0].1["containers"][0]["image"], "localhost/backproof/backproof:v2");
}

#[test]
fn values_of_the_pods_arrive() {
    let rendered = objects(EVERYTHING);
    for (name, argument) in [("backproof-controller", "--workers=16"), ("backproof-webhook", "--drain-seconds=10")] {
        let pod = &one(&rendered, "Deployment", name)["spec"]["template"]["spec"];
        assert_eq!(pod["priorityClassName"], "important");
        assert_eq!(pod["nodeSelector"], json!({"disk": "fast"}));
        assert_eq!(pod["tolerations"], json!([{"key": "spot", "operator": "Exists"}]));
        assert_eq!(pod["affinity"], json!({"nodeAffinity": {}}));
        let spread = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": one(&rendered, "Deployment", name)["spec"]["selector"]["matchLabels"]},
        }]);
        assert_eq!(pod["topologySpreadConstraints"], spread);
        let container = &pod["containers"][0];
        assert_eq!(container["args"].as_array().unwrap().last().unwrap(), argument);
        assert!(container["env"].as_array().unwrap().contains(&json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"})));
        assert!(container["env"].as_array().unwrap().contains(&json!({"name": "RUST_LOG", "value": "debug"})));
    }
    // One replica has nothing to spread, and a choice of one's own wins.
    let pod = |values: &str| one(&objects(values), "Deployment", "backproof-controller")["spec"]["template"]["spec"].clone();
    assert!(pod("").get("topologySpreadConstraints").is_none());
    let own = pod("controller: {replicas: 3, topologySpreadConstraints: [{maxSkew: 2}]}");
    assert_eq!(own["topologySpreadConstraints"], json!([{"maxSkew": 2}]));
}

#[test]
fn budgets_let_a_node_be_drained() {
    let rendered = objects("webhook: {replicas: 3}");
    assert_eq!(of_kind(&rendered, "PodDisruptionBudget").len(), 1, "one replica alone could never be moved");
    let budget = one(&rendered, "PodDisruptionBudget", "backproof-webhook");
    let selector = &one(&rendered, "Deployment", "backproof-webhook")["spec"]["selector"];
    assert_eq!(budget["spec"], json!({"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": selector}));
}

#[test]
fn network_policies_by_default() {
    let rendered = objects("");
    let dns = json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]});
    let api_server = json!({"ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]});
    let figures = json!({"ports": [{"protocol": "TCP", "port": "http"}]});
    let reviews = json!({"ports": [{"protocol": "TCP", "port": "webhook"}]});
    for (name, ingress) in [("backproof-controller", json!([figures])), ("backproof-webhook", json!([reviews, figures]))] {
        let policy = one(&rendered, "NetworkPolicy", name);
        assert_eq!(policy["metadata"]["namespace"], NAMESPACE);
        let selector = &one(&rendered, "Deployment", name)["spec"]["selector"];
        assert_eq!(
            policy["spec"],
            json!({"podSelector": selector, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": [dns, api_server]})
        );
    }
}

#[test]
fn network_policies_narrowed_and_for_jobs() {
    let rendered = objects(EVERYTHING);
    let dns = json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]});
    let api_server = json!({"ports": [{"protocol": "TCP", "port": 6443}], "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]});
    let proxy = json!({"ports": [{"protocol": "TCP", "port": 3128}]});
    let storage = json!({"ports": [{"protocol": "TCP", "port": 443}]});
    let spec = |name: &str| one(&rendered, "NetworkPolicy", name)["spec"].clone();
    assert_eq!(spec("backproof-controller")["egress"], json!([dns, api_server, proxy]));
    let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    assert_eq!(spec("backproof-controller")["ingress"], json!([{"ports": [{"protocol": "TCP", "port": "http"}], "from": from}]));
    // Nobody reaches restored data; a restore reaches storage alone, discovery writes Snapshots as well.
    let asks = &spec("backproof-verify");
    assert_eq!(asks["podSelector"]["matchExpressions"], json!([{"key": backproof_api::labels::SESSION_UID, "operator": "Exists"}]));
    assert_eq!((&asks["ingress"], &asks["egress"]), (&json!([]), &json!([dns, storage])));
    for (name, component, egress) in [
        ("backproof-restore", backproof_api::labels::COMPONENT_RESTORE, json!([dns, storage])),
        ("backproof-discovery", backproof_api::labels::COMPONENT_DISCOVERY, json!([dns, api_server, storage])),
    ] {
        let selector = json!({"matchLabels": {
            (backproof_api::labels::MANAGED_BY): backproof_api::labels::MANAGED_BY_VALUE, (backproof_api::labels::COMPONENT): component,
        }});
        assert_eq!(spec(name), json!({"podSelector": selector, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": egress}));
    }
}

#[test]
fn the_test_of_an_installation_is_a_hook_with_no_more_rights_than_it_needs() {
    let rendered = objects("");
    for kind in ["ServiceAccount", "Role", "RoleBinding"] {
        assert_eq!(one(&rendered, kind, "backproof-test")["metadata"]["annotations"]["helm.sh/hook"], "test");
    }
    let job = one(&rendered, "Job", "backproof-test-admission");
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "test");
    assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["command"], json!(["/bin/backproof-webhook"]));
    assert_eq!(
        one(&rendered, "Role", "backproof-test")["rules"],
        json!([
            {"apiGroups": ["core.kubestash.com"], "resources": ["backupverificationsession", "backupverifier"], "verbs": ["create"]},
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]},
        ])
    );
}
