#!/usr/bin/env bash
# The provisioner of StorageClass "local", running inside the cluster's namespaces. A claim whose pod was placed
# gets a directory below $CLUSTER_DIR/volumes as a PersistentVolume of type local (the only kind besides real
# disks to which kubelet applies fsGroup). A volume that was released is wiped and removed.
# The path is the same on the host, so tests can look into a volume: kubectl get pv NAME -o jsonpath={.spec.local.path}
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=hack/cluster/names.sh
source "$HACK/cluster/names.sh"

export KUBECONFIG=$CLUSTER_DIR/kubeconfig
VOLUMES=$CLUSTER_DIR/volumes
PROVISIONER=backproof.dev/local

# Every field in brackets of its own: an empty one must not shift the others.
CLAIM='{.metadata.annotations.volume\.kubernetes\.io/storage-provisioner}|{.metadata.annotations.volume\.kubernetes\.io/selected-node}|{.spec.volumeName}|{.spec.volumeMode}|{.metadata.namespace}|{.metadata.name}|{.metadata.uid}|{.spec.storageClassName}|{.spec.resources.requests.storage}|{.spec.accessModes}{"\n"}'
VOLUME='{.metadata.annotations.pv\.kubernetes\.io/provisioned-by}|{.status.phase}|{.spec.persistentVolumeReclaimPolicy}|{.metadata.deletionTimestamp}|{.metadata.name}{"\n"}'

# events KIND FORMAT: one line per object now, then one per change. A watch ends now and then: begin again.
events() {
  while :; do
    kubectl get "$1" --all-namespaces --watch --output "jsonpath=$2" || true
    sleep 1
  done
}

make_volume() {
  local namespace=$1 claim=$2 uid=$3 class=$4 size=$5 modes=$6 name=pvc-$3
  mkdir -p "$VOLUMES/$name"
  # Owned by root and closed to others, like a fresh disk: who writes to it must have asked for an fsGroup.
  chmod 755 "$VOLUMES/$name"
  kubectl create -f - <<EOF
apiVersion: v1
kind: PersistentVolume
metadata:
  name: $name
  annotations: {pv.kubernetes.io/provisioned-by: $PROVISIONER}
spec:
  capacity: {storage: "$size"}
  accessModes: $modes
  persistentVolumeReclaimPolicy: Delete
  storageClassName: $class
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: $namespace, name: $claim, uid: $uid}
  local: {path: $VOLUMES/$name}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions:
        - {key: kubernetes.io/hostname, operator: In, values: [$NODE_NAME]}
EOF
}

serve_claims() {
  local provisioner node volume mode namespace claim uid class size modes
  events persistentvolumeclaims "$CLAIM" |
    while IFS='|' read -r provisioner node volume mode namespace claim uid class size modes; do
      [[ $provisioner == "$PROVISIONER" && $node == "$NODE_NAME" && -z $volume ]] || continue
      [[ $mode == Filesystem ]] || { say "$namespace/$claim asks for volumeMode $mode; only Filesystem can be had"; continue; }
      [[ -d $VOLUMES/pvc-$uid ]] && continue
      # An API server that is killed may have made the volume and not said so: its directory must stay.
      for _ in {1..120}; do
        make_volume "$namespace" "$claim" "$uid" "$class" "$size" "$modes" && break
        kubectl get persistentvolume "pvc-$uid" >/dev/null && break
        sleep 1
      done
    done
}

# A claim's protection finalizer has seen to it that no pod uses a released volume any more.
serve_volumes() {
  local provisioner phase policy deleted name
  events persistentvolumes "$VOLUME" |
    while IFS='|' read -r provisioner phase policy deleted name; do
      [[ $provisioner == "$PROVISIONER" && $phase == Released && $policy == Delete && -z $deleted ]] || continue
      rm -rf --one-file-system "${VOLUMES:?}/$name"
      kubectl delete persistentvolume "$name" --wait=false || true
    done
}

mkdir -p "$VOLUMES"
serve_claims &
serve_volumes &
# One of them gone means claims hang: end, so that the status shows it.
wait -n
