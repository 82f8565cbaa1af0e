#!/usr/bin/env bash
# Builds the programs of the local cluster, and one server per kind of object store for tests, from what is pinned below
# hack/ into $CACHE/bin: Go modules, and npm packages.
# tools.sh consumers builds the programs too that read our CRDs and are tried in `make test-long` only; one of them is a crate.
# Each is built again only when its inputs changed.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

COMPONENTS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

build_kubernetes() {
  local version minor
  version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  minor=$(cut -d . -f 2 <<<"$version")
  go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor" -o "$1" .
}

build_etcd() { go build -trimpath -ldflags '-s -w' -o "$1" go.etcd.io/etcd/server/v3; }
build_helm() { go build -trimpath -ldflags '-s -w' -o "$1" helm.sh/helm/v4/cmd/helm; }
build_health() { go build -trimpath -ldflags '-s -w' -o "$1" .; }
build_versitygw() { go build -trimpath -ldflags '-s -w' -o "$1" github.com/versity/versitygw/cmd/versitygw; }
build_fake-gcs-server() { go build -trimpath -ldflags '-s -w' -o "$1" github.com/fsouza/fake-gcs-server; }
# What Go makes of durations and schedules, for tests that compare ours with it.
build_gotruth() { go build -trimpath -ldflags '-s -w' -o "$1" .; }
build_kubeconform() { go build -trimpath -ldflags '-s -w' -o "$1" github.com/yannh/kubeconform/cmd/kubeconform; }
build_kubectl-validate() { go build -trimpath -ldflags '-s -w' -o "$1" sigs.k8s.io/kubectl-validate; }
build_kube-state-metrics() { go build -trimpath -ldflags '-s -w' -o "$1" k8s.io/kube-state-metrics/v2; }
# Flux' evaluator of health expressions, and a client as a Go program would have it.
build_fluxhealth() { go build -trimpath -ldflags '-s -w' -o "$1" .; }
build_goclient() { go build -trimpath -ldflags '-s -w' -o "$1" .; }
build_promtool() { go build -trimpath -ldflags '-s -w' -o "$1" github.com/prometheus/prometheus/cmd/promtool; }
build_coredns() { go build -trimpath -ldflags '-s -w' -o "$1" .; }

# Static, so that it is an image by itself; it sleeps and reaps what a pod's other processes leave.
build_pause() {
  local compiler=gcc
  if command -v musl-gcc >/dev/null; then compiler=musl-gcc; fi
  "$compiler" -static -Os -s -o "$1" pause.c
}

# npm_program NAME PROGRAM LINK [FILE...]: a directory beside $BIN with what is pinned here, and these files; what lies in $BIN is a
# link to its program.
npm_program() {
  local home=$CACHE/$1 program=$2 link=$3
  shift 3
  rm -rf "$home"
  mkdir -p "$home"
  cp package.json package-lock.json .npmrc "$@" "$home"
  (cd "$home" && npm ci --ignore-scripts --omit=dev --no-audit --no-fund)
  ln -sfn "$home/$program" "$link"
}

build_azurite() { npm_program azurite node_modules/.bin/azurite-blob "$1"; }
build_cdk8s() { npm_program cdk8s node_modules/.bin/cdk8s "$1"; }
# With what opens files in it.
build_yaml-diagnose() { npm_program yaml-language-server diagnose.mjs "$1" diagnose.mjs; }

build_kopium() {
  crate kopium "$(<version)" "$CACHE/kopium"
  ln -sfn "$CACHE/kopium/bin/kopium" "$1"
}

# tool NAME DIRECTORY: builds NAME from DIRECTORY unless the binary of exactly these inputs is there.
tool() {
  local name=$1 from=$HACK/$2 key out recipe
  recipe=$(declare -f "build_$name")
  # What several are built by is part of how each of them is.
  if [[ $recipe == *npm_program* ]]; then recipe+=$(declare -f npm_program); fi
  key=$({ digest "$from" && printf '%s\n' "$recipe"; } | sha256sum | cut -c 1-16)
  out=$BIN/$name
  if [[ -x $out && $(cat "$out.key" 2>/dev/null) == "$key" ]]; then return; fi
  case $name in
    azurite | yaml-diagnose | cdk8s) command -v npm >/dev/null || die "$name has to be installed and npm is missing; run make setup" ;;
    kopium) command -v cargo >/dev/null || die "$name has to be built and cargo is missing" ;;
    *) command -v go >/dev/null || die "$name has to be built and the Go toolchain is missing; install Go 1.26 or newer and put it on PATH" ;;
  esac
  rm -f "$out.key"
  step "building $name (once; kept in $BIN)" build_in "$from" "build_$name" "$out.new"
  mv -f "$out.new" "$out"
  printf '%s\n' "$key" >"$out.key"
}

build_in() {
  cd "$1" || return
  # The verbose list of packages is what makes the progress lines tell something.
  CGO_ENABLED=0 GOFLAGS="-v -buildvcs=false" "$2" "$3"
}

all() {
  local name
  tool pause pause
  tool etcd etcd
  tool coredns coredns
  tool helm helm
  tool versitygw versitygw
  tool gotruth gotruth
  tool health ../e2e/health
  tool promtool promtool
  tool kubeconform kubeconform
  tool fake-gcs-server fake-gcs-server
  tool azurite azurite
  tool kubernetes kubernetes
  for name in "${COMPONENTS[@]}"; do ln -sfn kubernetes "$BIN/$name"; done
}

consumers() {
  tool goclient goclient
  tool fluxhealth fluxhealth
  tool kube-state-metrics kube-state-metrics
  tool kubectl-validate kubectl-validate
  tool yaml-diagnose yaml-language-server
  tool cdk8s cdk8s
  tool kopium kopium
}

mkdir -p "$BIN"
locked "$CACHE/tools.lock" all
case ${1:-} in
  '') ;;
  consumers) locked "$CACHE/tools.lock" consumers ;;
  *) die "usage: tools.sh [consumers]" ;;
esac
