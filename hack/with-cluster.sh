#!/usr/bin/env bash
# Runs a command against the cluster chosen by CLUSTER (local or external, set by the Makefile), with
#   BACKPROOF_KUBECONFIG  the kubeconfig to use, which is also KUBECONFIG of the command
#   BACKPROOF_KUBECTL     the kubectl built for the local cluster
#   BACKPROOF_CLUSTER     local or external: tests that break the node refuse an external one
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${CLUSTER:-local} in
  local)
    BACKPROOF_KUBECONFIG=$("$HACK/cluster.sh" kubeconfig)
    "$HACK/cluster.sh" status >/dev/null 2>&1 || die "the local cluster is not up; run: make cluster-up"
    ;;
  external)
    BACKPROOF_KUBECONFIG=${EXTERNAL_KUBECONFIG:-}
    [[ -n $BACKPROOF_KUBECONFIG ]] || die "CLUSTER=external needs a kubeconfig named on the same command line: KUBECONFIG=FILE"
    [[ -r $BACKPROOF_KUBECONFIG ]] || die "kubeconfig $BACKPROOF_KUBECONFIG cannot be read"
    "$HACK/tools.sh"
    say "external cluster: context $(kubectl --kubeconfig "$BACKPROOF_KUBECONFIG" config current-context), server $(
      kubectl --kubeconfig "$BACKPROOF_KUBECONFIG" config view --minify -o 'jsonpath={.clusters[0].cluster.server}')"
    ;;
  *) die "CLUSTER is '$CLUSTER'; it can be local or external" ;;
esac
export BACKPROOF_KUBECONFIG BACKPROOF_KUBECTL=$BIN/kubectl BACKPROOF_BIN=$BIN BACKPROOF_CLUSTER=${CLUSTER:-local}
export KUBECONFIG=$BACKPROOF_KUBECONFIG
exec "$@"
