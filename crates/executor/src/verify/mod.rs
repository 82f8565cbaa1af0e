//! `verify`: asks a restored database what a verifier's query asks, and judges the answers. This file is the command line and
//! the order of the steps; each engine's way of asking is a file of its own. Nothing is written to the database.

#[cfg(feature = "postgres")]
mod postgres;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use backproof_api::{
    Cause, environment,
    query::{Answer, Engine, Plan, judge},
    report::{DatabaseFacts, Finding, SnapshotFacts},
    shared::FreeForm,
};
use serde_json::Value;

use crate::{
    BAD_USAGE,
    engine::ConnectionArgs,
    restore::{Destination, Run, watch},
};

/// Arguments of `verify`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// File (YAML or JSON) with the checks: what stands below spec.query of a BackupVerifier, or the BackupVerifier itself. By
    /// default they are what BACKPROOF_QUERY holds.
    #[arg(long)]
    query: Option<PathBuf>,
    /// The run that must have restored what is asked: database.run in the report of `restore-dump`. In a Job it is the session's.
    #[arg(long)]
    run: Option<String>,
    /// Seconds that one statement may take.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    statement_timeout: u64,
    /// Where the report goes: a file, or `-` for standard output.
    #[arg(long, default_value = "-")]
    report: String,
}

/// What an engine said.
pub(crate) struct Asked {
    /// Its version.
    server: String,
    /// One for each check of the plan.
    answers: Vec<Answer>,
    /// What else was found out, such as whose restore this is.
    findings: Vec<Finding>,
}

/// Runs the command. Whatever happens, a report is written and the exit code is its outcome's.
pub(crate) fn run(args: &Args) -> ExitCode {
    let text = match &args.query {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("--query {}: {error}", file.display())),
        None => told(environment::QUERY).ok_or_else(|| format!("--query is not given, and {} is not set", environment::QUERY)),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let run = Arc::new(Run::new(Destination::from(args.report.as_str())));
    if let Err(error) = watch(&run) {
        run.findings.add(Cause::Internal, "", &format!("signals cannot be watched: {error}"));
        return run.finish();
    }
    if let Err(finding) = verify(args, &text, &run) {
        run.findings.push(finding);
    }
    run.finish()
}

/// What a Job is told.
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

fn verify(args: &Args, text: &str, run: &Run) -> Result<(), Finding> {
    // In a Job nobody can leave it out: what an earlier session restored proves nothing of this one.
    let restored_by = args.run.clone().or_else(|| told(environment::SESSION_UID));
    if let Some(id) = told(environment::RESTIC_SNAPSHOT) {
        run.facts(|facts| facts.snapshot = Some(SnapshotFacts { id, ..SnapshotFacts::default() }));
    }
    let engine = args.connection.engine;
    run.facts(|facts| facts.database = Some(DatabaseFacts { engine: engine.key().to_owned(), ..DatabaseFacts::default() }));
    let invalid = |detail: String| Finding { kind: Cause::VerifierInvalid, path: "spec.query".to_owned(), detail };
    let query = read(text).map_err(invalid)?;
    let plan = Plan::parse(&query, engine).map_err(|error| invalid(error.to_string()))?;
    let asked = ask(args, &plan, restored_by.as_deref())?;
    let judged = judge(&plan, &asked.answers);
    let certain = asked.findings.is_empty();
    asked.findings.into_iter().chain(judged.findings).for_each(|finding| run.findings.push(finding));
    run.facts(|facts| {
        facts.checks = judged.checks;
        if let Some(database) = &mut facts.database {
            database.server = asked.server;
            database.run = restored_by.unwrap_or_default();
        }
    });
    let verdict = run.findings.judge().verdict;
    if certain && verdict == judged.verdict {
        run.has_proven();
    }
    Ok(())
}

fn ask(args: &Args, plan: &Plan, run: Option<&str>) -> Result<Asked, Finding> {
    match plan.engine {
        #[cfg(feature = "postgres")]
        Engine::Postgres => {
            let limit = Duration::from_secs(args.statement_timeout);
            postgres::ask(args.connection.access()?, plan, run, limit)
        }
        #[cfg(not(feature = "postgres"))]
        Engine::Postgres => Err(not_built(plan.engine)),
        Engine::MySql
        | Engine::MariaDb
        | Engine::MongoDb
        | Engine::Elasticsearch
        | Engine::Redis
        | Engine::SingleStore
        | Engine::SqlServer => Err(not_built(plan.engine)),
    }
}

fn not_built(engine: Engine) -> Finding {
    let detail = "this executor was built without it".to_owned();
    Finding { kind: Cause::EngineNotSupported, path: format!("spec.query.{engine}"), detail }
}

/// The query alone, or the query of a whole BackupVerifier.
fn read(text: &str) -> Result<FreeForm, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| format!("the file is no YAML or JSON: {error}"))?;
    let query = match value.get("kind") {
        Some(kind) if kind == "BackupVerifier" => value.pointer("/spec/query").ok_or("the BackupVerifier has no spec.query")?,
        Some(kind) => return Err(format!("the file is a {kind}; give a BackupVerifier, or what stands below its spec.query")),
        None => value.get("query").unwrap_or(&value),
    };
    serde_json::from_value(query.clone()).map_err(|_| "it is no object with an engine as key".to_owned())
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_query_is_found_in_what_holds_it() {
        let query = "postgres: [{database: shop}]";
        for text in [
            query.to_owned(),
            format!("query: {{{query}}}"),
            format!("{{apiVersion: core.kubestash.com/v1alpha1, kind: BackupVerifier, spec: {{type: Query, query: {{{query}}}}}}}"),
            r#"{"postgres":[{"database":"shop"}]}"#.to_owned(),
        ] {
            assert_eq!(read(&text).unwrap()["postgres"][0]["database"], "shop", "{text}");
        }
        for text in ["", "[]", "a: [", "kind: Pod", "{kind: BackupVerifier, spec: {}}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
