#!/usr/bin/env bash
# Makes OCI archives without a container engine, and prints the path of each.
#   image.sh core     localhost/backproof/backproof:dev   the three static binaries, no shell
#   image.sh restic   localhost/backproof/restic:dev      busybox and Debian's restic, for demo and tests
#   image.sh postgres localhost/backproof/postgres:dev    the executor and Debian's psql: what restores into PostgreSQL
#   image.sh server   localhost/backproof/postgres-server:dev   Debian's PostgreSQL, restic and busybox, for demo and tests
#   image.sh pause    localhost/backproof/pause:dev       what holds a pod's namespaces
#   image.sh coredns  localhost/backproof/coredns:dev     the cluster's DNS
# The same inputs give the same bytes: entries sorted, times and owners fixed, and gzip told to note neither name nor time.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
POSTGRES=/usr/lib/postgresql/15
PROGRAMS=(backproof-controller backproof-webhook backproof-executor)

# pack DIRECTORY: the directory as a tar stream that does not tell who made it or when.
pack() {
  tar --create --directory "$1" --format=gnu --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
}

# add_blob LAYOUT FILE: moves the file into the layout under its digest and prints "DIGEST SIZE".
add_blob() {
  local sum
  sum=$(sha256sum "$2" | cut -d ' ' -f 1)
  mv "$2" "$1/blobs/sha256/$sum"
  printf 'sha256:%s %s\n' "$sum" "$(stat -c %s "$1/blobs/sha256/$sum")"
}

# archive NAME ROOT USER ENTRYPOINT ENV OUT: the directory ROOT as the only layer of image NAME.
# ENTRYPOINT and ENV are JSON arrays.
archive() {
  local name=$1 root=$2 user=$3 entrypoint=$4 env=$5 out=$6 layout work layer diff config manifest
  work=$(mktemp -d "$out.XXXXXX")
  layout=$work/layout
  mkdir -p "$layout/blobs/sha256"
  pack "$root" >"$work/plain"
  diff=$(sha256sum "$work/plain" | cut -d ' ' -f 1)
  gzip --no-name -6 <"$work/plain" >"$work/layer"
  rm "$work/plain"
  layer=$(add_blob "$layout" "$work/layer")
  printf '{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:00Z","config":{"User":"%s","Entrypoint":%s,"Env":%s,"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"hack/image.sh"}]}' \
    "$user" "$entrypoint" "$env" "$diff" >"$work/config"
  config=$(add_blob "$layout" "$work/config")
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":%s}]}' \
    "${config% *}" "${config#* }" "${layer% *}" "${layer#* }" >"$work/manifest"
  manifest=$(add_blob "$layout" "$work/manifest")
  printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
    "${manifest% *}" "${manifest#* }" "$name" "${name##*:}" >"$layout/index.json"
  pack "$layout" >"$work/archive"
  # Name and digest beside the archive let a cluster see without unpacking that it has this image already.
  printf '%s %s\n' "$name" "${manifest% *}" >"$out.id"
  mv "$work/archive" "$out"
  rm -rf "$work"
}

# base ROOT: what both images with certificates have; nobody's name, and a /tmp for those who look there.
base() {
  mkdir -p "$1/bin" "$1/etc/ssl/certs" "$1/tmp"
  chmod 1777 "$1/tmp"
  install -m 644 "$CERTIFICATES" "$1/etc/ssl/certs/ca-certificates.crt"
  printf 'root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$1/etc/group"
  chmod 644 "$1/etc/passwd" "$1/etc/group"
}

fill_core() {
  local program
  base "$1"
  for program in "${PROGRAMS[@]}"; do
    # Symbols are a quarter of the bytes and serve nobody in a pod: a report names the place of a panic without them.
    strip --strip-all -o "$1/bin/$program" "$CARGO_TARGET_DIR/x86_64-unknown-linux-musl/release/$program"
    chmod 755 "$1/bin/$program"
  done
}

fill_restic() {
  local applet
  base "$1"
  install -m 755 /usr/bin/busybox "$1/bin/busybox"
  while read -r applet; do
    [[ $applet == busybox ]] || ln -sf busybox "$1/bin/$applet"
  done < <(/usr/bin/busybox --list)
  install -m 755 /usr/bin/restic "$1/bin/restic"
  libraries "$1" /usr/bin/restic
}

# libraries ROOT PROGRAM...: whatever Debian links the programs against, at the places its loader looks.
libraries() {
  local root=$1 library
  shift
  while read -r library; do
    [[ -e $root$library ]] || install -D -m 755 "$library" "$root$library"
  done < <(ldd "$@" 2>/dev/null | grep -o '/[^ ]*' | grep -v ':$' | sort -u || true)
}

fill_postgres() {
  base "$1"
  strip --strip-all -o "$1/bin/backproof-executor" "$CARGO_TARGET_DIR/x86_64-unknown-linux-musl/release/backproof-executor"
  chmod 755 "$1/bin/backproof-executor"
  install -m 755 "$POSTGRES/bin/psql" "$1/bin/psql"
  libraries "$1" "$POSTGRES/bin/psql"
}

# The server refuses to run as nobody it knows no name of, and looks for its files where Debian has them.
fill_postgres-server() {
  fill_restic "$1"
  mkdir -p "$1$POSTGRES" "$1/usr/share/postgresql"
  cp -r "$POSTGRES/bin" "$POSTGRES/lib" "$1$POSTGRES/"
  # Its compiler of queries is four times the rest, and serves no sample.
  rm -rf "$1$POSTGRES"/lib/bitcode "$1$POSTGRES"/lib/llvmjit*
  cp -r "/usr/share/postgresql/$(basename "$POSTGRES")" "$1/usr/share/postgresql/"
  chmod -R u=rwX,go=rX "$1/usr"
  libraries "$1" "$POSTGRES"/bin/* "$1$POSTGRES"/lib/*.so
}

fill_pause() { install -D -m 755 "$BIN/pause" "$1/bin/pause"; }
fill_coredns() { install -D -m 755 "$BIN/coredns" "$1/bin/coredns"; }

# make_image KIND USER ENTRYPOINT ENV INPUT...: packs unless an archive of exactly these inputs is there.
make_image() {
  local kind=$1 user=$2 entrypoint=$3 env=$4 key out name root
  shift 4
  name=localhost/backproof/$kind:dev
  out=$IMAGES/$kind.tar
  key=$(digest "$HACK/image.sh" "$@")
  if [[ ! -f $out || $(cat "$out.key" 2>/dev/null) != "$key" ]]; then
    rm -f "$out.key"
    root=$(mktemp -d "$out.XXXXXX")
    chmod 755 "$root"
    "fill_${kind/backproof/core}" "$root"
    archive "$name" "$root" "$user" "$entrypoint" "$env" "$out"
    rm -rf "$root"
    printf '%s\n' "$key" >"$out.key"
    say "image $name: $(($(stat -c %s "$out") / 1048576)) MiB, $(cut -d ' ' -f 2 "$out.id" | cut -c 1-19)"
  fi
  printf '%s\n' "$out"
}

needs() {
  local file
  for file in "$@"; do
    [[ -e $file ]] || die "$file is missing; run: make setup"
  done
}

core() {
  local program inputs=()
  needs "$CERTIFICATES"
  for program in "${PROGRAMS[@]}"; do
    inputs+=("$CARGO_TARGET_DIR/x86_64-unknown-linux-musl/release/$program")
  done
  make_image backproof 65534:65534 '[]' '["PATH=/bin"]' "${inputs[@]}" "$CERTIFICATES"
}

restic() {
  needs "$CERTIFICATES" /usr/bin/busybox /usr/bin/restic
  ! ldd /usr/bin/busybox >/dev/null 2>&1 || die "/usr/bin/busybox needs shared libraries; run: make setup (package busybox-static)"
  make_image restic 65534:65534 '[]' '["PATH=/bin","HOME=/tmp"]' /usr/bin/busybox /usr/bin/restic "$CERTIFICATES"
}

postgres() {
  needs "$CERTIFICATES" "$POSTGRES/bin/psql"
  make_image postgres 65534:65534 '[]' '["PATH=/bin"]' \
    "$CARGO_TARGET_DIR/x86_64-unknown-linux-musl/release/backproof-executor" "$POSTGRES/bin/psql" "$CERTIFICATES"
}

server() {
  needs "$CERTIFICATES" /usr/bin/busybox /usr/bin/restic "$POSTGRES/bin/postgres"
  make_image postgres-server 65534:65534 '[]' "[\"PATH=$POSTGRES/bin:/bin\",\"HOME=/tmp\"]" \
    /usr/bin/busybox /usr/bin/restic "$POSTGRES/bin" "$CERTIFICATES"
}

pause() {
  make_image pause 65534:65534 '["/bin/pause"]' '[]' "$BIN/pause"
}

coredns() {
  make_image coredns 65534:65534 '["/bin/coredns"]' '[]' "$BIN/coredns"
}

mkdir -p "$IMAGES"
case ${1:-} in
  core)
    # Long, and cargo has a lock of its own.
    (cd "$HACK/.." && step "building the workspace" cargo build --locked --release --workspace)
    locked "$IMAGES/core.lock" core
    ;;
  # The executor in it is what `core` built.
  postgres) locked "$IMAGES/postgres.lock" postgres ;;
  server) locked "$IMAGES/postgres-server.lock" server ;;
  restic) locked "$IMAGES/restic.lock" restic ;;
  pause | coredns)
    "$HACK/tools.sh"
    locked "$IMAGES/$1.lock" "$1"
    ;;
  *) die "usage: image.sh core|postgres|server|restic|pause|coredns" ;;
esac
