//! `verify`: creates a session as people do by hand, follows it to its end, and makes its verdict the exit code.
//!
//! Invariant: 0 is said only of a session of ours that is finished, Succeeded and Verified, or Skipped for a proof that holds.

mod follow;
mod progress;
mod verdict;

use std::collections::BTreeMap;

use backproof_api::{BackupVerificationSession, BackupVerificationSessionSpec, labels, names};
use jiff::Timestamp;
use kube::{ResourceExt as _, api::PostParams};

use crate::{
    cluster::{Cluster, Place},
    error::{Error, tried},
    find::{self, Invokers},
    options::Verify,
    output,
};

pub(crate) use progress::Watcher;

/// As many names are tried as sessions may have been made in the same second and the next ones.
const NAMES: i64 = 10;

pub(crate) async fn run(cluster: &Cluster, asked: &Verify, watcher: Watcher) -> Result<u8, Error> {
    let wanted = find::wanted(cluster, &asked.name).await?;
    let invokers = Invokers::list(cluster, &Place::Namespace(cluster.namespace.clone())).await?;
    let spec = find::session(&wanted, &invokers, asked)?;
    let created = create(cluster, spec, asked).await?;
    let name = format!("{}/{}", cluster.namespace, created.name_any());
    if asked.no_wait {
        return output::print(&format!("{name}\n")).map(|()| 0);
    }
    match follow::to_the_end(cluster, &created, asked.timeout, watcher).await? {
        follow::End::Finished(session) => {
            let judged = verdict::judge(&session)?;
            output::print(&verdict::text(&session)).map(|()| judged.code())
        }
        follow::End::Late(why) => {
            output::print(&format!("session      {name}\nverdict      none in time\nmessage      {}\n", output::plain(&why)))?;
            Ok(verdict::LATE)
        }
    }
}

async fn create(cluster: &Cluster, spec: BackupVerificationSessionSpec, asked: &Verify) -> Result<BackupVerificationSession, Error> {
    let api = cluster.own::<BackupVerificationSession>();
    let now = Timestamp::now().as_second();
    let mut tries = 0;
    loop {
        let mut session = BackupVerificationSession::new(&names::session(&spec.repository, &spec.session, now + tries), spec.clone());
        if !asked.accept_proof {
            session.metadata.annotations = Some(BTreeMap::from([(labels::REVERIFY.to_owned(), "true".to_owned())]));
        }
        let what = format!("cannot create BackupVerificationSession {}/{}", cluster.namespace, session.name_any());
        match api.create(&PostParams::default(), &session).await {
            Ok(created) => return Ok(created),
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" && tries < NAMES => tries += 1,
            Err(error) => return Err(tried(what)(error)),
        }
    }
}
