//! `trigger`: what a verifier's CronJob runs. One tick makes at most one BackupVerificationSession, however often its pod runs.
//!
//! It observes (lists), decides ([`plan`], pure) and acts (one create). It holds rights for just that in its namespace.

mod cluster;
mod plan;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use cluster::{Cluster, Created, Failure};
use plan::{Action, Policy, Request, SnapshotSource, Tick, plan};

/// How long an API server that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Arguments of `trigger`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the CronJob that ticks.
    #[arg(long)]
    cronjob: String,
    /// BackupConfiguration or BackupBatch.
    #[arg(long)]
    invoker_kind: String,
    /// Name of the invoker.
    #[arg(long)]
    invoker_name: String,
    /// UID of the invoker.
    #[arg(long)]
    invoker_uid: String,
    /// Session of the invoker.
    #[arg(long)]
    session: String,
    /// Repository of that session.
    #[arg(long)]
    repository: String,
    /// Whether sessions may overlap.
    #[arg(long, default_value = "Allow")]
    concurrency_policy: Policy,
    /// How often a failed session is repeated.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    retry_left: i32,
    /// Leave the choice of the Snapshot to the controller, which looks into the repository first.
    #[arg(long)]
    discovered: bool,
    /// Namespace of the invoker.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Name of the Job this pod belongs to; the scheduled time is in it.
    #[arg(long, env = "JOB_NAME")]
    job_name: String,
    /// File that gets the last line as well, such as /dev/termination-log.
    #[arg(long)]
    report: Option<std::path::PathBuf>,
}

/// Runs the command: 0 when there is a session, or none is to be made; 2 when it could not find out.
pub(crate) fn run(args: Args) -> ExitCode {
    let report = args.report.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(tick(args)),
        Err(error) => Err(Failure::Start(error.to_string())),
    };
    let (line, code) = match outcome {
        Ok(line) => (line, ExitCode::SUCCESS),
        Err(failure) => (failure.to_string(), ExitCode::from(2)),
    };
    println!("{line}");
    if let Some(file) = report
        && let Err(error) = std::fs::write(&file, &line)
    {
        eprintln!("cannot write {}: {error}", file.display());
    }
    code
}

async fn tick(args: Args) -> Result<String, Failure> {
    let now = jiff::Timestamp::now().as_second();
    let tick = Tick::of(&args.cronjob, &args.job_name, now);
    let cronjob = args.cronjob.clone();
    let request = Request::from_args(args, tick);
    let cluster = Cluster::connect(&request.namespace).await?;
    let outcome = patiently(&cluster, &request).await;
    if let Err(failure) = &outcome
        && failure.is_refusal()
    {
        cluster.warn(&request, &cronjob, "TriggerFailed", &failure.to_string()).await;
    }
    match outcome? {
        Ended::Silently(line) => Ok(line),
        Ended::Warned { reason, message } => {
            cluster.warn(&request, &cronjob, reason, &message).await;
            Ok(format!("{reason}: {message}"))
        }
    }
}

/// How a tick ended.
enum Ended {
    Silently(String),
    Warned { reason: &'static str, message: String },
}

/// Asks again while the API server does not answer: the next tick may be a day away.
async fn patiently(cluster: &Cluster, request: &Request) -> Result<Ended, Failure> {
    let started = Instant::now();
    let mut wait = Duration::from_millis(500);
    loop {
        match once(cluster, request).await {
            Err(failure) if failure.may_pass() && started.elapsed() + wait < PATIENCE => {
                eprintln!("{failure}; trying again in {} ms", wait.as_millis());
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(10));
            }
            ended => return ended,
        }
    }
}

async fn once(cluster: &Cluster, request: &Request) -> Result<Ended, Failure> {
    let mut listed = cluster.list(request).await?;
    loop {
        match plan(&listed, request) {
            Action::Nothing(line) => return Ok(Ended::Silently(line)),
            Action::Warn { reason, message } => return Ok(Ended::Warned { reason, message }),
            Action::Create(session) => match cluster.create(&session).await? {
                Created::Now(name) => {
                    return Ok(Ended::Silently(format!(
                        "made BackupVerificationSession {}/{name} for tick {}",
                        request.namespace, request.tick.key
                    )));
                }
                // Somebody was faster: with this tick that is success, with another the next name is tried.
                Created::Taken(other) => listed.sessions.push(*other),
            },
        }
    }
}

impl Request {
    fn from_args(args: Args, tick: Tick) -> Self {
        Self {
            namespace: args.namespace,
            invoker_kind: args.invoker_kind,
            invoker_name: args.invoker_name,
            invoker_uid: args.invoker_uid,
            session: args.session,
            repository: args.repository,
            policy: args.concurrency_policy,
            retry_left: args.retry_left,
            source: if args.discovered { SnapshotSource::Discovery } else { SnapshotSource::Objects },
            tick,
        }
    }
}
