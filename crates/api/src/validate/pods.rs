//! What a verifier's pods may not ask for: more than the restricted Pod Security profile allows.

use k8s_openapi::api::core::v1::{PodSecurityContext, SELinuxOptions, SecurityContext, WindowsSecurityContextOptions};

use super::{Findings, rules::verifier as rules};
use crate::{
    BackupVerifier,
    shared::{AddonInfo, FlatPodSpec, Volume},
};

/// Refuses settings that ask for more, unless the target's namespace is one of those where the chart allows it.
pub fn pod_settings(verifier: &BackupVerifier, allowed: &[String]) -> Findings {
    let mut findings = Findings::default();
    let own = verifier.metadata.namespace.as_deref().unwrap_or_default();
    let target = verifier.spec.restore_option.as_ref().and_then(|option| option.target.as_ref());
    let namespace = target.map_or(own, |target| target.namespace_or(own));
    if !allowed.iter().any(|allowed| allowed == namespace) {
        for setting in unsafe_settings(verifier) {
            let (field, value) = setting.split_once(' ').unwrap_or((&setting, ""));
            let problem =
                format!("{value}{}asks for more than the restricted Pod Security profile allows", if value.is_empty() { "" } else { " " });
            let remedy = format!("take it out, or add namespace {namespace} to the chart's value unsafeNamespaces");
            findings.refuse(rules::POD, field, problem, remedy);
        }
    }
    findings
}

/// The fields of a verifier that ask for more than the restricted Pod Security profile allows, each with its value where that
/// matters.
pub fn unsafe_settings(verifier: &BackupVerifier) -> Vec<String> {
    let mut found = Vec::new();
    let spec = &verifier.spec;
    if let Some(info) = spec.restore_option.as_ref().and_then(|option| option.addon_info.as_ref()) {
        of_addon_info(info, &mut found);
    }
    volumes("spec.volumes", &spec.volumes, &mut found);
    if let Some(runtime) = &spec.runtime_settings {
        if let Some(pod) = &runtime.pod {
            if !pod.node_name.is_empty() {
                found.push("spec.runtimeSettings.pod.nodeName".to_owned());
            }
            pod_context("spec.runtimeSettings.pod.securityContext", pod.security_context.as_ref(), &mut found);
        }
        let container = runtime.container.as_ref().and_then(|container| container.security_context.as_ref());
        unsafe_container("spec.runtimeSettings.container.securityContext", container, &mut found);
    }
    found
}

fn of_addon_info(info: &AddonInfo, found: &mut Vec<String>) {
    let at = "spec.restoreOption.addonInfo";
    unsafe_container(
        &format!("{at}.containerRuntimeSettings.securityContext"),
        info.container_runtime_settings.as_ref().and_then(|settings| settings.security_context.as_ref()),
        found,
    );
    if let Some(pod) = info.job_template.as_ref().and_then(|template| template.spec.as_ref()) {
        of_pod(&format!("{at}.jobTemplate.spec"), pod, found);
    }
    for task in &info.tasks {
        let place = format!("{at}.tasks[{}]", task.name);
        if let Some(target) = &task.target_volumes {
            volumes(&format!("{place}.targetVolumes.volumes"), &target.volumes, found);
        }
        for volume in
            task.addon_volumes.iter().filter(|volume| volume.source.as_ref().is_some_and(|source| source.source.host_path.is_some()))
        {
            found.push(format!("{place}.addonVolumes[{}].source.hostPath", volume.name));
        }
    }
}

fn of_pod(at: &str, pod: &FlatPodSpec, found: &mut Vec<String>) {
    for (name, asked) in [("hostNetwork", pod.host_network), ("hostPID", pod.host_pid), ("hostIPC", pod.host_ipc)] {
        if asked {
            found.push(format!("{at}.{name}"));
        }
    }
    volumes(&format!("{at}.volumes"), &pod.volumes, found);
    pod_context(&format!("{at}.securityContext"), pod.security_context.as_ref(), found);
    unsafe_container(&format!("{at}.containerSecurityContext"), pod.container_security_context.as_ref(), found);
    // A program of somebody's own beside the target, with whatever rights: the run lets none in there either.
    found.extend(pod.init_containers.iter().map(|container| format!("{at}.initContainers[{}]", container.name)));
}

fn volumes(at: &str, volumes: &[Volume], found: &mut Vec<String>) {
    found.extend(volumes.iter().filter(|volume| volume.source.host_path.is_some()).map(|volume| format!("{at}[{}].hostPath", volume.name)));
}

fn pod_context(at: &str, context: Option<&PodSecurityContext>, found: &mut Vec<String>) {
    let Some(context) = context else { return };
    if context.run_as_user == Some(0) {
        found.push(format!("{at}.runAsUser 0"));
    }
    if context.run_as_non_root == Some(false) {
        found.push(format!("{at}.runAsNonRoot false"));
    }
    if context.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty()) {
        found.push(format!("{at}.sysctls"));
    }
    profiles(
        at,
        [context.seccomp_profile.as_ref().map(|it| it.type_.as_str()), context.app_armor_profile.as_ref().map(|it| it.type_.as_str())],
        context.se_linux_options.as_ref(),
        context.windows_options.as_ref(),
        found,
    );
}

/// Confinement that is taken off; both contexts have the same fields for it.
fn profiles(
    at: &str,
    [seccomp, app_armor]: [Option<&str>; 2],
    selinux: Option<&SELinuxOptions>,
    windows: Option<&WindowsSecurityContextOptions>,
    found: &mut Vec<String>,
) {
    // The types that the baseline profile lets a container have.
    const TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let set = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
    let asked = [
        ("seccompProfile Unconfined", seccomp == Some("Unconfined")),
        ("appArmorProfile Unconfined", app_armor == Some("Unconfined")),
        ("seLinuxOptions.type", selinux.is_some_and(|it| !TYPES.contains(&it.type_.as_deref().unwrap_or_default()))),
        ("seLinuxOptions.user", selinux.is_some_and(|it| set(&it.user))),
        ("seLinuxOptions.role", selinux.is_some_and(|it| set(&it.role))),
        ("windowsOptions", windows.is_some()),
    ];
    found.extend(asked.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| format!("{at}.{name}")));
}

/// Adds the settings of a container, below a field, that ask for more.
pub fn unsafe_container(at: &str, context: Option<&SecurityContext>, found: &mut Vec<String>) {
    let Some(context) = context else { return };
    let added = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.clone()).unwrap_or_default();
    let asked = [
        ("privileged", context.privileged == Some(true)),
        ("allowPrivilegeEscalation", context.allow_privilege_escalation == Some(true)),
        ("runAsUser 0", context.run_as_user == Some(0)),
        ("runAsNonRoot false", context.run_as_non_root == Some(false)),
        ("capabilities.add", !added.is_empty()),
        ("procMount", context.proc_mount.as_deref().is_some_and(|mount| mount != "Default")),
    ];
    found.extend(asked.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| format!("{at}.{name}")));
    profiles(
        at,
        [context.seccomp_profile.as_ref().map(|it| it.type_.as_str()), context.app_armor_profile.as_ref().map(|it| it.type_.as_str())],
        context.se_linux_options.as_ref(),
        context.windows_options.as_ref(),
        found,
    );
}
