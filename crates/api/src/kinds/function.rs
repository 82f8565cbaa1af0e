//! Function: the container that runs a task.

use k8s_openapi::api::core::v1::{ContainerPort, VolumeDevice, VolumeMount};
use kube::CustomResource;

use crate::shared::{ContainerRuntimeSettings, wire};

wire! {
    /// The container that runs a task or a check.
    #[derive(CustomResource)]
    #[kube(
        group = "addons.kubestash.com",
        version = "v1alpha1",
        kind = "Function",
        plural = "functions",
        singular = "function",
        shortname = "fn",
        doc = "A container that runs a task of an Addon or a check of a BackupVerifier; its arguments are templates.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the Function was created")
    )]
    pub struct FunctionSpec {
        /// Image of the container; may hold `${DB_VERSION}`.
        pub image: String,
        /// Entry point of the container.
        pub command: Vec<String>,
        /// Arguments of the container; templates such as `--namespace=${namespace}`.
        pub args: Vec<String>,
        /// Directory the container starts in.
        pub working_dir: String,
        /// Ports of the container.
        #[schemars(schema_with = "crate::shared::embedded::<Vec<ContainerPort>>")]
        pub ports: Vec<ContainerPort>,
        /// Where the container mounts volumes.
        #[schemars(schema_with = "crate::shared::embedded::<Vec<VolumeMount>>")]
        pub volume_mounts: Vec<VolumeMount>,
        /// Block devices of the container.
        #[schemars(schema_with = "crate::shared::embedded::<Vec<VolumeDevice>>")]
        pub volume_devices: Vec<VolumeDevice>,
        /// Settings of the container.
        pub runtime_settings: Option<ContainerRuntimeSettings>,
        /// Values to choose `${DB_VERSION}` from.
        pub available_versions: Vec<String>,
    }
}
