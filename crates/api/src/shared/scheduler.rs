//! Settings of the CronJob behind a session or a verifier.

use super::{PodTemplateSpec, wire};

wire! {
    /// When something runs, and the settings of the CronJob that triggers it.
    #[schemars(extend("required" = ["jobTemplate", "schedule"]))]
    pub struct SchedulerSpec {
        /// Cron text, such as `0 3 * * *`; read in the time zone of the cluster's controller manager.
        pub schedule: String,
        /// Seconds after which a missed run is given up.
        pub starting_deadline_seconds: Option<i64>,
        /// Allow (runs may overlap), Forbid (a run is left out while one is unfinished) or Replace (a new run ends the unfinished one).
        pub concurrency_policy: String,
        /// Whether further runs are held back; those under way go on.
        pub suspend: Option<bool>,
        /// Settings of the Jobs the CronJob makes; may be empty.
        pub job_template: Option<JobTemplate>,
        /// How many finished good Jobs of the CronJob to keep; 3 when absent.
        pub successful_jobs_history_limit: Option<i32>,
        /// How many failed Jobs of the CronJob to keep; 1 when absent.
        pub failed_jobs_history_limit: Option<i32>,
    }

    /// Settings of a Job.
    pub struct JobTemplate {
        /// How many pods may run at once.
        pub parallelism: Option<i32>,
        /// How many pods must succeed.
        pub completions: Option<i32>,
        /// Seconds after which the Job is ended as failed.
        pub active_deadline_seconds: Option<i64>,
        /// How many failed pods are tolerated.
        pub backoff_limit: Option<i32>,
        /// Seconds a finished Job is kept.
        pub ttl_seconds_after_finished: Option<i32>,
        /// NonIndexed or Indexed.
        pub completion_mode: String,
        /// Whether the Job waits until it is released.
        pub suspend: Option<bool>,
        /// Settings of the Job's pods.
        pub template: Option<PodTemplateSpec>,
    }
}
