//! API server and etcd killed or frozen while sessions run, with the controller as it is installed.

use std::time::Duration;

use backproof_e2e::Kubectl;

use super::{
    fleet::{Fleet, told},
    node::{Component, await_api},
};
use crate::fixture::LIMIT;

/// How often the controller's container was started again.
fn restarts() -> u64 {
    let system = Kubectl::from_env().unwrap().namespace("backproof-system");
    let pods = system.list("pods", &["-l", "app.kubernetes.io/component=controller"]).unwrap();
    assert_eq!(pods.len(), 1, "one controller");
    pods[0]["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0)
}

/// Runs a round of sessions while something is done to the control plane.
fn survives(test: &str, size: usize, fault: impl FnOnce()) {
    let fleet = Fleet::new(test, size);
    let before = restarts();
    let names = fleet.round("r");
    std::thread::sleep(Duration::from_secs(2));
    fault();
    await_api(LIMIT);
    fleet.must_end_rightly(&names);
    let again = restarts() - before;
    assert!(again <= 1, "the controller was started {again} times more");
    for ((session, reason), times) in told(&fleet.fixture) {
        assert!(times <= 3, "{session} tells {reason} {times} times");
    }
    println!("{test}: {} sessions ended rightly, the controller was started {again} times more", names.len());
}

#[test]
#[ignore = "long: kills the API server"]
fn the_api_server_killed_ten_times() {
    let server = Component::new("kube-apiserver");
    survives("server-killed", 20, || {
        for _ in 0..10 {
            server.kill_for(Duration::from_millis(700));
            await_api(LIMIT);
            std::thread::sleep(Duration::from_secs(2));
        }
    });
}

#[test]
#[ignore = "long: freezes the API server"]
fn the_api_server_frozen_for_seven_seconds() {
    let server = Component::new("kube-apiserver");
    survives("server-frozen", 12, || server.freeze_for(Duration::from_secs(7)));
}

#[test]
#[ignore = "long: freezes the API server"]
fn the_api_server_frozen_for_a_minute() {
    let server = Component::new("kube-apiserver");
    survives("server-frozen-long", 12, || server.freeze_for(Duration::from_secs(60)));
}

#[test]
#[ignore = "long: kills etcd"]
fn etcd_killed_and_started_again() {
    let store = Component::new("etcd");
    survives("store-killed", 12, || {
        for _ in 0..3 {
            store.kill_for(Duration::from_secs(2));
            await_api(LIMIT);
            std::thread::sleep(Duration::from_secs(3));
        }
    });
}
