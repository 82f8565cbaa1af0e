#!/usr/bin/env bash
# Process 1 of the cluster's namespaces (network, mount, pid). Started by cluster.sh through unshare, never by hand.
# It arranges the file system, waits for its network interface, starts the components in order, and then stays:
# when it dies the kernel ends every process in here and with them all mounts and the network.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=hack/cluster/names.sh
source "$HACK/cluster/names.sh"

D=$CLUSTER_DIR
CERTS=$D/certs
CONFIG=$D/config
LOGS=$D/logs
ADMIN=$D/kubeconfig

# Directories whose paths are fixed in kubelet, containerd or CNI become the cluster's own, hidden from the host.
arrange_files() {
  local keep=/run directory setting
  mount -t proc proc /proc
  mount -t tmpfs -o mode=755 tmpfs /run
  # The cache may itself lie below a directory that is about to be hidden.
  mkdir "$keep/cache" && mount --rbind "$CACHE" "$keep/cache"
  for directory in /var/lib /var/log; do
    mount -t tmpfs -o mode=755 tmpfs "$directory"
  done
  if [[ ! -d $D ]]; then mkdir -p "$CACHE" && mount --rbind "$keep/cache" "$CACHE"; fi
  umount -l "$keep/cache" && rmdir "$keep/cache"
  for directory in kubelet containerd; do
    mkdir -p "/var/lib/$directory" "$D/$directory"
    mount --bind "$D/$directory" "/var/lib/$directory"
  done
  mkdir -p /var/log/pods "$D/logs/pods"
  mount --bind "$D/logs/pods" /var/log/pods
  # kubelet insists on writing these, and they belong to the whole machine: let it write to files of its own.
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    mkdir -p "/run/sysctl/$(dirname "${setting%=*}")"
    printf '%s\n' "${setting#*=}" >"/run/sysctl/${setting%=*}"
    mount --bind "/run/sysctl/${setting%=*}" "/proc/sys/${setting%=*}"
  done
}

arrange_network() {
  local tries=0
  touch "$D/ready-for-network"
  until [[ -e /proc/sys/net/ipv4/conf/eth0 ]]; do
    ((tries++ < 100)) || die "no network interface arrived"
    sleep 0.1
  done
  ip link set lo up
  ip address add "$NODE_ADDRESS/30" dev eth0
  ip link set eth0 up
  # Service addresses need a route before kube-proxy's rules can turn them into pods'. Everything else outside
  # is refused at once instead of timing out.
  ip route add "$SERVICE_SUBNET" via "$HOST_ADDRESS" dev eth0
  ip route add unreachable default
  sysctl -qw net.ipv4.ip_forward=1
}

# start NAME COMMAND...: in the background with a log of its own; its pid (in here) is recorded.
start() {
  local name=$1
  shift
  "$@" >"$LOGS/$name.log" 2>&1 </dev/null &
  printf '%s\n' "$!" >"$D/pids/$name"
}

# await WHAT SECONDS COMMAND...
await() {
  local what=$1 seconds=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "$what did not come up within $seconds s; see $LOGS"
    sleep 0.2
  done
}

start_control_plane() {
  start etcd etcd --name=local --data-dir="$D/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
    --initial-cluster=local=http://127.0.0.1:2380
  start kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --bind-address=0.0.0.0 \
    --advertise-address="$NODE_ADDRESS" --tls-cert-file="$CERTS/apiserver.crt" --tls-private-key-file="$CERTS/apiserver.key" \
    --client-ca-file="$CERTS/ca.crt" --service-account-key-file="$CERTS/service-accounts.pub" \
    --service-account-signing-key-file="$CERTS/service-accounts.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range="$SERVICE_SUBNET" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged \
    --kubelet-client-certificate="$CERTS/kubelet-client.crt" --kubelet-client-key="$CERTS/kubelet-client.key" \
    --kubelet-certificate-authority="$CERTS/ca.crt" --kubelet-preferred-address-types=InternalIP
  await kube-apiserver 60 kubectl --kubeconfig "$ADMIN" get --raw /readyz
  start kube-controller-manager kube-controller-manager --kubeconfig="$CONFIG/controller-manager.kubeconfig" \
    --service-account-private-key-file="$CERTS/service-accounts.key" --root-ca-file="$CERTS/ca.crt" \
    --cluster-signing-cert-file="$CERTS/ca.crt" --cluster-signing-key-file="$CERTS/ca.key" \
    --use-service-account-credentials --allocate-node-cidrs --cluster-cidr="$POD_SUBNET" \
    --service-cluster-ip-range="$SERVICE_SUBNET" --leader-elect=false --bind-address=127.0.0.1
  start kube-scheduler kube-scheduler --kubeconfig="$CONFIG/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
}

import_images() {
  local image
  await containerd 30 ctr version
  for image in pause coredns; do ctr -n k8s.io images import "$IMAGES/$image.tar" >/dev/null; done
}

start_node() {
  start kubelet kubelet --config="$CONFIG/kubelet.yaml" --kubeconfig="$CONFIG/node.kubeconfig" \
    --hostname-override="$NODE_NAME" --root-dir=/var/lib/kubelet --node-ip="$NODE_ADDRESS"
  start kube-proxy kube-proxy --kubeconfig="$CONFIG/proxy.kubeconfig" --cluster-cidr="$POD_SUBNET" \
    --hostname-override="$NODE_NAME" --proxy-mode=iptables --masquerade-all --conntrack-max-per-core=0
}

main() {
  mkdir -p "$LOGS" "$D/pids"
  arrange_files
  arrange_network
  start containerd containerd --config "$CONFIG/containerd.toml"
  start_control_plane
  import_images
  start_node
  start volumes "$HACK/cluster/volumes.sh"
  touch "$D/started"
  # Which one died, and that it died, is worth a line; restarting it would hide why.
  local name
  while sleep 2; do
    for name in "$D/pids"/*; do
      if ! kill -0 "$(cat "$name")" 2>/dev/null; then
        say "$(basename "$name") has ended; see $LOGS/$(basename "$name").log"
        mv "$name" "$D/died-$(basename "$name")"
      fi
    done
  done
}

main
