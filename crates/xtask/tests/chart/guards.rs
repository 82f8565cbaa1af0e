//! Combinations that are refused, each by a message that names the value and what to do.

use crate::render::{EVERYTHING, text};

#[test]
fn each_unsafe_combination_is_refused_by_name() {
    let cases = [
        ("crossNamespace: {backproof-system: [demo]}", "crossNamespace.backproof-system is the namespace of the release"),
        ("crossNamespace: {verify: [backproof-system]}", "crossNamespace.verify names backproof-system, the namespace of the release"),
        ("crossNamespace: {verify: [demo, verify]}", "crossNamespace.verify names verify itself"),
        ("unsafeNamespaces: [old, backproof-system]", "unsafeNamespaces names backproof-system, the namespace of the release"),
        ("webhook: {replicas: 0}", "set webhook.enabled=false instead"),
        (
            "webhook: {replicas: 2}\npodDisruptionBudget: {maxUnavailable: 2}",
            "podDisruptionBudget.maxUnavailable is 2 and webhook.replicas is 2",
        ),
        (
            "controller: {replicas: 3}\npodDisruptionBudget: {maxUnavailable: 4}",
            "podDisruptionBudget.maxUnavailable is 4 and controller.replicas is 3",
        ),
        ("controller: {extraArgs: [--unsafe-namespaces=a]}", "controller.extraArgs sets --unsafe-namespaces"),
        ("controller: {extraArgs: [--allow-cross-namespace=a=b]}", "use crossNamespace"),
        ("controller: {extraArgs: [--foreign-functions]}", "use foreignFunctions.enabled"),
        ("controller: {extraArgs: [--trust-reported-success]}", "use foreignFunctions.trustReportedSuccess"),
        ("webhook: {extraArgs: [--certificate-dir=/tmp]}", "use webhook.certManager"),
        ("webhook: {extraArgs: [--workers=1, --secret=other]}", "webhook.extraArgs sets --secret"),
        ("monitoring: {podMonitor: {enabled: true}, serviceMonitor: {enabled: true}}", "every figure would be counted twice"),
        ("networkPolicy: {jobs: {namespaces: [backproof-system]}}", "networkPolicy.jobs.namespaces names backproof-system"),
    ];
    for (values, expected) in cases {
        let said = text(values).expect_err(values);
        assert!(said.contains(expected), "{values}\n{said}");
    }
    // Each `fail` of the file has a case.
    let file = std::fs::read_to_string(crate::render::chart().join("templates/guards.yaml")).unwrap();
    assert_eq!(file.matches("{{- fail ").count(), 9, "a guard was added or removed: change the cases above with it");
}

#[test]
fn everything_at_once_is_allowed() {
    text(EVERYTHING).unwrap();
}
