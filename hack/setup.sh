#!/usr/bin/env bash
# Installs what building, testing and the local cluster need: Debian's packages (without root it says which), and the
# target that .cargo/config.toml builds for, where rustup does not do so by itself.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What is looked for (a program, or a file) and the package that brings it.
NEEDS="
gcc gcc
musl-gcc musl-tools
openssl openssl
containerd containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
iptables iptables
conntrack conntrack
ip iproute2
nsenter util-linux
sysctl procps
restic restic
/usr/lib/postgresql/15/bin/postgres postgresql-15
node nodejs
npm npm
/usr/bin/time time
/usr/bin/busybox busybox-static
/etc/ssl/certs/ca-certificates.crt ca-certificates
shellcheck shellcheck
git git
patch patch
"

missing_packages() {
  local need package
  while read -r need package; do
    [[ -n $need ]] || continue
    if [[ $need == /* ]]; then [[ -e $need ]]; else command -v "$need" >/dev/null; fi || printf '%s\n' "$package"
  done <<<"$NEEDS"
  # A busybox that needs shared libraries does not run in an image without them.
  if [[ -e /usr/bin/busybox ]] && ldd /usr/bin/busybox >/dev/null 2>&1; then printf 'busybox-static\n'; fi
}

# Debian's PostgreSQL makes a cluster and starts it as it is installed, unless it finds this. The tests start their own.
no_postgres_cluster() {
  local settings=/etc/postgresql-common/createcluster.conf
  [[ " $* " == *" postgresql-15 "* && ! -e $settings ]] || return 0
  mkdir -p "${settings%/*}"
  printf 'create_main_cluster = false\n' >"$settings"
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
  no_postgres_cluster "$@"
  apt-get update -q
  apt-get install -q -y --no-install-recommends "$@"
}

for toolchain in cargo go; do
  command -v "$toolchain" >/dev/null || die "$toolchain is missing: install the $([[ $toolchain == go ]] && printf 'Go 1.26' || printf 'Rust (rustup)') toolchain and put it on PATH"
done

cd "$ROOT"
TARGET=x86_64-unknown-linux-musl
has_target() { [[ -d $(rustc --print target-libdir --target "$TARGET") ]]; }
if ! has_target; then
  command -v rustup >/dev/null || die "this Rust toolchain lacks the target $TARGET: install your distribution's package of its standard library, or use rustup"
  step "adding Rust's target $TARGET" rustup target add "$TARGET"
  has_target || die "the target $TARGET is still missing; rustc is $(command -v rustc), its version $(rustc --version)"
fi

mapfile -t packages < <(missing_packages | sort -u)
((${#packages[@]} > 0)) || exit 0
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  die "these Debian packages (or what they are called on your system) are missing: ${packages[*]}
       as root: apt-get install ${packages[*]}"
fi
step "installing ${#packages[@]} Debian packages" install_packages "${packages[@]}"
mapfile -t packages < <(missing_packages | sort -u)
((${#packages[@]} == 0)) || die "still missing after the installation: ${packages[*]}"
