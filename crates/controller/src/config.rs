//! Settings of the process, by flag or environment; the chart's values end up here.

use std::{net::SocketAddr, str::FromStr};

use jiff::SignedDuration;

/// Settings of the controller.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "backproof-controller", version, about = "Proves Kubernetes backups restorable")]
pub struct Config {
    /// Namespace the controller runs in; its Leases live there.
    #[arg(long, env = "BACKPROOF_NAMESPACE", default_value = "backproof-system")]
    pub namespace: String,
    /// Pairs of namespaces between which the controller may work, as TARGET=FROM[,FROM]; several are separated by semicolons.
    #[arg(
        long = "allow-cross-namespace",
        env = "BACKPROOF_ALLOW_CROSS_NAMESPACE",
        value_name = "TARGET=FROM[,FROM]",
        value_delimiter = ';'
    )]
    pub cross_namespace: Vec<CrossNamespace>,
    /// Longest a session takes when its BackupVerifier sets no timeout.
    #[arg(long, env = "BACKPROOF_DEFAULT_TIMEOUT", default_value = "6h", value_parser = duration)]
    pub default_timeout: SignedDuration,
    /// Longest a Job may take until its container runs when the BackupVerifier sets no startTimeout.
    #[arg(long, env = "BACKPROOF_DEFAULT_START_TIMEOUT", default_value = "10m", value_parser = duration)]
    pub default_start_timeout: SignedDuration,
    /// Namespaces whose Jobs may ask for more than the restricted Pod Security profile allows.
    #[arg(long, env = "BACKPROOF_UNSAFE_NAMESPACES", value_delimiter = ',')]
    pub unsafe_namespaces: Vec<String>,
    /// The core image: trigger, discovery and the catalog's Functions run from it.
    #[arg(long, env = "BACKPROOF_IMAGE", default_value = "localhost/backproof/backproof:dev")]
    pub image: String,
    /// Whether Functions that are not Backproof's may run.
    #[arg(long, env = "BACKPROOF_FOREIGN_FUNCTIONS")]
    pub foreign_functions: bool,
    /// Whether a success that such a Function reports without a figure counts.
    #[arg(long, env = "BACKPROOF_TRUST_REPORTED_SUCCESS")]
    pub trust_reported_success: bool,
    /// Most objects of one kind that are reconciled at once.
    #[arg(long, env = "BACKPROOF_WORKERS", default_value_t = 8)]
    pub workers: u16,
    /// Most sessions that restore at once, in the whole cluster; 0 means no limit.
    #[arg(long, env = "BACKPROOF_MAX_CONCURRENT_SESSIONS", default_value_t = 0)]
    pub max_sessions: usize,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "BACKPROOF_LISTEN", default_value = "0.0.0.0:8080", value_parser = listen)]
    pub listen: SocketAddr,
    /// Writes the log as JSON.
    #[arg(long, env = "BACKPROOF_LOG_JSON")]
    pub log_json: bool,
}

/// A namespace whose targets may be restored into from other namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossNamespace {
    /// Namespace of the target.
    pub target: String,
    /// Namespaces of the sessions, storages and Secrets that may be used for it.
    pub from: Vec<String>,
}

impl FromStr for CrossNamespace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?}: write TARGET=FROM or TARGET=FROM,FROM with names of namespaces");
        let (target, from) = text.split_once('=').ok_or_else(wrong)?;
        let from: Vec<String> = from.split(',').map(|name| name.trim().to_owned()).collect();
        let target = target.trim().to_owned();
        if target.is_empty() || from.iter().any(String::is_empty) {
            return Err(wrong());
        }
        Ok(Self { target, from })
    }
}

impl Config {
    /// Whether a session of namespace `from` may restore into namespace `target`.
    pub fn may_cross(&self, target: &str, from: &str) -> bool {
        target == from || self.cross_namespace.iter().any(|pair| pair.target == target && pair.from.iter().any(|name| name == from))
    }

    /// Whether Jobs of this namespace may ask for more than the restricted profile allows.
    pub fn allows_unsafe(&self, namespace: &str) -> bool {
        self.unsafe_namespaces.iter().any(|name| name == namespace)
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration: SignedDuration = text.parse().map_err(|error| format!("{error}; write it like 90s, 10m or 6h"))?;
    if duration.is_positive() { Ok(duration) } else { Err("must be longer than nothing".into()) }
}

/// An address; `:8080` means that port on every address, as people write it.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|error| format!("{error}; write ADDRESS:PORT or :PORT"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(args: &[&str]) -> Config {
        Config::try_parse_from(std::iter::once("backproof-controller").chain(args.iter().copied())).unwrap()
    }

    #[test]
    fn defaults() {
        let config = parse(&[]);
        assert_eq!(config.namespace, "backproof-system");
        assert_eq!(config.default_timeout, SignedDuration::from_hours(6));
        assert_eq!(config.default_start_timeout, SignedDuration::from_mins(10));
        assert_eq!((config.workers, config.max_sessions, config.listen.port(), config.foreign_functions), (8, 0, 8080, false));
        assert!(!config.trust_reported_success);
        assert!(config.cross_namespace.is_empty() && config.unsafe_namespaces.is_empty());
    }

    #[test]
    fn pairs_of_namespaces() {
        let config = parse(&["--allow-cross-namespace", "verify=demo,shop;lab=demo", "--unsafe-namespaces", "a,b", "--listen", ":9"]);
        for (target, from, allowed) in [
            ("verify", "demo", true),
            ("verify", "shop", true),
            ("lab", "demo", true),
            ("lab", "shop", false),
            ("x", "demo", false),
            ("x", "x", true),
        ] {
            assert_eq!(config.may_cross(target, from), allowed, "{target} from {from}");
        }
        assert!(config.allows_unsafe("b") && !config.allows_unsafe("c"));
        assert_eq!(config.listen.to_string(), "0.0.0.0:9");
    }

    #[test]
    fn nonsense_is_refused() {
        for args in [
            ["--allow-cross-namespace", "verify"],
            ["--allow-cross-namespace", "=demo"],
            ["--allow-cross-namespace", "v=a,"],
            ["--default-timeout", "soon"],
            ["--default-timeout", "0s"],
            ["--listen", "8080"],
        ] {
            assert!(Config::try_parse_from(["backproof-controller", args[0], args[1]]).is_err(), "{args:?}");
        }
    }
}
