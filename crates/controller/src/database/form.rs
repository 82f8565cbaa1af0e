//! The objects that describe a database server, as far as they are read: AppBindings, upstream's database kinds by the AppBinding
//! of their name, and plain Services.

use backproof_api::query::Engine;
use k8s_openapi::ByteString;
use serde::Deserialize;

/// API group of AppBindings.
pub(crate) const CATALOG: &str = "appcatalog.appscode.com";
/// Their kind.
pub(crate) const BINDING: &str = "AppBinding";
/// API group of the databases that KubeDB runs; each has an AppBinding of its name.
const KUBEDB: &str = "kubedb.com";

/// What describes a database that a reference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An AppBinding, or a database kind with an AppBinding of its name.
    Binding,
    /// A Service; user and password are in a Secret that is named beside it.
    Service,
}

/// What describes the database that a reference means; nothing where it means no database that is known here.
pub(crate) fn form(group: &str, kind: &str) -> Option<Form> {
    match (group.split('/').next().unwrap_or_default(), kind) {
        (CATALOG, BINDING) => Some(Form::Binding),
        (KUBEDB, _) => Some(Form::Binding),
        ("" | "core" | "v1", "Service") => Some(Form::Service),
        _ => None,
    }
}

/// `spec` of an AppBinding, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AppBinding {
    /// What it is, such as `kubedb.com/postgres`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) client_config: ClientConfig,
    pub(crate) secret: Option<SecretReference>,
    pub(crate) secret_transforms: Vec<SecretTransform>,
    pub(crate) tls_secret: Option<SecretReference>,
}

/// Where the server is, and how its certificate is checked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClientConfig {
    pub(crate) url: Option<String>,
    pub(crate) service: Option<ServiceReference>,
    #[serde(rename = "insecureSkipTLSVerify")]
    pub(crate) insecure_skip_tls_verify: bool,
    pub(crate) ca_bundle: ByteString,
}

/// A Service of the AppBinding's namespace, or of another.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceReference {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
    /// Parameters of the connection, as in a URL.
    pub(crate) query: String,
}

/// A Secret of the AppBinding's namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SecretReference {
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// What a key of the Secret is called for whoever uses it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SecretTransform {
    pub(crate) rename_key: Option<RenameKey>,
}

/// One key by another name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct RenameKey {
    pub(crate) from: String,
    pub(crate) to: String,
}

impl ClientConfig {
    /// The host that the URL names; none where there is no URL, or none that can be read.
    pub(crate) fn host(&self) -> Option<String> {
        url::Url::parse(self.url.as_deref()?).ok()?.host_str().map(str::to_owned)
    }

    /// Which `sslmode` is asked for, in the URL or beside the Service.
    pub(crate) fn ssl_mode(&self) -> Option<String> {
        let url = self.url.as_deref().and_then(|url| url.split_once('?')).map(|(_, query)| query);
        let beside = self.service.as_ref().map(|service| service.query.as_str());
        let modes = url.into_iter().chain(beside).flat_map(|query| url::form_urlencoded::parse(query.as_bytes()));
        modes.filter(|(name, _)| name == "sslmode").last().map(|(_, mode)| mode.into_owned())
    }
}

impl AppBinding {
    /// Which engine it is of, if `spec.type` tells.
    pub(crate) fn engine(&self) -> Option<Engine> {
        let word = self.kind.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        match word.as_str() {
            "postgres" | "postgresql" => Some(Engine::Postgres),
            word => Engine::ALL.into_iter().find(|engine| engine.key().eq_ignore_ascii_case(word)),
        }
    }

    /// The keys of the Secret that hold user and password.
    pub(crate) fn keys(&self) -> Result<(String, String), String> {
        let renamed: Option<Vec<&RenameKey>> = self.secret_transforms.iter().map(|transform| transform.rename_key.as_ref()).collect();
        let renamed = renamed
            .ok_or("spec.secretTransforms does more than rename keys, which is not supported: put username and password into the Secret")?;
        let key = |wanted: &str| renamed.iter().rev().find(|key| key.to == wanted).map_or(wanted, |key| key.from.as_str()).to_owned();
        Ok((key("username"), key("password")))
    }
}
