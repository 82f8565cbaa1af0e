# shellcheck shell=bash
# Names and addresses of the cluster, derived from the cache directory so that two clusters do not meet. Sourced.
# shellcheck disable=SC2034,SC2153

CLUSTER_ID=$(printf '%s' "$CLUSTER_DIR" | sha256sum | cut -c 1-8)
NODE_NAME=backproof-local
LINK=bp-$CLUSTER_ID
CGROUP=backproof-$CLUSTER_ID

# One network of four addresses in 10.213.0.0/16: the host's end and the cluster's. ADDRESS_SHIFT, recorded by
# the start, steps past networks the host already routes.
ADDRESS_SHIFT=$(cat "$CLUSTER_DIR/address-shift" 2>/dev/null || printf 0)
address_slot=$(((16#${CLUSTER_ID:0:6} + ADDRESS_SHIFT) % 16384))
address_prefix=10.213.$((address_slot / 64))
LINK_SUBNET=$address_prefix.$((address_slot % 64 * 4))/30
HOST_ADDRESS=$address_prefix.$((address_slot % 64 * 4 + 1))
NODE_ADDRESS=$address_prefix.$((address_slot % 64 * 4 + 2))

# These exist only inside the network namespace, the same in every cluster.
POD_SUBNET=10.244.0.0/16
SERVICE_SUBNET=10.96.0.0/16
SERVICE_FIRST=10.96.0.1
DNS_ADDRESS=10.96.0.10
