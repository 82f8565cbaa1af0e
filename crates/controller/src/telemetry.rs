//! The log: text for people, JSON for collectors; `RUST_LOG` narrows or widens it. Colours only where a person looks on.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. A second call does nothing.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=warn,kube_runtime=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    // An error means that a test has set a subscriber already.
    let _ = if json { log.json().try_init() } else { log.try_init() };
}
