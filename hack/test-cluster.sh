#!/usr/bin/env bash
# Proves the local cluster: what pods may expect of it, and that the host is the same after it as before.
# It starts a second cluster beside the one in use, so it disturbs nobody and shows that two do not meet.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

((EUID == 0)) || die "the cluster needs root"
"$HACK/tools.sh"
RESTIC=$("$HACK/image.sh" restic)

SECOND=$CACHE/second
mkdir -p "$SECOND"
ln -sfn ../bin "$SECOND/bin"
ln -sfn ../images "$SECOND/images"
cluster() { BACKPROOF_CACHE=$SECOND "$HACK/cluster.sh" "$@"; }
KUBECONFIG=$(cluster kubeconfig)
export KUBECONFIG
cluster down
trap 'cluster down; rm -rf "${SECOND:?}"' EXIT

# What a cluster could leave on a host. $1: the link of a cluster that is up, to be left out.
host_state() {
  printf -- '-- links, addresses, routes\n'
  ip -oneline link | awk '{ print $2 }' | grep -v "^${1:-none}@" | sort
  ip -oneline address | awk '{ print $2, $4 }' | grep -v "^${1:-none} " | sort
  ip route | grep -v "dev ${1:-none} " || true
  printf -- '-- network namespaces\n'
  ip netns list
  printf -- '-- iptables\n'
  iptables-save | grep -v '^#'
  ip6tables-save | grep -v '^#'
  printf -- '-- mounts\n'
  cut -d ' ' -f 3- /proc/self/mountinfo
  printf -- '-- settings\n'
  sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys \
    kernel.keys.root_maxbytes net.ipv4.ip_forward
}

expect_same_host() {
  diff -u <(printf '%s\n' "$BEFORE") <(host_state "${2:-}") || die "the host differs $1 from what it was before"
  say "the host is as before: $1"
}

expect() {
  local what=$1 expected=$2 actual=$3
  [[ $actual == "$expected" ]] || die "$what: expected '$expected', got '$actual'"
  say "ok: $what"
}

link() { ip -oneline link | awk -F '[ @:]+' '{ print $2 }' | grep '^bp-' | grep -vxF "$LINKS" || true; }

workloads() {
  kubectl create namespace proof >/dev/null
  kubectl label namespace proof pod-security.kubernetes.io/enforce=restricted >/dev/null
  kubectl apply -f - >/dev/null <<'EOF'
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: proof}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: proof, labels: {app: web}}
spec:
  securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: localhost/backproof/restic:dev
    command: [sh, -c, "echo wrote as $(id -u); echo hello >/data/file && exec httpd -f -p 8080 -h /data"]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: proof}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
EOF
  kubectl -n proof wait --for=condition=Ready pod/web --timeout=60s >/dev/null
}

# job NAME COMMAND MEMORY
job() {
  kubectl apply -f - >/dev/null <<EOF
apiVersion: batch/v1
kind: Job
metadata: {name: $1, namespace: proof}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: main
        image: localhost/backproof/restic:dev
        command: [sh, -c, "$2"]
        resources: {limits: {memory: $3}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
EOF
}

check_workloads() {
  local start path address refused
  workloads
  expect "logs of a pod that runs as 1000" "wrote as 1000" "$(kubectl -n proof logs web)"
  expect "exec, and the volume's fsGroup" "1000:2000" "$(kubectl -n proof exec web -- stat -c %u:%g /data/file)"
  path=$(kubectl get pv -o jsonpath='{.items[0].spec.local.path}')
  expect "the volume's content on the host" hello "$(cat "$path/file")"
  start=$(date +%s%N)
  job reader 'wget -q -O - http://web.proof.svc.cluster.local/file && wget -q -O - http://web/file' 64Mi
  kubectl -n proof wait --for=condition=Complete job/reader --timeout=60s >/dev/null
  say "a Job took $((($(date +%s%N) - start) / 1000000)) ms from creation to Complete"
  expect "a Service by its DNS name from another pod" "hello hello" "$(kubectl -n proof logs job/reader | xargs)"
  address=$(kubectl -n proof get service web -o jsonpath='{.spec.clusterIP}')
  expect "a Service from where the API server is" hello "$(cluster exec busybox wget -q -O - "http://$address/file")"
  job nowhere 'time -p nslookup storage.example.invalid 2>&1; exit 0' 64Mi
  kubectl -n proof wait --for=condition=Complete job/nowhere --timeout=30s >/dev/null
  expect "a name outside does not exist" 1 "$(kubectl -n proof logs job/nowhere | grep -c NXDOMAIN | sed 's/[1-9].*/1/')"
  job hungry 'tail /dev/zero' 16Mi
  kubectl -n proof wait --for=condition=Failed job/hungry --timeout=60s >/dev/null
  expect "memory limits hold" OOMKilled \
    "$(kubectl -n proof get pod -l job-name=hungry -o jsonpath='{.items[0].status.containerStatuses[0].state.terminated.reason}')"
  refused=$(kubectl -n proof run bad --image=localhost/backproof/restic:dev --privileged 2>&1 || true)
  expect "Pod Security refuses a privileged pod" 1 "$(grep -c 'violates PodSecurity' <<<"$refused")"
  kubectl -n proof delete pod/web pvc/data --wait=true --timeout=60s >/dev/null
  kubectl wait --for=delete pv --all --timeout=30s >/dev/null
  expect "a released volume is removed from the host" gone "$(if [[ -e $path ]]; then printf there; else printf gone; fi)"
}

cgroups() { find /sys/fs/cgroup -maxdepth 2 -name 'backproof-*' | sort; }

CGROUPS=$(cgroups)
LINKS=$(ip -oneline link | awk -F '[ @:]+' '{ print $2 }' | grep '^bp-' || printf none)
BEFORE=$(host_state)

cluster up
expect_same_host "while a cluster runs" "$(link)"
cluster load "$RESTIC"
check_workloads
start=$SECONDS
cluster up
((SECONDS - start <= 5)) || die "up when up took $((SECONDS - start)) s"

say "a crash: process 1 of the cluster is killed"
kill -KILL "$(cluster status | awk '$1 == "process" { print $2 }')"
sleep 1
if cluster status >/dev/null; then die "status calls a dead cluster healthy"; fi
cluster up
expect "the cluster after a crash is a fresh one" 0 "$(kubectl get namespace proof --ignore-not-found | wc -l)"

cluster down
cluster down
expect_same_host "after it went down"
expect "no process is left" 0 "$(pgrep -fc "$SECOND/cluster" || true)"
expect "no cgroup is left" "$CGROUPS" "$(cgroups)"
say "the local cluster keeps its promises"
