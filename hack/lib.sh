# shellcheck shell=bash
# What every script here shares: where things live, and how long steps show that they are alive.
# Sourced, never run.
# shellcheck disable=SC2034  # the paths are for those who source this

set -euo pipefail
umask 022

HACK=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$HACK")
CACHE=${BACKPROOF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/backproof}
mkdir -p "$CACHE"
CACHE=$(cd "$CACHE" && pwd -P)
BIN=$CACHE/bin
IMAGES=$CACHE/images
CLUSTER_DIR=$CACHE/cluster
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
export PATH=$BIN:$PATH:/usr/sbin:/sbin

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# step WHAT COMMAND...: runs a long command with its output in a log, says every 10 s that it still runs,
# and shows the end of the log only if it fails.
step() {
  local what=$1 log start pid next=10 status=0
  shift
  mkdir -p "$CACHE/logs"
  log=$CACHE/logs/$(tr -cs 'a-zA-Z0-9\n' '-' <<<"$what").log
  start=$SECONDS
  say "$what ..."
  # In a process group of its own, so that an interrupt ends all of it.
  set -m
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  set +m
  trap 'kill -TERM -- "-$pid" 2>/dev/null; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - start >= next)); then
      say "$what: $((SECONDS - start)) s; $(tail -n 1 "$log" | cut -c 1-100)"
      next=$((SECONDS - start + 10))
    fi
  done
  wait "$pid" || status=$?
  trap - INT TERM
  if ((status != 0)); then
    tail -n 40 "$log" >&2
    die "$what failed after $((SECONDS - start)) s (exit code $status); the whole log is $log"
  fi
  say "$what: done in $((SECONDS - start)) s"
}

# digest PATH...: one hash over names and contents of files and directories, independent of where the tree lies.
digest() {
  local path
  for path in "$@"; do
    (cd "$(dirname "$path")" && find "$(basename "$path")" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
  done | sha256sum | cut -c 1-16
}

# locked FILE COMMAND...: one at a time; the lock ends with the command, it cannot be left behind.
locked() {
  local lock=$1
  shift
  (
    until flock --timeout 10 9; do say "waiting for another run that holds $lock"; done
    "$@"
  ) 9>"$lock"
}

# crate NAME VERSION ROOT: installs a program from its crate, with little optimization: it is used a few times for seconds each.
# Outside the tree, whose configuration would build it for the image's target.
crate() {
  local build
  build=$(mktemp -d "$CACHE/$1-build.XXXXXX")
  (cd / && CARGO_TARGET_DIR=$build CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo install --locked --version "$2" --root "$3" "$1")
  rm -rf "$build"
}
