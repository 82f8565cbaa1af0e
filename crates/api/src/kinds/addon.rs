//! Addon: how one kind of target is backed up and restored.

use k8s_openapi::api::core::v1::VolumeMount;
use kube::CustomResource;

use super::snapshot::Driver;
use crate::shared::{ParameterDefinition, TemplateVolumeSource, Wire, wire, wire_enum};

wire! {
    /// The tasks that back up and restore one kind of target.
    #[derive(CustomResource)]
    #[kube(
        group = "addons.kubestash.com",
        version = "v1alpha1",
        kind = "Addon",
        plural = "addons",
        singular = "addon",
        doc = "Says how one kind of target is backed up and restored: the tasks, and the Function each of them runs.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the Addon was created")
    )]
    pub struct AddonSpec {
        /// Tasks that back up.
        pub backup_tasks: Vec<Task>,
        /// Tasks that restore.
        pub restore_tasks: Vec<Task>,
    }

    /// One task of an Addon.
    pub struct Task {
        /// Name of the task, such as `logical-backup-restore`.
        pub name: String,
        /// Function that runs it.
        pub function: String,
        /// Tool that moves the data.
        pub driver: Option<Wire<Driver>>,
        /// What runs the task; Backproof runs Job.
        pub executor: Option<Wire<Executor>>,
        /// Whether one Job serves all components, instead of one Job each.
        pub singleton: bool,
        /// Parameters the task declares.
        pub parameters: Vec<ParameterDefinition>,
        /// Volumes of the executor, which the user may replace by name.
        pub volume_template: Vec<VolumeTemplate>,
        /// Where the executor mounts them.
        #[schemars(schema_with = "crate::shared::embedded::<Vec<VolumeMount>>")]
        pub volume_mounts: Vec<VolumeMount>,
    }

    /// A volume of the executor.
    pub struct VolumeTemplate {
        /// Name of the volume.
        pub name: String,
        /// What it is for, for people.
        pub usage: String,
        /// Where its content comes from, unless the user says otherwise.
        pub source: Option<TemplateVolumeSource>,
    }
}

wire_enum! {
    /// What runs a task.
    pub enum Executor {
        /// A Job.
        Job,
        /// A container beside the target's.
        Sidecar,
        /// A container started in the target's pod.
        EphemeralContainer,
        /// Several Jobs that follow one another.
        MultiLevelJob,
    }
}
