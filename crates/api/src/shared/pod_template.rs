//! Upstream's pod template: a pod and its one container in one flat object. Not the pod template of Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, Lifecycle, LocalObjectReference, PodDNSConfig, PodSecurityContext, Probe, ResourceRequirements,
    SecurityContext, Toleration, TopologySpreadConstraint, VolumeMount,
};

use super::{Volume, wire};

wire! {
    /// Labels and annotations of what is made, and the settings of its pods.
    pub struct PodTemplateSpec {
        /// Labels and annotations of the pods.
        pub metadata: Option<ObjectMetadata>,
        /// Labels and annotations of the workload that owns the pods.
        pub controller: Option<ObjectMetadata>,
        /// Settings of the pods and of their container.
        pub spec: Option<FlatPodSpec>,
    }

    /// Labels and annotations.
    #[derive(Eq)]
    pub struct ObjectMetadata {
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
    }

    /// Settings of a pod and of its one container.
    pub struct FlatPodSpec {
        /// Further volumes.
        pub volumes: Vec<Volume>,
        /// Containers that run before.
        #[schemars(schema_with = "super::embedded::<Vec<Container>>")]
        pub init_containers: Vec<Container>,
        /// Seconds between the signal to stop and the kill.
        pub termination_grace_period_seconds: Option<i64>,
        /// DNS policy of the pod.
        pub dns_policy: String,
        /// DNS settings of the pod.
        #[schemars(schema_with = "super::embedded::<PodDNSConfig>")]
        pub dns_config: Option<PodDNSConfig>,
        /// Labels a node must have.
        #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
        pub node_selector: BTreeMap<String, String>,
        /// ServiceAccount of the pod.
        pub service_account_name: String,
        /// Whether the pod uses the node's network.
        pub host_network: bool,
        /// Whether the pod sees the node's processes.
        #[serde(rename = "hostPID")]
        pub host_pid: bool,
        /// Whether the pod shares the node's inter-process communication.
        #[serde(rename = "hostIPC")]
        pub host_ipc: bool,
        /// Whether the pod's containers see each other's processes.
        pub share_process_namespace: Option<bool>,
        /// Rights of the pod: user, group, group of the volumes.
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
        /// Arguments of the container.
        pub args: Vec<String>,
        /// Environment of the container.
        #[schemars(schema_with = "super::embedded::<Vec<EnvVar>>")]
        pub env: Vec<EnvVar>,
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
        pub container_security_context: Option<SecurityContext>,
        /// Where the container mounts volumes.
        #[schemars(schema_with = "super::embedded::<Vec<VolumeMount>>")]
        pub volume_mounts: Vec<VolumeMount>,
        /// PlacementPolicy that spreads the pods; honoured only where such an operator runs.
        #[schemars(schema_with = "super::embedded::<LocalObjectReference>", extend("x-kubernetes-map-type" = "atomic"))]
        pub pod_placement_policy: Option<LocalObjectReference>,
    }
}
