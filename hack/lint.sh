#!/usr/bin/env bash
# Formatting, clippy with warnings denied, shell scripts, the chart, and cargo deny as far as its data can be had.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$HACK/.."

DENY_VERSION=0.20.2
DENY=$CACHE/cargo-deny/$DENY_VERSION

deny() {
  local checks=(bans licenses sources)
  [[ -x $DENY/bin/cargo-deny ]] || step "installing cargo-deny (once)" crate cargo-deny "$DENY_VERSION" "$DENY"
  PATH=$DENY/bin:$PATH
  if timeout 60 cargo deny --log-level off fetch db >/dev/null 2>&1; then
    checks=(advisories "${checks[@]}")
  else
    say "NOTE: the database of security advisories cannot be reached: advisories were NOT checked"
  fi
  step "cargo deny ${checks[*]}" cargo deny --workspace --all-features check "${checks[@]}"
}

step "cargo fmt --check" cargo fmt --all --check
step "shellcheck" shellcheck -x hack/*.sh hack/cluster/*.sh .ci/run
step "helm lint" helm lint charts/backproof --strict
step "cargo clippy" cargo clippy --locked --release --workspace --all-targets -- --deny warnings
deny
