//! The lock on a target: one Lease per resolved target in the controller's namespace, held by the UID of a session.
//!
//! It is taken by POST, so that two can never have it, and given back by a DELETE bound to the version that was read. It does
//! not expire by time: it is held until every pod of its holder is gone, however long that takes.

use backproof_api::{labels, names, run::PinnedTarget};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions},
};

use crate::{Context, Error};

/// Annotation: namespace and name of the session that holds the lock.
const HOLDER: &str = "backproof.dev/holder";
/// Annotation: the target, for people.
const TARGET: &str = "backproof.dev/target";
/// Value of the component label on these Leases.
const COMPONENT: &str = "backproof-target-lock";

/// Who asks for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// UID of the session.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What was seen of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// Nobody looked.
    #[default]
    NotRead,
    /// It was free a moment ago.
    Free,
    /// The session that asks has it.
    Mine,
    /// Somebody else has it.
    Held(Box<Held>),
    /// As many sessions run as may; these.
    Full(Vec<String>),
}

/// A lock that somebody else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Name of the Lease.
    pub lease: String,
    /// UID of the Lease.
    pub uid: String,
    /// The version that was read.
    pub version: String,
    /// Who has it.
    pub holder: Holder,
    /// Whether that session is there and unfinished.
    pub alive: bool,
    /// Its pods that are not gone, with their nodes.
    pub pods: Vec<String>,
}

/// Name of the Lease of a target.
pub fn name(target: &PinnedTarget) -> String {
    let object = &target.object;
    if let Some(database) = &target.database {
        // By whatever objects it is reached.
        let hash = names::hash(&["database", &crate::database::normal(&database.host), &database.port.to_string(), &database.name]);
        return format!("target-{}", &hash[..40]);
    }
    let hash = names::hash(&[&target.api_group, &target.kind, &object.namespace, &object.name, &object.uid]);
    format!("target-{}", &hash[..40])
}

/// Tries to take the lock of a target: `Mine`, or who has it; `alive` and `pods` of a holder are left for the caller to find out.
/// With it the UID of the Lease, if it was made just now.
pub async fn acquire(context: &Context, target: &PinnedTarget, holder: &Holder, now: Timestamp) -> Result<(Lock, Option<String>), Error> {
    let leases = api(context);
    let lease = lease(target, holder, now);
    let what = format!("create Lease {}/{}", context.config.namespace, lease.name_any());
    match leases.create(&PostParams::default(), &lease).await {
        Ok(made) => Ok((Lock::Mine, made.uid())),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok((read(context, &lease.name_any(), &holder.uid).await?, None)),
        Err(error) => Err(Error::api(what)(error)),
    }
}

/// Who has the lock of this name.
pub async fn read(context: &Context, name: &str, own_uid: &str) -> Result<Lock, Error> {
    let what = format!("get Lease {}/{name}", context.config.namespace);
    let Some(lease) = api(context).get_opt(name).await.map_err(Error::api(what))? else { return Ok(Lock::Free) };
    let holder = holder(&lease);
    if holder.uid == own_uid {
        return Ok(Lock::Mine);
    }
    Ok(Lock::Held(Box::new(Held {
        lease: name.to_owned(),
        uid: lease.uid().unwrap_or_default(),
        version: lease.resource_version().unwrap_or_default(),
        holder,
        alive: true,
        pods: Vec::new(),
    })))
}

/// Gives the lock back if this session has it; that somebody else has it, or nobody, is fine. The Lease of the UID `made` is
/// known to be this session's; any other is looked at first.
pub async fn release(context: &Context, name: &str, own_uid: &str, made: Option<String>) -> Result<(), Error> {
    if made.is_some() {
        match remove(context, name, made, None).await {
            Err(error) if error.is_conflict() => {}
            outcome => return outcome,
        }
    }
    let what = format!("get Lease {}/{name}", context.config.namespace);
    match api(context).get_opt(name).await.map_err(Error::api(what))? {
        Some(lease) if holder(&lease).uid == own_uid => remove(context, name, lease.uid(), lease.resource_version()).await,
        Some(_) | None => Ok(()),
    }
}

/// Removes a lock whose holder is gone, exactly as it was read.
pub async fn evict(context: &Context, held: &Held) -> Result<(), Error> {
    match remove(context, &held.lease, Some(held.uid.clone()), Some(held.version.clone())).await {
        // Taken by another one meanwhile: it is not this holder's any more.
        Err(error) if error.is_conflict() => Ok(()),
        outcome => outcome,
    }
}

/// Every lock there is, with its holder.
pub async fn list(context: &Context) -> Result<Vec<(String, Holder)>, Error> {
    let selector = ListParams::default().labels(&format!("{}={COMPONENT}", labels::COMPONENT));
    let what = format!("list Leases in namespace {}", context.config.namespace);
    let leases = api(context).list(&selector).await.map_err(Error::api(what))?;
    Ok(leases.items.iter().map(|lease| (lease.name_any(), holder(lease))).collect())
}

async fn remove(context: &Context, name: &str, uid: Option<String>, version: Option<String>) -> Result<(), Error> {
    let exactly = DeleteParams::background().preconditions(Preconditions { uid, resource_version: version });
    match api(context).delete(name, &exactly).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::api(format!("delete Lease {}/{name}", context.config.namespace))(error)),
    }
}

fn api(context: &Context) -> Api<Lease> {
    Api::namespaced(context.client.clone(), &context.config.namespace)
}

fn lease(target: &PinnedTarget, holder: &Holder, now: Timestamp) -> Lease {
    let pairs = |pairs: &[(&str, &str)]| Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
    Lease {
        metadata: ObjectMeta {
            name: Some(name(target)),
            labels: pairs(&[
                (labels::MANAGED_BY, labels::MANAGED_BY_VALUE),
                (labels::COMPONENT, COMPONENT),
                (labels::SESSION_UID, &holder.uid),
            ]),
            annotations: pairs(&[
                (HOLDER, &format!("{}/{}", holder.namespace, holder.name)),
                (TARGET, &format!("{} {}/{}", target.kind, target.object.namespace, target.object.name)),
            ]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec { holder_identity: Some(holder.uid.clone()), acquire_time: Some(MicroTime(now)), ..LeaseSpec::default() }),
    }
}

fn holder(lease: &Lease) -> Holder {
    let session = lease.annotations().get(HOLDER).cloned().unwrap_or_default();
    let (namespace, name) = session.split_once('/').unwrap_or_default();
    Holder {
        uid: lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use backproof_api::run::PinnedObject;

    use super::*;

    #[test]
    fn a_target_made_again_is_another_target() {
        let target = |uid: &str| PinnedTarget {
            kind: "PersistentVolumeClaim".into(),
            object: PinnedObject { namespace: "demo".into(), name: "scratch".into(), uid: uid.into(), generation: 0 },
            ..PinnedTarget::default()
        };
        assert_eq!(name(&target("a")), name(&target("a")));
        assert_ne!(name(&target("a")), name(&target("b")));
        assert!(name(&target("a")).len() <= 63);
    }

    #[test]
    fn a_lease_names_its_holder() {
        let who = Holder { uid: "u".into(), namespace: "demo".into(), name: "s".into() };
        assert_eq!(holder(&lease(&PinnedTarget::default(), &who, Timestamp::UNIX_EPOCH)), who);
    }
}
