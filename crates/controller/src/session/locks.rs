//! The lock on a session's target: taken, asked after, given back.

use std::{sync::Arc, time::Duration};

use backproof_api::BackupVerificationSession;
use jiff::Timestamp;
use kube::{Api, ResourceExt as _, runtime::reflector::ObjectRef};

use super::{
    apply::as_meant,
    driver::Driver,
    history,
    stage::{Stage, stage},
    wipe,
};
use crate::{
    Error,
    lease::{self, Held, Holder, Lock},
    shared::Session,
};

/// How soon locks are looked through after a session went without giving its lock back, and how often from then on.
const FIRST_SWEEP: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(600);

impl Driver {
    /// Tries to take the lock on the target.
    pub(super) async fn acquire(&self, session: &BackupVerificationSession, now: Timestamp) -> Result<Lock, Error> {
        let Stage::Running(run) = stage(session) else { return Ok(Lock::NotRead) };
        let own =
            Holder { uid: session.uid().unwrap_or_default(), namespace: session.namespace().unwrap_or_default(), name: session.name_any() };
        let lease = lease::name(&run.verifier.target);
        let reference = ObjectRef::new(&own.name).within(&own.namespace);
        let lives =
            |uid: &str, session: &ObjectRef<_>| self.sessions.get(session).is_some_and(|session| session.uid().as_deref() == Some(uid));
        if let Err(running) = self.memory.slots.enter(&own.uid, history::order(session), reference.clone(), lives) {
            return Ok(Lock::Full(running));
        }
        // Before it is asked for: should the answer be lost, the lock is given back all the same.
        self.memory.took(&own.uid, &lease);
        let (lock, made) = lease::acquire(&self.context, &run.verifier.target, &own, now).await?;
        match lock {
            Lock::Mine => {
                if made.is_some() {
                    self.memory.made(&own.uid, &lease, made);
                }
                Ok(Lock::Mine)
            }
            Lock::Held(mut held) => {
                self.memory.has_not(&own.uid);
                self.memory.leaves(&own.uid);
                self.memory.waits(reference, &lease);
                held.alive = self.is_alive(&held.holder).await?;
                if !held.alive {
                    held.pods = self.busy(&held, &run.verifier.target.object.namespace, now).await?;
                }
                Ok(Lock::Held(held))
            }
            other @ (Lock::Free | Lock::NotRead | Lock::Full(_)) => Ok(other),
        }
    }

    /// Whether the session that has a lock is there and unfinished.
    pub(super) async fn is_alive(&self, holder: &Holder) -> Result<bool, Error> {
        let api: Api<Session> = Api::namespaced(self.context.client.clone(), &holder.namespace);
        let found = api
            .get_opt(&holder.name)
            .await
            .map_err(Error::api(format!("get BackupVerificationSession {}/{}", holder.namespace, holder.name)))?;
        Ok(match found.filter(|found| found.uid().as_deref() == Some(holder.uid.as_str())) {
            None => false,
            Some(guarded) => match guarded.0 {
                Ok(session) => may_run(&as_meant(session), self.context.clock.now()),
                // What cannot be read may still run.
                Err(_) => true,
            },
        })
    }

    /// What the holder of a lock, which is finished or gone, still has that may touch the target: pods that are not gone,
    /// Jobs that may make one (they are told to end), and what nobody may look at.
    pub(super) async fn busy(&self, held: &Held, target_namespace: &str, now: Timestamp) -> Result<Vec<String>, Error> {
        let mut places = vec![held.holder.namespace.clone(), target_namespace.to_owned()];
        places.retain(|place| !place.is_empty());
        places.dedup();
        let remains = self.remains(&held.holder.uid, &places, now).await?;
        if !remains.working.is_empty() {
            self.delete_jobs_in(&held.holder.uid, &places, false, now).await?;
        }
        Ok(remains.busy())
    }

    /// Gives the lock back.
    pub(super) async fn release(&self, session: &BackupVerificationSession) -> Result<(), Error> {
        let (Stage::Done(run) | Stage::Deleting(Some(run))) = stage(session) else { return Ok(()) };
        let (uid, lease) = (session.uid().unwrap_or_default(), lease::name(&run.verifier.target));
        lease::release(&self.context, &lease, &uid, self.memory.lease_of(&uid, &lease)).await?;
        self.memory.gave_back(&uid, &lease);
        Ok(())
    }

    /// Before anything is decided: who has a lock has a slot, until it is seen to be finished.
    pub(super) async fn recall(&self) {
        let held = loop {
            match lease::list(&self.context).await {
                Ok(held) => break held,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "cannot read the target locks; trying again");
                    tokio::time::sleep(error.class().requeue()).await;
                }
            }
        };
        for (lease, holder) in held {
            self.memory.took(&holder.uid, &lease);
            self.memory.slots.had(&holder.uid, ObjectRef::new(&holder.name).within(&holder.namespace));
        }
    }

    /// Keeps locks from staying behind: looks through them after the start, and from when a session went without giving its lock
    /// back until none is left without a session.
    pub(super) async fn keep_swept(self: &Arc<Self>) {
        loop {
            if self.sweep().await {
                tokio::time::sleep(SWEEP).await;
            } else {
                self.memory.lock_left.notified().await;
                tokio::time::sleep(FIRST_SWEEP).await;
            }
        }
    }

    /// Finished sessions that still hold a lock are looked at again, locks without a session are removed. Returns whether to look
    /// again later.
    pub(super) async fn sweep(self: &Arc<Self>) -> bool {
        self.swept(self.context.clock.now()).await.unwrap_or_else(|error| {
            tracing::warn!(error = error.chain(), "cannot look through the target locks; whoever waits for one looks by itself");
            true
        })
    }

    /// Whether a lock without a session had to stay, as its pods may still run.
    async fn swept(&self, now: Timestamp) -> Result<bool, Error> {
        let mut stays = false;
        for (lease, holder) in lease::list(&self.context).await? {
            self.memory.nudge(ObjectRef::new(&holder.name).within(&holder.namespace));
            let known = self.sessions.find(|session| session.uid().as_deref() == Some(holder.uid.as_str())).is_some();
            if known || self.is_alive(&holder).await? {
                continue;
            }
            if let Lock::Held(held) = lease::read(&self.context, &lease, "").await?
                && self.busy(&held, &holder.namespace, now).await?.is_empty()
            {
                lease::evict(&self.context, &held).await?;
            } else {
                stays = true;
            }
        }
        Ok(stays)
    }
}

/// Whether a session may still touch its target by itself.
fn may_run(session: &BackupVerificationSession, now: Timestamp) -> bool {
    match stage(session) {
        // A finished one still has the target while it is wiped; whoever came in between would lose it.
        Stage::Done(run) => wipe::may_run(session, &run, now),
        Stage::Gone => false,
        Stage::Foreign | Stage::Deleting(_) | Stage::Unpinned | Stage::Contradicted(_) | Stage::Running(_) | Stage::Judged(..) => true,
    }
}
