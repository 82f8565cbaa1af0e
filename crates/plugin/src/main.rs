//! `kubectl-backproof`, which kubectl runs as `kubectl backproof`.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use backproof_plugin::{error::USAGE, options::Options};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // A closed terminal changes nothing about the answer.
            let _ = error.print();
            // clap's own code is 2, which means Inconclusive here.
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match backproof_plugin::run(options, std::io::stderr().is_terminal()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.code())
        }
    }
}
