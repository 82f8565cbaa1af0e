#!/usr/bin/env bash
# Runs a command while the cluster that with-cluster.sh chose has KubeStash's own CRDs, which drop the fields that are
# Backproof's; then puts the chart's back. BACKPROOF_CRDS=upstream tells the command.
# Only the versions are changed: the CRDs stay the release's, and `make install` mends what a killed run left behind.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${BACKPROOF_KUBECONFIG:?run this through hack/with-cluster.sh}"
[[ $BACKPROOF_CLUSTER == local ]] || die "the CRDs of an external cluster are left alone"
(($# > 0)) || die "usage: upstream-crds.sh COMMAND..."

upstream=$(mktemp -d "$CACHE/upstream-crds.XXXXXX")
saved=$(mktemp -d "$CACHE/saved-crds.XXXXXX")
crds=()

back() {
  local status=$? crd
  for crd in "${crds[@]}"; do
    kubectl patch crd "$crd" --type=merge --patch-file="$saved/$crd" >/dev/null || status=1
  done
  say "${#crds[@]} CRDs of the chart are back"
  rm -rf "$upstream" "$saved"
  exit "$status"
}

step "building xtask" cargo build --locked --release --workspace
"$CARGO_TARGET_DIR/x86_64-unknown-linux-musl/release/xtask" upstream-crds "$upstream" >/dev/null
trap back EXIT
trap 'exit 130' INT TERM
for file in "$upstream"/*; do
  crd=$(basename "$file" .yaml)
  # Empty where the chart does not install this kind; then nothing here depends on it.
  versions=$(kubectl get crd "$crd" --ignore-not-found -o 'jsonpath={.spec.versions}')
  [[ -n $versions ]] || continue
  printf '{"spec":{"versions":%s}}\n' "$versions" >"$saved/$crd"
  crds+=("$crd")
  kubectl patch crd "$crd" --type=merge --patch-file="$file" >/dev/null
done
((${#crds[@]} > 0)) || die "none of the CRDs of $upstream is installed; run: make install"
say "${#crds[@]} CRDs are upstream's"
BACKPROOF_CRDS=upstream "$@"
