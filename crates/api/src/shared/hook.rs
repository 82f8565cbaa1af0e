//! Hooks around backups and restores.

use k8s_openapi::api::core::v1::{EnvVar, VolumeMount};

use super::{FreeForm, ObjectReference, RuntimeSettings, Volume, Wire, wire, wire_enum};

wire! {
    /// One hook to run before or after.
    pub struct HookInfo {
        /// Name of the hook, unique in its list.
        pub name: String,
        /// HookTemplate that says what to do.
        pub hook_template: Option<ObjectReference>,
        /// Values for the parameters the template declares.
        #[schemars(schema_with = "super::free_form")]
        pub params: Option<FreeForm>,
        /// Most retries of a failed hook; nothing means none.
        #[schemars(extend("minimum" = 0))]
        pub max_retry: i32,
        /// Longest time the hook may take, as Go duration text.
        pub timeout: String,
        /// Whether the hook runs always, or only after success or failure of what it follows.
        #[schemars(extend("x-default" = "Always"))]
        pub execution_policy: Option<Wire<HookExecutionPolicy>>,
        /// Variables for the template.
        #[schemars(schema_with = "super::embedded::<Vec<EnvVar>>")]
        pub variables: Vec<EnvVar>,
        /// Further volumes, for templates run by a Function.
        pub volumes: Vec<Volume>,
        /// Where to mount them.
        #[schemars(schema_with = "super::embedded::<Vec<VolumeMount>>")]
        pub volume_mounts: Vec<VolumeMount>,
        /// Pod and container settings, for templates run by a Function.
        pub runtime_settings: Option<RuntimeSettings>,
    }

    /// Results of the hooks.
    #[derive(Eq)]
    pub struct HookStatus {
        /// Hooks that ran before.
        pub pre_hooks: Vec<HookResult>,
        /// Hooks that ran after.
        pub post_hooks: Vec<HookResult>,
    }

    /// Result of one hook.
    #[derive(Eq)]
    pub struct HookResult {
        /// Name of the hook.
        pub name: String,
        /// How far it is.
        pub phase: Option<Wire<HookPhase>>,
    }
}

wire_enum! {
    /// When a hook runs.
    pub enum HookExecutionPolicy {
        /// In every case.
        Always,
        /// Only after success.
        OnSuccess,
        /// Only after failure.
        OnFailure,
    }

    /// How far a hook is.
    pub enum HookPhase {
        /// It ran well.
        Succeeded,
        /// It failed.
        Failed,
        /// It has not run yet.
        Pending,
    }
}
