//! `status`: each Repository with its last proof, and what the newest run found.

use backproof_api::{BackupVerificationSession, Repository, Snapshot, kept};
use jiff::Timestamp;

use crate::{
    cluster::Cluster,
    error::Error,
    find::Invokers,
    options::{Form, Status},
    output,
    records::{self, Run, Standing, World},
};

pub(crate) async fn run(cluster: &Cluster, asked: &Status) -> Result<u8, Error> {
    let place = cluster.place(asked.all_namespaces);
    let mut repositories: Vec<Repository> = match &asked.name {
        Some(name) => {
            let name = name.strip_prefix("repository/").unwrap_or(name);
            let missing = || {
                Error::Reference(format!(
                    "Repository {}/{name} does not exist: correct the name, or give its namespace by -n",
                    cluster.namespace
                ))
            };
            vec![cluster.get("", name).await?.ok_or_else(missing)?]
        }
        None => cluster.list(&place).await?,
    };
    repositories.iter_mut().for_each(|repository| repository.metadata.managed_fields = None);
    let snapshots: Vec<Snapshot> = cluster.list(&place).await?;
    let mut sessions: Vec<BackupVerificationSession> = cluster.list(&place).await?;
    sessions.iter_mut().filter_map(|session| session.status.as_mut()).for_each(kept::unpack);
    let invokers = Invokers::list(cluster, &place).await?;
    let world = World { repositories: &repositories, snapshots: &snapshots, sessions: &sessions, invokers: &invokers };
    let now = Timestamp::now();
    let standings = records::standings(&world, now);
    let text = match asked.output {
        Some(Form::Json) => output::json(&standings)?,
        Some(Form::Yaml) => output::yaml(&standings)?,
        Some(Form::Wide) => table(&standings, Width::Wide, asked.all_namespaces, now),
        None => table(&standings, Width::Narrow, asked.all_namespaces, now),
    };
    if standings.is_empty() && matches!(asked.output, None | Some(Form::Wide)) {
        return output::print(&format!("no Repositories {}\n", place.words())).map(|()| 0);
    }
    output::print(&text).map(|()| 0)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Narrow,
    Wide,
}

fn table(standings: &[Standing], width: Width, namespaces: bool, now: Timestamp) -> String {
    let mut titles = vec!["REPOSITORY", "VERDICT", "CAUSE", "LAST-PROOF", "SNAPSHOT"];
    if width == Width::Wide {
        titles.extend(["RUN", "SESSION", "RUN-SNAPSHOT", "NEWEST-SNAPSHOT", "VERIFIERS", "RUNNING", "HELD-UNTIL"]);
    }
    if namespaces {
        titles.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = standings
        .iter()
        .map(|standing| {
            let run = standing.newest_run.as_ref();
            let proof = standing.last_proof.as_ref();
            let dash =
                |text: Option<String>| text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), |text| output::plain(&text));
            let since = |run: Option<&Run>| run.map(|run| output::age(run.completed, now));
            let mut row = vec![
                standing.repository.clone(),
                run.map_or_else(|| "None".to_owned(), |run| run.verdict.to_string()),
                dash(run.and_then(|run| run.cause).map(|cause| cause.to_string())),
                since(proof).unwrap_or_else(|| "never".to_owned()),
                dash(proof.map(|proof| proof.snapshot.clone())),
            ];
            if width == Width::Wide {
                row.extend([
                    dash(since(run)),
                    dash(run.map(|run| run.session.clone())),
                    dash(run.map(|run| run.snapshot.clone())),
                    dash(standing.newest_snapshot.clone()),
                    dash(Some(standing.verifiers.join(","))),
                    dash(Some(standing.running.join(","))),
                    dash(standing.held_until.clone()),
                ]);
            }
            if namespaces {
                row.insert(0, standing.namespace.clone());
            }
            row
        })
        .collect();
    output::table(&titles, &rows)
}
