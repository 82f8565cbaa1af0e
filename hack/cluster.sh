#!/usr/bin/env bash
# A real single-node cluster without a container engine, in network, mount and pid namespaces of its own.
#   cluster.sh up            start it (quick if it is up; cleans what a crash left and starts)
#   cluster.sh down          stop it and leave nothing behind
#   cluster.sh status        what it is, how it is; exit code 0 only if it is up and healthy
#   cluster.sh kubeconfig    the path of a kubeconfig that works from the host
#   cluster.sh load IMAGE.tar...  import OCI archives, unless the node has the same already
#   cluster.sh exec COMMAND...    run a command inside, e.g. crictl, iptables-save, ip
# How it is built: hack/README.md.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/cluster/names.sh
source "$HACK/cluster/names.sh"
# shellcheck source=hack/cluster/certs.sh
source "$HACK/cluster/certs.sh"
# shellcheck source=hack/cluster/config.sh
source "$HACK/cluster/config.sh"

D=$CLUSTER_DIR
ADMIN=$D/kubeconfig
RECORD=$D/process
kube() { kubectl --kubeconfig "$ADMIN" --request-timeout=10s "$@"; }

# Process ids come again, above all after a reboot: a process is its id, its start and the boot it belongs to.
identity() { printf '%s %s %s\n' "$1" "$(sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 20)" "$(cat /proc/sys/kernel/random/boot_id)"; }

# Prints the host's id of the cluster's process 1 if that still runs.
cluster_process() {
  local pid
  pid=$(cut -d ' ' -f 1 "$RECORD" 2>/dev/null) || return 1
  [[ -n $pid && -e /proc/$pid/stat && $(identity "$pid" 2>/dev/null) == "$(cat "$RECORD")" ]] || return 1
  printf '%s\n' "$pid"
}

died() { find "$D" -maxdepth 1 -name 'died-*' -printf '%f ' 2>/dev/null | sed 's/died-//g'; }

healthy() {
  cluster_process >/dev/null && [[ -e $D/ready && -z $(died) ]] &&
    kube get --raw /readyz >/dev/null 2>&1 &&
    [[ $(kube get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}

# need_root ARGUMENT...: says how to run just this part as root; everything else works without.
need_root() {
  ((EUID == 0)) || die "only root can do this, as it takes namespaces and containers. Run
         sudo BACKPROOF_CACHE=$CACHE $HACK/cluster.sh $*
       and then the same command as before. Or use a cluster of yours: CLUSTER=external KUBECONFIG=FILE IMAGE=NAME:TAG"
}

# What root made on behalf of a user through sudo, that user must be able to use.
give_back() {
  if [[ -n ${SUDO_UID:-} ]]; then chown -R "$SUDO_UID" "$CACHE"/*.lock "$CACHE/logs" "$ADMIN" 2>/dev/null || true; fi
}

need_programs() {
  local program missing=()
  for program in containerd containerd-shim-runc-v2 runc ctr iptables conntrack ip unshare nsenter openssl flock; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [[ -x /usr/lib/cni/bridge ]] || missing+=(/usr/lib/cni/bridge)
  ((${#missing[@]} == 0)) || die "missing: ${missing[*]}; run: make setup"
}

# Every hierarchy of version 1, or the one of version 2.
cgroup_parents() { findmnt --noheadings --list --output TARGET --types cgroup,cgroup2; }

make_cgroup() {
  local parent controllers
  while read -r parent; do
    mkdir -p "$parent/$CGROUP"
    # Beside hierarchies of version 1, the one of version 2 has no controllers to hand down.
    if [[ -s $parent/cgroup.controllers ]]; then
      controllers=$(sed 's/\([a-z]\+\)/+\1/g' "$parent/cgroup.controllers")
      printf '%s' "$controllers" >"$parent/cgroup.subtree_control"
      printf '%s' "$controllers" >"$parent/$CGROUP/cgroup.subtree_control"
    fi
  done < <(cgroup_parents)
}

# True when the cgroups are gone; those of processes just killed take a moment.
remove_cgroup() {
  local parent left=0
  while read -r parent; do
    [[ -d $parent/$CGROUP ]] || continue
    find "$parent/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || left=1
  done < <(cgroup_parents)
  return "$left"
}

link_gone() { [[ ! -e /sys/class/net/$LINK ]]; }

# eventually SECONDS COMMAND...
eventually() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

stop() {
  local pid
  if pid=$(cluster_process); then
    # Process 1 of a pid namespace takes every other one with it, and these were all that held mounts and network.
    kill -KILL "$pid"
    eventually 30 not cluster_process || die "process $pid does not end; see $D/logs"
  fi
  if ! eventually 3 link_gone; then ip link delete "$LINK"; fi
  eventually 15 remove_cgroup || die "cgroup $CGROUP is still in use; look into /sys/fs/cgroup/*/$CGROUP/**/cgroup.procs"
  # Logs stay until the next start: they are what one looks for after a failure.
  if [[ -d $D ]]; then
    find "$D" -mindepth 1 -maxdepth 1 ! -name logs ! -name process -exec rm -rf --one-file-system {} +
    rm -f "$RECORD"
  fi
}

not() { ! "$@" >/dev/null 2>&1; }

down() {
  if [[ ! -e $RECORD ]] && link_gone && [[ -z $(find "$D" -mindepth 1 -maxdepth 1 ! -name logs 2>/dev/null) ]]; then
    say "the cluster is down"
    return
  fi
  need_root down
  stop
  give_back
  say "the cluster is down; its logs are in $D/logs"
}

# The host must not already know a way to the four addresses of the link.
choose_network() {
  local shift=0
  while [[ -n $(ip -4 route show to root "$LINK_SUBNET")$(ip -4 address show to "$LINK_SUBNET") ]]; do
    ((shift++ < 100)) || die "no free network in 10.213.0.0/16 for the link to the cluster"
    printf '%s\n' "$shift" >"$D/address-shift"
    # shellcheck source=hack/cluster/names.sh
    source "$HACK/cluster/names.sh"
  done
}

prepare() {
  local server=https://$NODE_ADDRESS:6443 name
  make_certificates "$D/certs" "$NODE_NAME" "$NODE_ADDRESS" "$SERVICE_FIRST"
  mkdir -p "$D/config" "$D/volumes"
  for name in controller-manager scheduler proxy node; do
    write_kubeconfig "$D/config/$name.kubeconfig" "$server" "$D/certs" "$name"
  done
  write_kubeconfig "$ADMIN" "$server" "$D/certs" admin
  write_config "$D/config" "$D/certs" "$CGROUP"
}

launch() {
  local launcher pid
  # Its own session and no inherited lock, terminal or pipe: it outlives whoever typed `up`.
  setsid unshare --net --mount --propagation private --pid --fork --kill-child=KILL \
    "$HACK/cluster/node.sh" >"$D/logs/node.log" 2>&1 </dev/null 9>&- &
  launcher=$!
  eventually 10 test -e "$D/ready-for-network" || failed "the cluster's namespaces"
  pid=$(tr -d ' ' <"/proc/$launcher/task/$launcher/children")
  identity "$pid" >"$RECORD"
  ip link add "$LINK" type veth peer name eth0 netns "$pid"
  ip address add "$HOST_ADDRESS/30" dev "$LINK"
  ip link set "$LINK" up
}

failed() {
  tail -n 20 "$D/logs/node.log" >&2
  die "$1 did not come up; logs are in $D/logs, make cluster-down cleans up"
}

# wait_for WHAT SECONDS COMMAND...: as eventually, showing that it is alive and giving up when process 1 did.
wait_for() {
  local what=$1 end=$((SECONDS + $2)) start=$SECONDS next=5
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! cluster_process >/dev/null || ((SECONDS >= end)); then failed "$what"; fi
    if ((SECONDS - start >= next)); then
      say "waiting for $what: $((SECONDS - start)) s"
      next=$((next + 5))
    fi
    sleep 0.3
  done
}

up() {
  local start
  if healthy; then
    say "the cluster is up: kubeconfig $ADMIN"
    return
  fi
  need_programs
  # Before asking for root, so that what is built belongs to who builds.
  "$HACK/tools.sh"
  "$HACK/image.sh" pause >/dev/null
  "$HACK/image.sh" coredns >/dev/null
  need_root up
  start=$SECONDS
  stop
  rm -rf "$D/logs"
  mkdir -p "$D/logs"
  choose_network
  say "starting the cluster in $D"
  prepare
  make_cgroup
  launch
  wait_for "the control plane" 90 test -e "$D/started"
  wait_for "the API" 30 kube apply -f "$HACK/cluster/manifests"
  wait_for "the node" 60 kube wait --for=condition=Ready "node/$NODE_NAME" --timeout=1s
  wait_for "cluster DNS" 90 kube -n kube-system rollout status deployment/coredns --timeout=1s
  touch "$D/ready"
  give_back
  say "the cluster is up after $((SECONDS - start)) s: kubeconfig $ADMIN"
}

# inside PID COMMAND...
inside() { local pid=$1; shift; nsenter --target "$pid" --net --mount --pid "$@"; }

# Recorded by the image's name: which digest the node has.
loaded() { printf '%s/loaded/%s\n' "$D" "$(tr -c 'a-zA-Z0-9.\n' _ <<<"$1")"; }

load() {
  local pid archive name digest
  pid=$(cluster_process) || die "the cluster is down; run: make cluster-up"
  (($# > 0)) || die "usage: cluster.sh load IMAGE.tar..."
  for archive in "$@"; do
    [[ -f $archive ]] || die "$archive: no such archive"
    name=$archive digest=unknown
    if [[ -f $archive.id ]]; then read -r name digest <"$archive.id"; fi
    if [[ $digest != unknown && $(cat "$(loaded "$name")" 2>/dev/null) == "$digest" ]]; then continue; fi
    need_root load "$@"
    say "loading $name"
    inside "$pid" ctr -n k8s.io images import - <"$archive" >/dev/null
    mkdir -p "$D/loaded"
    printf '%s\n' "$digest" >"$(loaded "$name")"
  done
}

status() {
  local pid component
  if ! pid=$(cluster_process); then
    printf 'down (directory %s)\n' "$D"
    return 1
  fi
  printf 'process     %s (everything is below it: pstree -p %s)\nkubeconfig  %s\naddress     %s, the host is %s\nlogs        %s\nvolumes     %s\n' \
    "$pid" "$pid" "$ADMIN" "$NODE_ADDRESS" "$HOST_ADDRESS" "$D/logs" "$D/volumes"
  for component in $(died); do printf 'ENDED       %s, see %s/logs/%s.log\n' "$component" "$D" "$component"; done
  kube get nodes -o wide || true
  kube get pods --all-namespaces --field-selector=status.phase!=Succeeded || true
  if healthy; then printf 'healthy\n'; else printf 'NOT healthy; make cluster-up starts a fresh one\n'; return 1; fi
}

command=${1:-}
shift || true
case $command in
  up | down) locked "$CACHE/cluster.lock" "$command" ;;
  load) locked "$CACHE/load.lock" load "$@" ;;
  status) status ;;
  kubeconfig) printf '%s\n' "$ADMIN" ;;
  exec)
    need_root exec "$@"
    pid=$(cluster_process) || die "the cluster is down; run: make cluster-up"
    inside "$pid" "$@"
    ;;
  *) die "usage: cluster.sh up|down|status|kubeconfig|load IMAGE.tar...|exec COMMAND..." ;;
esac
