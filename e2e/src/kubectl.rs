//! kubectl, bound to one cluster and one namespace.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Whether the cluster's CRDs are upstream's, which drop our own fields (`hack/upstream-crds.sh`).
pub fn drops_our_fields() -> bool {
    std::env::var("BACKPROOF_CRDS").is_ok_and(|crds| crds == "upstream")
}

/// kubectl of the cluster under test; the environment's own KUBECONFIG is never looked at.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// From `BACKPROOF_KUBECONFIG` (set by the Makefile) and the kubectl the Makefile built, `BACKPROOF_KUBECTL`.
    pub fn from_env() -> Result<Self> {
        let path = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .with_context(|| format!("{name} is not set: run `make test-e2e` or `make demo`, which bring a cluster up"))
        };
        Ok(Self { program: path("BACKPROOF_KUBECTL")?, kubeconfig: path("BACKPROOF_KUBECONFIG")?, namespace: "default".into() })
    }

    /// The same for another namespace.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Self {
        Self { namespace: name.into(), ..self.clone() }
    }

    /// The namespace commands run in.
    pub fn in_namespace(&self) -> &str {
        &self.namespace
    }

    fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("KUBECONFIG").arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]).args(args);
        command
    }

    /// Runs a command and returns what it printed, whatever its exit code.
    pub fn output(&self, args: &[&str], input: Option<&str>) -> Result<Output> {
        let mut child = self
            .command(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(text.as_bytes())?;
        }
        Ok(child.wait_with_output()?)
    }

    /// Runs a command that must succeed and returns its standard output.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        checked(args, &self.output(args, None)?)
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        // What the schema does not know is dropped with a warning, as for people who use upstream's manifests with it.
        let args = if drops_our_fields() { &["apply", "--validate=warn", "-f", "-"][..] } else { &["apply", "-f", "-"] };
        checked(args, &self.output(args, Some(manifest))?).with_context(|| manifest.lines().take(12).collect::<Vec<_>>().join("\n"))
    }

    /// Creates a manifest and returns the refusal, or an error when it was not refused.
    pub fn refused(&self, manifest: &str) -> Result<String> {
        let output = self.output(&["create", "-f", "-"], Some(manifest))?;
        if output.status.success() {
            bail!("accepted, although it should be refused: {}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// An object as JSON; `None` when it does not exist.
    pub fn find(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self.run(&["get", kind, name, "--ignore-not-found", "-o", "json"])?;
        if text.trim().is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&text)?)) }
    }

    /// An object as JSON, which must exist.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        self.find(kind, name)?.with_context(|| format!("{kind} {}/{name} does not exist", self.namespace))
    }

    /// Objects as JSON, by selector flags.
    pub fn list(&self, kind: &str, flags: &[&str]) -> Result<Vec<Value>> {
        let args: Vec<&str> = ["get", kind, "-o", "json"].into_iter().chain(flags.iter().copied()).collect();
        let mut list: Value = serde_json::from_str(&self.run(&args)?)?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }
}

fn checked(args: &[&str], output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!("kubectl {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
