//! Types that several kinds share, as upstream's schema has them (`upstream/shared.tsv`), and the means to declare them.
//!
//! Two rules hold for every type here and in `kinds`: nothing that a Go client may write fails to parse, and what is absent
//! is not written. Go has no difference between an absent and an empty string, list or map, so neither do these types;
//! where upstream uses a pointer because the difference matters, the field is an `Option`.

mod addon;
mod embedded;
mod hook;
mod pod_template;
mod policy;
mod reference;
mod runtime;
mod scheduler;
mod verifier;
mod volume;
mod wire;

pub use addon::{AddonInfo, AddonVolumeInfo, TargetVolumeInfo, TaskReference};
pub use hook::{HookExecutionPolicy, HookInfo, HookPhase, HookResult, HookStatus};
pub use pod_template::{FlatPodSpec, ObjectMetadata, PodTemplateSpec};
pub use policy::{AllowedNamespaces, FromNamespaces, ParameterDefinition, RetryConfig, UsagePolicy};
pub use reference::{ObjectReference, ResourceFoundStatus, TypedLocalObjectReference, TypedObjectReference};
pub use runtime::{ContainerRuntimeSettings, IoNiceSettings, NiceSettings, PodRuntimeSettings, RuntimeSettings};
pub use scheduler::{JobTemplate, SchedulerSpec};
pub use verifier::Cleanup;
pub use volume::{
    EphemeralVolumeSource, PartialObjectMeta, PersistentVolumeClaim, PersistentVolumeClaimTemplate, TemplateVolumeSource, Volume,
    VolumeSource,
};
pub use wire::Wire;

pub(crate) use embedded::{embedded, free_form};
pub(crate) use wire::{Absent, lenient, wire, wire_enum};

/// Free-form JSON object: `spec.query` of a verifier, `params` of a task.
pub type FreeForm = serde_json::Map<String, serde_json::Value>;
