# shellcheck shell=bash
# The configuration files of the components. Sourced by cluster.sh; everything is written below $CLUSTER_DIR/config.
# Paths inside are those the components see in the cluster's mount namespace (see node.sh).

# write_config DIRECTORY CERTIFICATES CGROUP
write_config() {
  local directory=$1 certs=$2 cgroup=$3
  mkdir -p "$directory/cni"
  # No nameserver: names outside the cluster do not exist here, and CoreDNS says so at once.
  printf 'options ndots:5\n' >"$directory/resolv.conf"

  cat >"$directory/cni/10-bridge.conflist" <<EOF
{
  "cniVersion": "0.4.0",
  "name": "backproof",
  "plugins": [
    {
      "type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": "$POD_SUBNET"}]], "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
EOF

  cat >"$directory/containerd.toml" <<EOF
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/backproof/pause:dev"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$directory/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
EOF

  cat >"$directory/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $certs/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $certs/node.crt
tlsPrivateKeyFile: $certs/node.key
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
enforceNodeAllocatable: []
# Images come from archives and could not be pulled again: nothing may collect them.
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 8760h
# A disk that is rather full is the developer's business, not a reason to evict pods.
evictionHard: {memory.available: 100Mi}
clusterDNS: [$DNS_ADDRESS]
clusterDomain: cluster.local
resolvConf: $directory/resolv.conf
podLogsDir: /var/log/pods
maxPods: 200
# Start and end of short Jobs show up quickly.
syncFrequency: 10s
nodeStatusReportFrequency: 1m
registryPullQPS: 0
eventRecordQPS: 0
EOF
}
