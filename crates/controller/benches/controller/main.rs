//! What the controller costs, beside a floor controller of our own in the same run: R1 to R8 and R10 of the design, and a
//! fleet. Run by `hack/bench-controller.sh`. Jobs are ended by a stand-in for Job controller and kubelet (`jobs`); everything
//! else is real: etcd, kube-apiserver, and the controller as the process that is shipped.

// Whole objects as JSON literals.
#![recursion_limit = "256"]

mod eyes;
mod figures;
mod fleet;
mod floor;
#[path = "../../tests/cluster/jobs.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod jobs;
#[path = "../../tests/cluster/replica.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod replica;
mod rounds;
mod standin;
mod world;

use anyhow::Result;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // The floor is this program again, as a process of its own.
    if let Some(kubeconfig) = std::env::var_os(floor::KUBECONFIG) {
        return runtime.block_on(floor::run(kubeconfig.as_ref()));
    }
    let part = |name: &str| std::env::var("PARTS").map_or(true, |parts| parts.split(',').any(|part| part == name));
    runtime.block_on(async {
        if part("rounds") {
            rounds::run().await?;
        }
        if part("fleet") {
            fleet::run().await?;
        }
        Ok(())
    })
}
