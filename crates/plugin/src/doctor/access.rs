//! Whether whoever asks may use the other verbs.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, api::PostParams};

use super::{Findings, Level};
use crate::{
    cluster::{Cluster, Place},
    error::{Error, tried},
    rights::{Reach, Right, Without, rights},
};

/// The verbs of every day. What doctor itself lacks it meets on its way.
const VERBS: [&str; 3] = ["verify", "status", "explain"];

pub(super) async fn look(cluster: &Cluster, findings: &mut Findings, place: &Place) -> Result<(), Error> {
    for right in VERBS.iter().flat_map(|verb| rights(verb)) {
        for resource in right.resources {
            for verb in right.verbs {
                let Some(allowed) = findings.read(may(cluster, place, right, resource, verb).await)? else { return Ok(()) };
                findings.check(allowed, Level::Warning, || lacking(right, resource, verb, place));
            }
        }
    }
    Ok(())
}

fn lacking(right: &Right, resource: &str, verb: &str, place: &Place) -> String {
    let consequence = match right.without {
        Without::Fails => format!("{} does not work", right.verb),
        Without::Lacks(what) => format!("{} works, but {what}", right.verb),
    };
    let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
    let words = if right.reach == Reach::Cluster { String::new() } else { format!(" {}", place.words()) };
    format!("you may not {verb} {resource}{group}{words}: {consequence}; docs/plugin.md has the rights of each verb")
}

async fn may(cluster: &Cluster, place: &Place, right: &Right, resource: &str, verb: &str) -> Result<bool, Error> {
    let (resource, sub) = resource.split_once('/').map_or((resource, None), |(resource, sub)| (resource, Some(sub.to_owned())));
    let namespace = match (right.reach, place) {
        (Reach::Cluster, _) | (Reach::Namespace | Reach::Installation, Place::Everywhere) => None,
        (Reach::Namespace | Reach::Installation, Place::Namespace(name)) => Some(name.clone()),
    };
    let attributes = ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: sub,
        verb: Some(verb.to_owned()),
        namespace,
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = api.create(&PostParams::default(), &review).await.map_err(tried("cannot ask what you may do"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
