//! `cargo xtask generate`: writes what is generated into the tree; `--check` fails on drift instead.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of this repository")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Writes CRDs and rights into the chart, JSON schemas and API reference into docs.
    Generate {
        /// Writes nothing; fails if any file differs from what would be written.
        #[arg(long)]
        check: bool,
        /// Root of the repository.
        #[arg(long, default_value_os_t = xtask::root())]
        root: PathBuf,
    },
    /// Writes what the schemas of this version promise, when it is released; later ones are compared with it.
    Baseline,
    /// Writes the CRDs without the fields that are Backproof's, as upstream defines them: to try a cluster that drops those.
    UpstreamCrds {
        /// Where to.
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Generate { check: true, root } => xtask::check(&root),
        Task::Generate { check: false, root } => xtask::write(&root),
        Task::Baseline => xtask::write_baseline(&xtask::root()),
        Task::UpstreamCrds { directory } => xtask::write_upstream(&directory),
    };
    match outcome {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
