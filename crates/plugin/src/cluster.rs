//! The cluster that kubectl would use, and reading from it.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Config, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

use crate::{
    error::{Error, tried},
    options::Connection,
};

/// A connection, and the namespace to work in.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Address of the API server.
    pub(crate) server: String,
}

/// Where objects are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One namespace.
    Namespace(String),
    /// All of them.
    Everywhere,
}

impl Place {
    /// In words, behind the name of a kind.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Namespace(name) => format!("in namespace {name}"),
            Self::Everywhere => "in all namespaces".to_owned(),
        }
    }
}

impl Cluster {
    /// Connects as kubectl does: by flag, `KUBECONFIG`, `~/.kube/config`, or from inside a pod.
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, Error> {
        let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
        let config = match (&connection.kubeconfig, &connection.context) {
            (Some(file), _) => match Kubeconfig::read_from(file) {
                Ok(read) => Config::from_custom_kubeconfig(read, &options).await.map_err(|error| error.to_string()),
                Err(error) => Err(format!("{}: {error}", file.display())),
            },
            (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| error.to_string()),
            (None, None) => Config::infer().await.map_err(|error| error.to_string()),
        };
        let mut config = config.map_err(|error| Error::local("cannot read the kubeconfig", error))?;
        config.connect_timeout = Some(Duration::from_secs(15));
        config.read_timeout = Some(Duration::from_secs(60));
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| Error::local("cannot use the kubeconfig", error))?;
        Ok(Self { client, namespace, server })
    }

    /// Objects of the namespace to work in.
    pub(crate) fn own<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        self.within(&self.namespace)
    }

    /// Objects of a namespace; an empty one is that to work in.
    pub(crate) fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), if namespace.is_empty() { &self.namespace } else { namespace })
    }

    /// The place that was asked for.
    pub(crate) fn place(&self, all_namespaces: bool) -> Place {
        if all_namespaces { Place::Everywhere } else { Place::Namespace(self.namespace.clone()) }
    }

    /// All objects of a kind in a place, by namespace and name.
    pub(crate) async fn list<K>(&self, place: &Place) -> Result<Vec<K>, Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api = match place {
            Place::Namespace(name) => Api::namespaced(self.client.clone(), name),
            Place::Everywhere => Api::all(self.client.clone()),
        };
        let what = format!("cannot list {} {}", K::plural(&()), place.words());
        Ok(api.list(&ListParams::default()).await.map_err(tried(what))?.items)
    }

    /// One object, or nothing if it does not exist.
    pub(crate) async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = self.within(namespace);
        let namespace = if namespace.is_empty() { &self.namespace } else { namespace };
        let what = format!("cannot get {} {namespace}/{name}", K::kind(&()));
        // A name that cannot be one would be taken for a path.
        if !backproof_api::names::is_object_name(name) {
            return Ok(None);
        }
        api.get_opt(name).await.map_err(tried(what))
    }
}
