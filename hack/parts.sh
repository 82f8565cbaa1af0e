#!/usr/bin/env bash
# Runs make targets one after the other, stops at the first that fails, and ends with how long each took.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$HACK/.."

times=()
report() {
  ((${#times[@]} == 0)) || printf '%s\n' "${times[@]}"
}
trap report EXIT

for part in "$@"; do
  start=$SECONDS
  say "==== $part"
  if "${MAKE:-make}" "$part"; then result=passed; else result=FAILED; fi
  times+=("$(printf '  %-18s %6d s  %s' "$part" "$((SECONDS - start))" "$result")")
  [[ $result == passed ]] || exit 1
done
