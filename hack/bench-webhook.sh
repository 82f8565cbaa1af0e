#!/usr/bin/env bash
# What our webhook adds to the creation of a session, beside one that does nothing, with 10,000 Snapshots in its caches.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$HACK/.."
export BACKPROOF_BIN=$BIN
"$HACK/tools.sh"
step "building the benchmark of the webhook" cargo bench --locked --workspace --bench webhook --no-run
cargo bench --locked --workspace --bench webhook
