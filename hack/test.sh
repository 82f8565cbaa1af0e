#!/usr/bin/env bash
# One ring of tests: test.sh unit|integration|e2e|explore [ARGUMENT...], or test.sh long [PART...]
#   unit         inside the crates, and the examples in their documentation
#   integration  crates/*/tests: restic from Debian, a bare etcd and API server from BACKPROOF_BIN
#   e2e          e2e/tests: a real node (run through with-cluster.sh)
#   long         what is marked #[ignore] in any of them, in parts; one that passed on the same sources is not run again
#   explore      the exploration alone, as long as STATES, SCHEDULES, SEED say, or one schedule of it again: REPLAY
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

integration_targets() {
  "$HACK/tools.sh"
  mapfile -t chosen < <(targets crates/*)
  ((${#chosen[@]} > 0)) || die "there are no integration tests below crates/*/tests"
}

e2e_targets() {
  : "${BACKPROOF_KUBECONFIG:?run this through hack/with-cluster.sh}"
  mapfile -t chosen < <(targets e2e)
  ((${#chosen[@]} > 0)) || die "there are no end-to-end tests below e2e/tests"
}

# The parts of long, each meant to take less than half an hour on two cores.
LONG_PARTS=(crates consumers exploration mutants e2e-cases e2e-kills e2e-faults e2e-upstream)

# Under CRDs that drop our fields, a verifier has neither timeout nor startTimeout, and the defaults of hours and minutes hold;
# the samples say so in a warning; and which faults the controller survives does not depend on the schema.
NOT_UPSTREAM=(--skip deadline --skip no_node_takes --skip samples:: --skip taken_away --skip controller_away)

# e2e_long THREADS FILTER...: what is marked as long in the end-to-end tests.
e2e_long() {
  local threads=$1
  shift
  e2e_targets
  run "${chosen[@]}" -- --ignored --nocapture "--test-threads=$threads" "$@"
}

long() {
  case $1 in
    crates)
      integration_targets
      run --lib --bins "${chosen[@]}" -- --ignored --skip exploration:: --skip heavy:: --skip consumers::
      ;;
    # Other programs that read our CRDs, some of which take minutes to build.
    consumers)
      "$HACK/tools.sh" consumers
      run --test consumers --test cluster -- --ignored --nocapture heavy:: consumers::
      ;;
    mutants) "$HACK/mutants.sh" all ;;
    exploration) run --lib -- --ignored --nocapture exploration:: ;;
    # Beside each other, as sessions of different people are.
    e2e-cases) e2e_long 3 --skip faults:: --skip crossing:: ;;
    # Some of these take the controller or the control plane away, so they have the cluster to themselves, one by one.
    e2e-kills) e2e_long 1 faults::kills ;;
    e2e-faults) e2e_long 1 faults:: crossing:: --skip faults::kills ;;
    e2e-upstream)
      e2e_targets
      step "building the tests" cargo test --locked --release --workspace --no-run
      "$HACK/upstream-crds.sh" cargo test --locked --release --workspace "${chosen[@]}" -- --nocapture --test-threads=4 "${NOT_UPSTREAM[@]}"
      ;;
    *) die "part $1 is not known" ;;
  esac
}

# once PART: runs it, unless it has passed on these very sources before; so a run that was cut off goes on where it was.
once() {
  local part=$1 start=$SECONDS sources mark
  sources=$(digest Cargo.toml Cargo.lock rust-toolchain.toml crates charts e2e hack mutants sabotage docs/samples docs/gitops docs/metrics docs/reference/schemas)
  mark=$CACHE/long/$sources/$part
  if [[ -e $mark ]]; then
    say "==== $part: passed before, $(cat "$mark"); remove $mark to run it again"
    return
  fi
  say "==== $part"
  long "$part"
  mkdir -p "$(dirname "$mark")"
  printf 'on %s in %d s, commit %s\n' "$(date -u +%FT%TZ)" "$((SECONDS - start))" \
    "$(git rev-parse --short HEAD 2>/dev/null || printf unknown)" >"$mark"
  say "==== $part: passed $(cat "$mark")"
}

ring=${1:-}
shift || true
case $ring in
  unit)
    run --lib --bins "$@"
    cargo test --locked --release --workspace --doc
    ;;
  integration)
    integration_targets
    run "${chosen[@]}" "$@"
    ;;
  e2e)
    e2e_targets
    run "${chosen[@]}" "$@" -- --nocapture --test-threads=4
    ;;
  long)
    if (($# == 0)); then set -- "${LONG_PARTS[@]}"; fi
    for part in "$@"; do
      [[ " ${LONG_PARTS[*]} " == *" $part "* ]] || die "PART is '$part'; it can be one of: ${LONG_PARTS[*]}"
    done
    "$HACK/tools.sh"
    for part in "$@"; do once "$part"; done
    ;;
  explore)
    if [[ -n ${REPLAY:-} ]]; then
      BACKPROOF_REPLAY=$REPLAY run --lib exploration::runs::replay -- --nocapture
    else
      export BACKPROOF_STATES=${STATES:-1000000} BACKPROOF_SCHEDULES=${SCHEDULES:-1000} BACKPROOF_SEED=${SEED:-1}
      run --lib exploration::runs::no_order_of_many_faults -- --ignored --nocapture
    fi
    ;;
  *) die "usage: test.sh unit|integration|e2e|explore [ARGUMENT...], test.sh long [PART...]" ;;
esac
