//! What verifier, Addon and Function may ask of a pod, and what becomes of it: the restricted Pod Security profile, unless
//! the installation allows a namespace more. Pure.

use backproof_api::shared::{ContainerRuntimeSettings, FlatPodSpec};
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities, EnvFromSource, EnvVar, Lifecycle, PodSecurityContext, Probe, ResourceRequirements, SELinuxOptions,
    SeccompProfile, SecurityContext, Volume,
};

use super::variables::niceness;
use crate::manifest::NOBODY;

/// Settings of the Job's one container and its pod, from the weakest source to the strongest: Function, the Addon's settings
/// in the verifier, the verifier's job template.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wishes<'a> {
    pub(crate) function: Option<&'a ContainerRuntimeSettings>,
    pub(crate) addon: Option<&'a ContainerRuntimeSettings>,
    pub(crate) template: Option<&'a FlatPodSpec>,
}

/// Whether the installation lets Jobs of a namespace leave the restricted profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Restricted,
    Unrestricted,
}

impl<'a> Wishes<'a> {
    fn pick<T>(
        self,
        of_settings: impl Fn(&'a ContainerRuntimeSettings) -> Option<T>,
        of_template: impl Fn(&'a FlatPodSpec) -> Option<T>,
    ) -> Option<T> {
        self.template.and_then(of_template).or_else(|| self.addon.and_then(&of_settings)).or_else(|| self.function.and_then(&of_settings))
    }

    pub(crate) fn resources(self) -> Option<&'a ResourceRequirements> {
        // Go writes `resources: {}` where nobody asks for anything.
        let asked = |resources: &&ResourceRequirements| **resources != ResourceRequirements::default();
        self.pick(|settings| settings.resources.as_ref().filter(asked), |spec| spec.resources.as_ref().filter(asked))
    }

    pub(crate) fn liveness_probe(self) -> Option<&'a Probe> {
        self.pick(|settings| settings.liveness_probe.as_ref(), |spec| spec.liveness_probe.as_ref())
    }

    pub(crate) fn readiness_probe(self) -> Option<&'a Probe> {
        self.pick(|settings| settings.readiness_probe.as_ref(), |spec| spec.readiness_probe.as_ref())
    }

    pub(crate) fn lifecycle(self) -> Option<&'a Lifecycle> {
        self.pick(|settings| settings.lifecycle.as_ref(), |spec| spec.lifecycle.as_ref())
    }

    fn container_security(self) -> Option<&'a SecurityContext> {
        self.pick(|settings| settings.security_context.as_ref(), |spec| spec.container_security_context.as_ref())
    }

    fn pod_security(self) -> Option<&'a PodSecurityContext> {
        self.template.and_then(|spec| spec.security_context.as_ref())
    }

    /// The environment, stronger sources last.
    pub(crate) fn env(self) -> Vec<EnvVar> {
        let of_settings = |settings: &ContainerRuntimeSettings| {
            let nice = niceness(settings).into_iter().map(|(name, value)| EnvVar {
                name: name.to_owned(),
                value: Some(value.to_string()),
                value_from: None,
            });
            nice.chain(settings.env.iter().cloned()).collect::<Vec<_>>()
        };
        let settings = [self.function, self.addon].into_iter().flatten().flat_map(of_settings);
        settings.chain(self.template.iter().flat_map(|spec| spec.env.iter().cloned())).collect()
    }

    pub(crate) fn env_from(self) -> Vec<EnvFromSource> {
        [self.function, self.addon].into_iter().flatten().flat_map(|settings| settings.env_from.iter().cloned()).collect()
    }

    /// Everything asked for that the restricted profile forbids, each with its field.
    pub(crate) fn unsafe_ones(self, volumes: &[Volume]) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(spec) = self.template {
            pod_wishes(spec, &mut found);
        }
        if let Some(context) = self.pod_security() {
            pod_security_wishes(context, &mut found);
        }
        if let Some(context) = self.container_security() {
            container_security_wishes(context, &mut found);
        }
        found.extend(
            volumes.iter().filter(|volume| volume.host_path.is_some()).map(|volume| format!("volume {} of type hostPath", volume.name)),
        );
        found
    }

    fn user(self) -> i64 {
        self.container_security().and_then(|context| context.run_as_user).or_else(|| self.pod_security()?.run_as_user).unwrap_or(NOBODY)
    }

    /// The pod's rights: never more than asked for, and by default nobody's.
    pub(crate) fn pod_security_context(self) -> PodSecurityContext {
        let user = self.user();
        let group = self
            .container_security()
            .and_then(|context| context.run_as_group)
            .or_else(|| self.pod_security()?.run_as_group)
            .unwrap_or(NOBODY);
        let asked = self.pod_security().cloned().unwrap_or_default();
        let container_seccomp = self.container_security().and_then(|context| context.seccomp_profile.clone());
        PodSecurityContext {
            run_as_user: Some(user),
            run_as_group: Some(group),
            run_as_non_root: Some(user != 0),
            fs_group: Some(asked.fs_group.unwrap_or(group)),
            // A target with a million files must not be walked again for every run.
            fs_group_change_policy: Some("OnRootMismatch".into()),
            seccomp_profile: Some(
                container_seccomp
                    .or(asked.seccomp_profile)
                    .unwrap_or(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ),
            ..asked
        }
    }

    /// The container's rights.
    pub(crate) fn container_security_context(self, profile: Profile) -> SecurityContext {
        let asked = self.container_security().cloned().unwrap_or_default();
        let drop = Some(vec!["ALL".to_owned()]);
        let read_only_root_filesystem = Some(asked.read_only_root_filesystem.unwrap_or(true));
        match profile {
            Profile::Restricted => SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities { add: None, drop }),
                read_only_root_filesystem,
                app_armor_profile: asked.app_armor_profile,
                se_linux_options: asked.se_linux_options,
                ..SecurityContext::default()
            },
            Profile::Unrestricted => SecurityContext {
                allow_privilege_escalation: Some(asked.allow_privilege_escalation.unwrap_or(false)),
                capabilities: Some(Capabilities { add: asked.capabilities.and_then(|capabilities| capabilities.add), drop }),
                read_only_root_filesystem,
                // These are the pod's already; the container must not contradict it.
                run_as_user: None,
                run_as_group: None,
                run_as_non_root: None,
                seccomp_profile: None,
                ..asked
            },
        }
    }
}

fn pod_wishes(spec: &FlatPodSpec, found: &mut Vec<String>) {
    for (field, asked) in [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)] {
        if asked {
            found.push(format!("jobTemplate.spec.{field}"));
        }
    }
    if !spec.init_containers.is_empty() {
        found.push("jobTemplate.spec.initContainers".into());
    }
}

fn pod_security_wishes(context: &PodSecurityContext, found: &mut Vec<String>) {
    let mut add = |field: &str, asked: bool| {
        if asked {
            found.push(format!("jobTemplate.spec.securityContext.{field}"));
        }
    };
    add("runAsUser 0", context.run_as_user == Some(0));
    add("runAsNonRoot false", context.run_as_non_root == Some(false));
    add("seccompProfile Unconfined", unconfined(context.seccomp_profile.as_ref()));
    add("appArmorProfile Unconfined", unconfined_armor(context.app_armor_profile.as_ref()));
    add("sysctls", context.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty()));
    add("seLinuxOptions", odd_selinux(context.se_linux_options.as_ref()));
    add("windowsOptions", context.windows_options.is_some());
}

fn container_security_wishes(context: &SecurityContext, found: &mut Vec<String>) {
    let mut add = |field: &str, asked: bool| {
        if asked {
            found.push(format!("the container's securityContext.{field}"));
        }
    };
    add("privileged", context.privileged == Some(true));
    add("allowPrivilegeEscalation", context.allow_privilege_escalation == Some(true));
    add(
        "capabilities.add",
        context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref()).is_some_and(|add| !add.is_empty()),
    );
    add("runAsUser 0", context.run_as_user == Some(0));
    add("runAsNonRoot false", context.run_as_non_root == Some(false));
    add("procMount", context.proc_mount.as_ref().is_some_and(|mount| mount != "Default"));
    add("seccompProfile Unconfined", unconfined(context.seccomp_profile.as_ref()));
    add("appArmorProfile Unconfined", unconfined_armor(context.app_armor_profile.as_ref()));
    add("seLinuxOptions", odd_selinux(context.se_linux_options.as_ref()));
    add("windowsOptions", context.windows_options.is_some());
}

fn unconfined(profile: Option<&SeccompProfile>) -> bool {
    profile.is_some_and(|profile| profile.type_ == "Unconfined")
}

fn unconfined_armor(profile: Option<&AppArmorProfile>) -> bool {
    profile.is_some_and(|profile| profile.type_ == "Unconfined")
}

fn odd_selinux(options: Option<&SELinuxOptions>) -> bool {
    const ALLOWED: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    options.is_some_and(|options| {
        !ALLOWED.contains(&options.type_.as_deref().unwrap_or_default()) || options.user.is_some() || options.role.is_some()
    })
}
