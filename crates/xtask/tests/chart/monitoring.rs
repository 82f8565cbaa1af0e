//! Alerts and what is shown: every rule is tried with promtool on the series that controller and webhook export.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use backproof_testing::tool;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::render::{EVERYTHING, objects, of_kind, one};

/// What every alert is tried for.
const CASES: [&str; 5] = ["fires", "stays silent", "resolves", "absent series", "stale pod"];

fn rules(values: &str) -> Vec<Value> {
    let rendered = objects(values);
    one(&rendered, "PrometheusRule", "backproof")["spec"]["groups"][0]["rules"].as_array().unwrap().clone()
}

fn names(rules: &[Value]) -> BTreeSet<String> {
    rules.iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

/// Runs the cases of one alert against these rules, those whose names match; says what promtool says against them.
fn promtool(rules: &[Value], cases: &Path, named: &str) -> Result<(), String> {
    let directory = TempDir::new().unwrap();
    let groups = json!({"groups": [{"name": "backproof", "rules": rules}]});
    std::fs::write(directory.path().join("rules.yaml"), groups.to_string()).unwrap();
    let copy = directory.path().join("cases.yaml");
    std::fs::copy(cases, &copy).unwrap();
    let output = Command::new(tool("promtool").unwrap()).args(["test", "rules", "--run", named]).arg(copy).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The file of cases of each alert.
fn cases() -> BTreeMap<String, std::path::PathBuf> {
    let directory = xtask::root().join("crates/xtask/tests/alerts");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path)).collect()
}

#[test]
fn every_alert_has_its_cases_and_passes_them() {
    let (rules, cases) = (rules(EVERYTHING), cases());
    assert_eq!(names(&rules), cases.keys().cloned().collect(), "one file of cases for each alert");
    for (alert, path) in &cases {
        let file: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let named: Vec<_> = file["tests"].as_array().unwrap().iter().map(|test| test["name"].as_str().unwrap()).collect();
        assert!(CASES.iter().all(|case| named.contains(case)), "{alert}: {named:?}");
        promtool(&rules, path, ".*").unwrap_or_else(|said| panic!("{alert}: {said}"));
    }
}

/// A rule that always fires, and one that never does: the cases must see each.
#[test]
fn the_cases_see_a_rule_that_is_wrong() {
    let right = rules(EVERYTHING);
    for (alert, path) in cases() {
        for (wrong, case) in [("vector(1)", "^stays silent$"), ("vector(1) > 1", "^fires$")] {
            let mut rules = right.clone();
            rules.iter_mut().filter(|rule| rule["alert"] == alert.as_str()).for_each(|rule| rule["expr"] = json!(wrong));
            let said = promtool(&rules, &path, case).expect_err(&alert);
            assert!(said.contains("FAILED"), "{alert}, {case}: {said}");
        }
    }
}

#[test]
fn every_alert_leads_to_its_runbook() {
    let rules = rules(EVERYTHING);
    let runbooks = xtask::root().join("docs/runbooks");
    for rule in &rules {
        let alert = rule["alert"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{alert}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].as_str().is_some_and(|text| text.len() > 20), "{alert}: {annotation}");
        }
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/docs/runbooks/{alert}.md")), "{url}");
        let page = std::fs::read_to_string(runbooks.join(format!("{alert}.md"))).unwrap_or_else(|error| panic!("{alert}: {error}"));
        assert!(page.starts_with(&format!("# {alert}\n")), "{alert}");
        for part in ["## What it means", "## What to do", "## When it ends"] {
            assert!(page.contains(part), "{alert} has no {part:?}");
        }
    }
    let pages = std::fs::read_dir(runbooks).unwrap().map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    let pages: BTreeSet<_> = pages.filter(|name| name != "README").collect();
    assert_eq!(pages, names(&rules), "a page without an alert");
}

#[test]
fn values_of_the_rules_arrive() {
    let text = |values: &str| Value::from(rules(values)).to_string();
    let on = |more: &str| format!("monitoring: {{rules: {{enabled: true{more}}}}}");
    let default = text(&on(""));
    for word in ["OVERDUE_SECONDS", "CERTIFICATE_SECONDS", "WITHOUT_PROOF_FOR", "INCONCLUSIVE_FOR"] {
        assert!(!default.contains(word), "{word} is not filled in");
    }
    assert!(default.contains("> 172800") && default.contains("< 1209600"), "{default}");
    let own = text(&on(", overdueAfterHours: 200, certificateDays: 7, inconclusiveFor: 3d, withoutProofFor: 9d"));
    for part in ["> 720000", "< 604800", r#""for":"3d""#, r#""for":"9d""#] {
        assert!(own.contains(part), "{part}\n{own}");
    }
    let names_with = |values: &str| names(&rules(values));
    assert!(names_with(&on("")).contains("BackproofWebhookDown"));
    assert!(!names_with(&on(", disabled: [BackproofWebhookDown]")).contains("BackproofWebhookDown"));
    // What is not installed cannot be down.
    assert!(!names_with(&format!("{}\nwebhook: {{enabled: false}}", on(""))).contains("BackproofWebhookDown"));
}

#[test]
fn monitors_find_the_port_of_the_figures() {
    let rendered = objects("monitoring: {serviceMonitor: {enabled: true, interval: 15s, labels: {release: prometheus}}}");
    for (name, port) in [("backproof-controller", 8080), ("backproof-webhook", 8081)] {
        let deployment = one(&rendered, "Deployment", name);
        let ports = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"];
        assert!(ports.as_array().unwrap().contains(&json!({"name": "http", "containerPort": port})), "{ports}");
        let service = one(&rendered, "Service", &format!("{name}-metrics"));
        assert_eq!(service["spec"]["ports"], json!([{"name": "http", "port": port, "targetPort": "http"}]));
        assert_eq!(service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]);
        let monitor = one(&rendered, "ServiceMonitor", name);
        assert_eq!(monitor["spec"]["endpoints"], json!([{"port": "http", "path": "/metrics", "interval": "15s"}]));
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
        assert!(wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value), "{wanted:?}");
        // The Service of the reviews is not asked for figures.
        let reviews = one(&rendered, "Service", "backproof-webhook");
        assert!(wanted.iter().any(|(key, value)| reviews["metadata"]["labels"][key] != *value));
    }
    let rendered = objects(EVERYTHING);
    for monitor in of_kind(&rendered, "PodMonitor") {
        let deployment = one(&rendered, "Deployment", monitor["metadata"]["name"].as_str().unwrap());
        assert_eq!(monitor["spec"]["selector"], deployment["spec"]["selector"]);
        assert_eq!(monitor["spec"]["podMetricsEndpoints"], json!([{"port": "http", "path": "/metrics", "interval": "30s"}]));
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let rendered = objects(EVERYTHING);
    let map = one(&rendered, "ConfigMap", "backproof-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value = serde_json::from_str(map["data"]["backproof.json"].as_str().unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels of one id");
    // Every query is one that Prometheus can parse: promtool reads them as rules that record.
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()).map(|target| target["expr"].as_str().unwrap());
    let recorded: Vec<_> = queries
        .enumerate()
        .map(|(number, query)| json!({"record": format!("query_{number}"), "expr": query.replace("$__rate_interval", "5m")}))
        .collect();
    assert!(recorded.len() > 15, "{}", recorded.len());
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("queries.yaml");
    std::fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": recorded}]}).to_string()).unwrap();
    let output = Command::new(tool("promtool").unwrap()).args(["check", "rules"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}
