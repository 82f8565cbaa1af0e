# What there is to do: run `make`. Details: hack/README.md.
# Everything uses the local cluster (see hack/cluster.sh) unless CLUSTER=external KUBECONFIG=FILE IMAGE=NAME:TAG is given
# on the command line. A KUBECONFIG or CLUSTER that merely lies in the environment is never used.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ifeq ($(origin CLUSTER),command line)
  export CLUSTER
else
  override CLUSTER := local
  export CLUSTER
endif
ifeq ($(CLUSTER)/$(origin KUBECONFIG),external/command line)
  export EXTERNAL_KUBECONFIG := $(abspath $(KUBECONFIG))
endif
unexport KUBECONFIG
ifeq ($(CLUSTER),external)
  export IMAGE
  export BACKPROOF_RESTIC_IMAGE := $(RESTIC_IMAGE)
  # PostgreSQL's client beside the executor, and the server of the samples; without the latter the demo leaves databases out.
  export POSTGRES_IMAGE
  export BACKPROOF_POSTGRES_SERVER_IMAGE := $(POSTGRES_SERVER_IMAGE)
  # Its owner starts it.
  CLUSTER_UP :=
else
  CLUSTER_UP := cluster-up
endif

CACHE := $(or $(BACKPROOF_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/backproof)
export CARGO_TARGET_DIR ?= $(CACHE)/target
# What `make explore` is asked for.
export STATES SCHEDULES SEED REPLAY
RELEASE := $(CARGO_TARGET_DIR)/x86_64-unknown-linux-musl/release

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install the missing Debian packages (as root), or say which are missing
	@hack/setup.sh

.PHONY: build
build: ## Build all programs, static
	@. hack/lib.sh && step "cargo build" cargo build --locked --release --workspace

.PHONY: plugin
plugin: ## Build kubectl backproof, and say where it is
	@. hack/lib.sh && step "cargo build" cargo build --locked --release --workspace --bin kubectl-backproof
	@printf '%s: copy it into a directory of PATH, as docs/plugin.md says\n' "$(RELEASE)/kubectl-backproof"

.PHONY: plugin-path
plugin-path:
	@printf '%s\n' "$(RELEASE)/kubectl-backproof"

.PHONY: image
image: ## Pack the images as OCI archives, without a container engine
	@hack/image.sh core
	@hack/image.sh restic
	@hack/image.sh postgres
	@hack/image.sh server

.PHONY: cluster-up
cluster-up: setup ## Start the local cluster (root); nothing to do if it is up
	@hack/cluster.sh up

.PHONY: cluster-down
cluster-down: ## Stop it and remove every trace of it from the host
	@hack/cluster.sh down

.PHONY: cluster-status
cluster-status: ## How the local cluster is, where its logs and volumes are
	@hack/cluster.sh status

.PHONY: kubeconfig
kubeconfig: ## Print the path of the local cluster's kubeconfig (make -s kubeconfig)
	@hack/cluster.sh kubeconfig

.PHONY: install
install: $(CLUSTER_UP) ## Install image and chart into the cluster
	@hack/with-cluster.sh hack/install.sh

.PHONY: uninstall
uninstall: ## Uninstall the chart; it says what it leaves
	@hack/with-cluster.sh helm uninstall backproof --namespace backproof-system --wait

.PHONY: generate
generate: build ## Write CRDs, RBAC rules and reference into the tree
	@$(RELEASE)/xtask generate

.PHONY: lint
lint: tools ## Formatting, clippy, scripts, chart, dependencies
	@hack/lint.sh

.PHONY: test-unit
test-unit: ## Tests inside the crates
	@hack/test.sh unit

.PHONY: explore
explore: ## Walk through more orders of faults: STATES=1000000 SCHEDULES=1000 SEED=1, or one again: REPLAY='SCENARIO CHOICE...'
	@hack/test.sh explore

.PHONY: mutants
mutants: ## Take every guard in mutants/ out of a copy, one by one: a test must miss it; MUTANTS='NAME...' for some
	@hack/mutants.sh $(or $(MUTANTS),all)

.PHONY: mutants-quick
mutants-quick: ## Four of them
	@hack/mutants.sh quick

.PHONY: test-integration
test-integration: ## Tests with real restic repositories and a real API server
	@hack/test.sh integration

.PHONY: test-e2e
test-e2e: install ## Tests on a real node
	@hack/with-cluster.sh hack/test.sh e2e

.PHONY: test-cluster
test-cluster: ## Prove the local cluster itself (starts a second one beside it)
	@hack/test-cluster.sh

.PHONY: test
test: ## All of these, in the order of what is quickest to fail
	@hack/parts.sh setup lint test-unit mutants-quick test-integration test-e2e

.PHONY: test-long
test-long: install ## What is too long for every run, in parts (PART=NAME for one); goes on where it was cut off
	@hack/with-cluster.sh hack/test.sh long $(PART)

.PHONY: bench
bench: setup build ## Restore against restic, what the webhook adds, what the controller costs: as ratios
	@hack/bench.sh
	@hack/bench-webhook.sh
	@hack/bench-controller.sh

.PHONY: bench-webhook
bench-webhook: ## What the webhook adds to a creation
	@hack/bench-webhook.sh

.PHONY: bench-controller
bench-controller: setup ## What the controller costs beside a floor controller, and a fleet
	@hack/bench-controller.sh

.PHONY: demo
demo: install build ## See it work: green, red, inconclusive, refused
	@hack/with-cluster.sh $(RELEASE)/backproof-e2e demo

.PHONY: tools
tools: ## Build kubectl, helm and the cluster's programs (once)
	@hack/tools.sh
