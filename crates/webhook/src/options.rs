//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;

use crate::judge::Allowed;

/// Validates BackupVerificationSessions and BackupVerifiers on admission.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Namespace of the Service and of the Secret with the certificate.
    #[arg(long, env = "POD_NAMESPACE", default_value = "backproof-system")]
    pub namespace: String,
    /// Address that admission reviews are served at, over TLS.
    #[arg(long, default_value = "0.0.0.0:9443")]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics, over plain HTTP.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Service the API server calls; the certificate is made for its names.
    #[arg(long, default_value = "backproof-webhook")]
    pub service: String,
    /// Secret that holds CA, certificate and keys; made if it does not exist.
    #[arg(long, default_value = "backproof-webhook-tls")]
    pub secret: String,
    /// ValidatingWebhookConfiguration whose caBundle is kept right.
    #[arg(long, default_value = "backproof-webhook")]
    pub configuration: String,
    /// Directory with tls.crt and tls.key that somebody else keeps, such as cert-manager; then neither Secret nor caBundle is
    /// written here.
    #[arg(long)]
    pub certificate_dir: Option<PathBuf>,
    /// Further DNS name or IP address the certificate is made for; may be given several times.
    #[arg(long = "also-known-as")]
    pub also_known_as: Vec<String>,
    /// TARGET=FROM,FROM: sessions of these namespaces may restore into that one; may be given several times.
    #[arg(long = "allow-cross-namespace")]
    pub allow_cross_namespace: Vec<String>,
    /// Namespaces whose verifiers may ask for more than the restricted Pod Security profile allows.
    #[arg(long, value_delimiter = ',')]
    pub unsafe_namespaces: Vec<String>,
    /// Seconds to go on serving after the signal to stop, until nobody sends requests here any more.
    #[arg(long, default_value_t = 5)]
    pub drain_seconds: u64,
}

impl Options {
    /// Every name the API server may call this service by.
    pub fn names(&self) -> Vec<String> {
        let Self { service, namespace, .. } = self;
        let mut names = vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            service.clone(),
        ];
        names.extend(self.also_known_as.iter().cloned());
        names
    }

    /// What the chart's values allow.
    pub fn allowed(&self) -> Allowed {
        let pairs = |text: &String| {
            let (target, from) = text.split_once('=').unwrap_or((text, ""));
            let target = target.to_owned();
            from.split(',').filter(|from| !from.is_empty()).map(|from| (target.clone(), from.to_owned())).collect::<Vec<_>>()
        };
        Allowed { unsafe_namespaces: self.unsafe_namespaces.clone(), crossing: self.allow_cross_namespace.iter().flat_map(pairs).collect() }
    }

    /// How long to go on serving after the signal to stop.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
