//! Which Addon and which of its tasks an object uses, and with what settings.

use k8s_openapi::api::core::v1::{EnvVar, VolumeMount};

use super::{ContainerRuntimeSettings, FreeForm, PersistentVolumeClaim, PodTemplateSpec, TemplateVolumeSource, Volume, wire};

wire! {
    /// The Addon used, and the tasks of it that run.
    pub struct AddonInfo {
        /// Name of the Addon.
        pub name: String,
        /// Tasks of the Addon to run.
        pub tasks: Vec<TaskReference>,
        /// Settings of the executor's container.
        pub container_runtime_settings: Option<ContainerRuntimeSettings>,
        /// Settings of the pods of the executor's Job; among them the user and group it runs as.
        pub job_template: Option<PodTemplateSpec>,
    }

    /// One task of an Addon, and what it is given.
    pub struct TaskReference {
        /// Name of the task in the Addon, such as `logical-backup-restore`.
        pub name: String,
        /// Variables for the templates of the Addon and its Function.
        #[schemars(schema_with = "super::embedded::<Vec<EnvVar>>")]
        pub variables: Vec<EnvVar>,
        /// Values for the parameters the task declares.
        #[schemars(schema_with = "super::free_form")]
        pub params: Option<FreeForm>,
        /// Volumes of the target that the executor mounts.
        pub target_volumes: Option<TargetVolumeInfo>,
        /// Replacements for volumes of the Addon, found by name.
        pub addon_volumes: Vec<AddonVolumeInfo>,
    }

    /// Volumes of the target that the executor mounts.
    pub struct TargetVolumeInfo {
        /// Volumes to mount.
        pub volumes: Vec<Volume>,
        /// Where to mount them.
        #[schemars(schema_with = "super::embedded::<Vec<VolumeMount>>")]
        pub volume_mounts: Vec<VolumeMount>,
        /// Claims made from templates, one per ordinal of a pod.
        pub volume_claim_templates: Vec<PersistentVolumeClaim>,
    }

    /// Another source for one volume of the Addon.
    pub struct AddonVolumeInfo {
        /// Name of the volume in the Addon's volume templates.
        pub name: String,
        /// What to mount instead.
        pub source: Option<TemplateVolumeSource>,
    }
}
