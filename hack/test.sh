#!/usr/bin/env bash
# One ring of tests: test.sh unit|integration|e2e|long
#   unit         inside the crates, and the examples in their documentation
#   integration  crates/*/tests: restic from Debian, a bare etcd and API server from BACKPROOF_BIN
#   e2e          e2e/tests: a real node (run through with-cluster.sh)
#   long         what is marked #[ignore] in any of them
# All build the whole workspace: choosing packages would unify features differently and build dependencies twice.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$HACK/.."
export BACKPROOF_BIN=$BIN

# targets DIRECTORY...: flags that choose the test programs of these crates.
targets() {
  local crate path
  for crate in "$@"; do
    for path in "$crate"/tests/*.rs "$crate"/tests/*/main.rs; do
      [[ -e $path ]] || continue
      path=${path%/main.rs}
      printf -- '--test\n%s\n' "$(basename "$path" .rs)"
    done
  done
}

run() {
  step "building the tests" cargo test --locked --release --workspace --no-run
  cargo test --locked --release --workspace "$@"
}

ring=${1:-}
shift || true
case $ring in
  unit)
    run --lib --bins "$@"
    cargo test --locked --release --workspace --doc
    ;;
  integration | long)
    "$HACK/tools.sh"
    mapfile -t chosen < <(targets crates/*)
    ((${#chosen[@]} > 0)) || die "there are no integration tests below crates/*/tests"
    if [[ $ring == long ]]; then
      run --lib --bins "${chosen[@]}" "$@" -- --ignored
      # Some of these take the controller or the control plane away, so they have the cluster to themselves, one by one.
      mapfile -t chosen < <(targets e2e)
      run "${chosen[@]}" "$@" -- --ignored --nocapture --test-threads=1
    else
      run "${chosen[@]}" "$@"
    fi
    ;;
  e2e)
    : "${BACKPROOF_KUBECONFIG:?run this through hack/with-cluster.sh}"
    mapfile -t chosen < <(targets e2e)
    ((${#chosen[@]} > 0)) || die "there are no end-to-end tests below e2e/tests"
    run "${chosen[@]}" "$@" -- --nocapture --test-threads=4
    ;;
  *) die "usage: test.sh unit|integration|e2e|long [ARGUMENT...]" ;;
esac
