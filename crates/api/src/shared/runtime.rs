//! Settings of pods and containers, for Jobs that are made for somebody.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvFromSource, EnvVar, Lifecycle, LocalObjectReference, PodReadinessGate, PodSecurityContext, Probe, ResourceRequirements,
    SecurityContext, Toleration, TopologySpreadConstraint,
};

use super::wire;

wire! {
    /// Settings of a Job's pod and of its container.
    pub struct RuntimeSettings {
        /// Settings of the pod.
        pub pod: Option<PodRuntimeSettings>,
        /// Settings of the container.
        pub container: Option<ContainerRuntimeSettings>,
    }

    /// Settings of a container.
    pub struct ContainerRuntimeSettings {
        /// CPU and memory the container asks for and is limited to.
        #[schemars(schema_with = "super::embedded::<ResourceRequirements>")]
        pub resources: Option<ResourceRequirements>,
        /// Restarts the container when it fails.
        #[schemars(schema_with = "super::embedded::<Probe>")]
        pub liveness_probe: Option<Probe>,
        /// Takes the container out of services when it fails.
        #[schemars(schema_with = "super::embedded::<Probe>")]
        pub readiness_probe: Option<Probe>,
        /// Actions after start and before stop.
        #[schemars(schema_with = "super::embedded::<Lifecycle>")]
        pub lifecycle: Option<Lifecycle>,
        /// Rights of the container.
        #[schemars(schema_with = "super::embedded::<SecurityContext>")]
        pub security_context: Option<SecurityContext>,
        /// CPU priority of the process.
        pub nice: Option<NiceSettings>,
        /// Disk priority of the process.
        pub ionice: Option<IoNiceSettings>,
        /// Environment from ConfigMaps and Secrets.
        #[schemars(schema_with = "super::embedded::<Vec<EnvFromSource>>")]
        pub env_from: Vec<EnvFromSource>,
        /// Environment, variable by variable.
        #[schemars(schema_with = "super::embedded::<Vec<EnvVar>>")]
        pub env: Vec<EnvVar>,
    }

    /// CPU priority; reaches the executor as NICE_ADJUSTMENT.
    #[derive(Eq)]
    pub struct NiceSettings {
        /// Adjustment from -20 (most urgent) to 19.
        pub adjustment: Option<i32>,
    }

    /// Disk priority; reaches the executor as IONICE_CLASS and IONICE_CLASS_DATA.
    #[derive(Eq)]
    pub struct IoNiceSettings {
        /// Scheduling class, 0 to 3.
        pub class: Option<i32>,
        /// Priority inside the class, 0 (most urgent) to 7.
        pub class_data: Option<i32>,
    }

    /// Settings of a pod.
    pub struct PodRuntimeSettings {
        /// Labels of the pod.
        pub pod_labels: BTreeMap<String, String>,
        /// Annotations of the pod.
        pub pod_annotations: BTreeMap<String, String>,
        /// Labels a node must have.
        pub node_selector: BTreeMap<String, String>,
        /// ServiceAccount of the pod.
        pub service_account_name: String,
        /// Annotations of a ServiceAccount that is made for the pod.
        pub service_account_annotations: BTreeMap<String, String>,
        /// Whether the pod holds credentials for the API server.
        pub automount_service_account_token: Option<bool>,
        /// The node to run on, past the scheduler.
        pub node_name: String,
        /// Rights of the pod's containers.
        #[schemars(schema_with = "super::embedded::<PodSecurityContext>")]
        pub security_context: Option<PodSecurityContext>,
        /// Secrets for pulling images.
        #[schemars(schema_with = "super::embedded::<Vec<LocalObjectReference>>")]
        pub image_pull_secrets: Vec<LocalObjectReference>,
        /// Rules about nodes and other pods.
        #[schemars(schema_with = "super::embedded::<Affinity>")]
        pub affinity: Option<Affinity>,
        /// Scheduler to use.
        pub scheduler_name: String,
        /// Taints the pod tolerates.
        #[schemars(schema_with = "super::embedded::<Vec<Toleration>>")]
        pub tolerations: Vec<Toleration>,
        /// Priority class of the pod.
        pub priority_class_name: String,
        /// Priority of the pod.
        pub priority: Option<i32>,
        /// Further conditions of readiness.
        #[schemars(schema_with = "super::embedded::<Vec<PodReadinessGate>>")]
        pub readiness_gates: Vec<PodReadinessGate>,
        /// Runtime class of the pod.
        pub runtime_class_name: Option<String>,
        /// Whether services appear in the environment.
        pub enable_service_links: Option<bool>,
        /// How pods spread over the cluster.
        #[schemars(
            schema_with = "super::embedded::<Vec<TopologySpreadConstraint>>",
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["topologyKey", "whenUnsatisfiable"])
        )]
        pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    }
}
