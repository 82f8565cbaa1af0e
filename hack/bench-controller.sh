#!/usr/bin/env bash
# What the controller costs beside a floor controller in the same run (R1 to R8, R10), and a fleet of 1,000 sessions at once
# beside 10,000 finished ones. Against a bare etcd and API server; a stand-in ends the Jobs.
#   PARTS=rounds,fleet: which of the two
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$HACK/.."
export BACKPROOF_BIN=$BIN
"$HACK/tools.sh"
step "building the benchmark of the controller" cargo bench --locked --workspace --bench controller --no-run
cargo bench --locked --workspace --bench controller
