#!/usr/bin/env bash
# Installs the chart into the cluster that with-cluster.sh chose.
#   local: packs and loads the images made from this tree first; external: IMAGE must name one the cluster can pull.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${BACKPROOF_KUBECONFIG:?run this through hack/with-cluster.sh}"
NAMESPACE=backproof-system
DEPLOYMENTS=(backproof-controller backproof-webhook)

# image_values REFERENCE: the chart's values for repository:tag or repository@digest.
image_values() {
  case $1 in
    *@sha256:*) printf -- '--set\nimage.repository=%s\n--set\nimage.digest=%s\n' "${1%@*}" "${1##*@}" ;;
    *:*[!/]*) printf -- '--set\nimage.repository=%s\n--set\nimage.tag=%s\n' "${1%:*}" "${1##*:}" ;;
    *) die "IMAGE is '$1'; it must be repository:tag or repository@sha256:..." ;;
  esac
}

# Why it does not come up, for whoever reads only this terminal.
explain() {
  kubectl -n "$NAMESPACE" get pods -o wide >&2 || true
  kubectl -n "$NAMESPACE" get events --sort-by=.lastTimestamp 2>/dev/null | tail -n 15 >&2 || true
  local deployment
  for deployment in "${DEPLOYMENTS[@]}"; do
    kubectl -n "$NAMESPACE" logs "deployment/$deployment" --tail=15 --prefix >&2 || true
  done
}

image=localhost/backproof/backproof:dev
digest=
if [[ $BACKPROOF_CLUSTER == local ]]; then
  core=$("$HACK/image.sh" core)
  restic=$("$HACK/image.sh" restic)
  postgres=$("$HACK/image.sh" postgres)
  server=$("$HACK/image.sh" server)
  "$HACK/cluster.sh" load "$core" "$restic" "$postgres" "$server"
  digest=$(cut -d ' ' -f 2 "$core.id")
else
  image=${IMAGE:-}
  [[ -n $image ]] || die "CLUSTER=external needs IMAGE=REGISTRY/backproof:TAG, which the cluster can pull (see Dockerfile)"
fi
values=$(image_values "$image")
mapfile -t values <<<"$values"
# The engine's image lies beside the core's, unless somebody says where.
if [[ $BACKPROOF_CLUSTER == local ]]; then
  values+=(--set engines.postgres.tag=dev)
elif [[ -n ${POSTGRES_IMAGE:-} ]]; then
  values+=(--set "engines.postgres.repository=${POSTGRES_IMAGE%:*}" --set "engines.postgres.tag=${POSTGRES_IMAGE##*:}")
fi

# The tag stays the same when the image changes, so Kubernetes sees no reason for new pods: the namespace remembers
# what they were made from.
remember() { kubectl annotate namespace "$NAMESPACE" --overwrite "backproof.dev/local-image=$digest" >/dev/null; }

if [[ -n $digest ]]; then
  installed=$(kubectl get namespace "$NAMESPACE" --ignore-not-found -o 'jsonpath={.metadata.annotations.backproof\.dev/local-image}')
  if [[ -n $installed && $installed != "$digest" ]]; then
    kubectl -n "$NAMESPACE" rollout restart deployment >/dev/null
    remember
  fi
fi
result=0
(step "installing the chart with $image" helm upgrade --install backproof "$HACK/../charts/backproof" \
  --namespace "$NAMESPACE" --create-namespace --wait --timeout 2m "${values[@]}") || result=$?
if [[ -n $digest ]]; then remember || true; fi
if ((result != 0)); then
  explain
  die "the chart did not come up"
fi
