//! A certificate that somebody else keeps, such as cert-manager: read from files, served as soon as they change.
//!
//! Invariant: nothing is written here, neither Secret nor registration. What the API server trusts is what the registration
//! says, so that is what readiness shakes hands by.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, Client, core::PartialObjectMeta};

use crate::{Error, Options, certificate::Material, health::Health, keeper::changes};

/// How often the files are looked at; the kubelet takes longer to change them.
const EVERY: Duration = Duration::from_secs(2);

/// The loop and all it needs.
pub struct Files {
    client: Client,
    configuration: String,
    directory: PathBuf,
    health: Arc<Health>,
    last: Option<Material>,
    bundle: Option<String>,
}

impl Files {
    /// Serves what is in this directory: `tls.crt` and `tls.key`.
    pub fn new(client: Client, options: &Options, directory: PathBuf, health: Arc<Health>) -> Self {
        Self { client, configuration: options.configuration.clone(), directory, health, last: None, bundle: None }
    }

    /// Runs as long as the process does.
    pub async fn run(mut self) -> Error {
        let configurations = Api::<PartialObjectMeta<ValidatingWebhookConfiguration>>::all(self.client.clone());
        let mut changes = changes(configurations, &self.configuration);
        let mut told = None;
        loop {
            let fault = self.look().await.err().map(|error| error.chain());
            if fault != told {
                if let Some(fault) = &fault {
                    tracing::warn!("{fault}; looking again every {} s", EVERY.as_secs());
                }
                told = fault;
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                change = changes.next() => {
                    if change.is_none() {
                        return Error::Ended { task: "watch of the webhook configuration", why: "no more events".to_owned() };
                    }
                    self.bundle = None;
                }
            }
            // Several changes at once need one look.
            while changes.next().now_or_never().flatten().is_some() {
                self.bundle = None;
            }
        }
    }

    /// Looks at files and registration once, and serves what is new.
    async fn look(&mut self) -> Result<(), Error> {
        let now = Timestamp::now();
        if self.bundle.is_none() {
            self.bundle = Some(self.trusted().await?);
        }
        let bundle = self.bundle.clone().unwrap_or_default();
        self.health.registered.store(!bundle.is_empty(), Ordering::Release);
        let (certificate, key) = (self.read("tls.crt").await?, self.read("tls.key").await?);
        let material = Material { bundle, ca_key: String::new(), certificate, key };
        if self.last.as_ref() == Some(&material) {
            return Ok(());
        }
        // Half of a pair that is just being replaced is a fault for as long as it takes; what is served goes on until then.
        self.health.serving.serve(&material)?;
        self.health.serving.stored(&material, now);
        tracing::info!("serving the certificate of {}", self.directory.display());
        self.last = Some(material);
        Ok(())
    }

    /// The CAs by which the API server judges us; empty unless every webhook has some, and the same.
    async fn trusted(&self) -> Result<String, Error> {
        let name = &self.configuration;
        let what = format!("read ValidatingWebhookConfiguration {name}");
        let found = Api::<ValidatingWebhookConfiguration>::all(self.client.clone()).get_opt(name).await.map_err(Error::api(what))?;
        let Some(found) = found else { return Err(Error::NotRegistered { name: name.clone() }) };
        let mut bundles: Vec<_> =
            found.webhooks.into_iter().flatten().map(|webhook| webhook.client_config.ca_bundle.unwrap_or_default().0).collect();
        bundles.dedup();
        match <[Vec<u8>; 1]>::try_from(bundles) {
            Ok([only]) => Ok(String::from_utf8_lossy(&only).into_owned()),
            Err(_) => Ok(String::new()),
        }
    }

    async fn read(&self, file: &str) -> Result<String, Error> {
        let path: PathBuf = Path::join(&self.directory, file);
        let failed = |source| Error::Start { what: format!("read {}", path.display()), source };
        tokio::fs::read_to_string(&path).await.map_err(failed)
    }
}
