//! ServiceAccount and RoleBinding of what may talk to the API server: one pair per namespace and purpose, shared by all that
//! need it there, so owned by nobody.

use std::sync::Arc;

use backproof_api::labels;
use k8s_openapi::{
    api::{
        core::v1::ServiceAccount,
        rbac::v1::{RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::same::covers;
use crate::{Error, cache::Caches};

/// Field manager of these objects.
const MANAGER: &str = "backproof-account";

/// Who needs an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// CronJobs of verifiers, to create sessions.
    Trigger,
    /// Discovery Jobs, to create Snapshots.
    Discovery,
}

impl Purpose {
    /// Name of ServiceAccount, RoleBinding and ClusterRole.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trigger => labels::TRIGGER,
            Self::Discovery => labels::DISCOVERER,
        }
    }

    fn component(self) -> &'static str {
        match self {
            Self::Trigger => labels::COMPONENT_VERIFIER,
            Self::Discovery => labels::COMPONENT_DISCOVERY,
        }
    }

    fn meta(self, namespace: &str) -> ObjectMeta {
        let labels = [(labels::MANAGED_BY, labels::MANAGED_BY_VALUE), (labels::COMPONENT, self.component())];
        ObjectMeta {
            name: Some(self.name().to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        }
    }

    fn account(self, namespace: &str) -> ServiceAccount {
        // Only the pods that say so themselves get a token.
        ServiceAccount { metadata: self.meta(namespace), automount_service_account_token: Some(false), ..ServiceAccount::default() }
    }

    fn binding(self, namespace: &str) -> RoleBinding {
        let name = self.name().to_owned();
        RoleBinding {
            metadata: self.meta(namespace),
            role_ref: RoleRef { api_group: "rbac.authorization.k8s.io".into(), kind: "ClusterRole".into(), name: name.clone() },
            subjects: Some(vec![Subject { kind: "ServiceAccount".into(), name, namespace: Some(namespace.to_owned()), api_group: None }]),
        }
    }
}

/// What is known of the accounts of one purpose.
#[derive(Clone)]
pub(crate) struct Accounts {
    purpose: Purpose,
    accounts: Store<ServiceAccount>,
    bindings: Store<RoleBinding>,
}

impl Accounts {
    /// Watches those of this purpose; `changed` is told the namespace.
    pub(crate) fn watch(caches: &mut Caches, purpose: Purpose, changed: impl Fn(&str) + Clone + Send + 'static) -> Self {
        let selection = watcher::Config::default().labels(&format!("{}={}", labels::COMPONENT, purpose.component()));
        let also = changed.clone();
        Self {
            purpose,
            accounts: caches.watch(selection.clone(), move |account: &ServiceAccount| {
                changed(account.metadata.namespace.as_deref().unwrap_or_default())
            }),
            bindings: caches.watch(selection, move |binding: &RoleBinding| also(binding.metadata.namespace.as_deref().unwrap_or_default())),
        }
    }

    /// Completes once the caches are filled; `false` when a watch is gone.
    pub(crate) async fn ready(&self) -> bool {
        self.accounts.wait_until_ready().await.is_ok() && self.bindings.wait_until_ready().await.is_ok()
    }

    /// Makes both, whatever the caches say: they may lag behind [`Self::withdraw`].
    pub(crate) async fn grant(&self, client: &Client, namespace: &str) -> Result<(), Error> {
        let named = self.purpose.name();
        let account = self.purpose.account(namespace);
        if !is_there(self.accounts.get(&ObjectRef::new(named).within(namespace)), &account) {
            apply(client, namespace, named, &account).await?;
        }
        apply(client, namespace, named, &self.purpose.binding(namespace)).await
    }

    /// Takes the rights back: whoever may create pods may run as the account, so it has none while nobody needs them.
    pub(crate) async fn withdraw(&self, client: &Client, namespace: &str) -> Result<(), Error> {
        let named = self.purpose.name();
        let api: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
        let what = format!("delete RoleBinding {namespace}/{named}");
        match api.delete(named, &DeleteParams::default()).await.map_err(Error::api(what)) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the rights are there, as far as the cache knows.
    pub(crate) fn is_granted(&self, namespace: &str) -> bool {
        self.bindings.get(&ObjectRef::new(self.purpose.name()).within(namespace)).is_some()
    }

    /// Makes what is missing or was changed.
    pub(crate) async fn ensure(&self, client: &Client, namespace: &str) -> Result<(), Error> {
        let named = self.purpose.name();
        let account = self.purpose.account(namespace);
        if !is_there(self.accounts.get(&ObjectRef::new(named).within(namespace)), &account) {
            apply(client, namespace, named, &account).await?;
        }
        let binding = self.purpose.binding(namespace);
        if !is_there(self.bindings.get(&ObjectRef::new(named).within(namespace)), &binding) {
            apply(client, namespace, named, &binding).await?;
        }
        Ok(())
    }
}

fn is_there<K: Serialize>(found: Option<Arc<K>>, wanted: &K) -> bool {
    found.is_some_and(|found| match (serde_json::to_value(&*found), serde_json::to_value(wanted)) {
        (Ok(found), Ok(wanted)) => covers(&found, &wanted),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    })
}

async fn apply<K>(client: &Client, namespace: &str, name: &str, wanted: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let what = format!("apply {} {namespace}/{name}", K::kind(&()));
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(wanted)).await.map_err(Error::api(what))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pair_of_a_namespace() {
        let meta = json!({"name": "backproof-trigger", "namespace": "demo", "labels": {
            "app.kubernetes.io/managed-by": "kubestash.com", "app.kubernetes.io/component": "kubestash-backup-verifier"}});
        assert_eq!(
            serde_json::to_value(Purpose::Trigger.account("demo")).unwrap(),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, "automountServiceAccountToken": false})
        );
        assert_eq!(
            serde_json::to_value(Purpose::Trigger.binding("demo")).unwrap(),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "backproof-trigger"},
                "subjects": [{"kind": "ServiceAccount", "name": "backproof-trigger", "namespace": "demo"}]})
        );
    }

    #[test]
    fn a_binding_somebody_emptied_is_made_again() {
        let wanted = Purpose::Discovery.binding("demo");
        let mut found = wanted.clone();
        found.metadata.resource_version = Some("5".into());
        assert!(is_there(Some(Arc::new(found.clone())), &wanted));
        found.subjects = Some(Vec::new());
        assert!(!is_there(Some(Arc::new(found)), &wanted));
        assert!(!is_there(None, &wanted));
    }
}
