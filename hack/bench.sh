#!/usr/bin/env bash
# Restores the same repositories with backproof-executor and with Debian's restic, in turn, and prints time and peak
# memory as ratios. Two repositories: many small files, few large ones. With read-back (restic: --verify) and without.
#   RUNS=3 SCALE=100: how often (median and least count), and the size of the data in percent
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RUNS=${RUNS:-3}
SCALE=${SCALE:-100}
EXECUTOR=${EXECUTOR:-$CARGO_TARGET_DIR/x86_64-unknown-linux-musl/release/backproof-executor}
WORK=$(mktemp -d "$CACHE/bench.XXXXXX")
trap 'rm -rf "${WORK:?}"' EXIT
export RESTIC_PASSWORD=bench RESTIC_CACHE_DIR=$WORK/cache
[[ -x $EXECUTOR ]] || die "$EXECUTOR is missing; run: make build"
[[ -x /usr/bin/time ]] || die "/usr/bin/time is missing; run: make setup"

# The same bytes every time, and nothing a compressor could shorten.
# openssl would go on for ever; that `head` ends it is no failure.
noise() { { openssl enc -aes-128-ctr -K "$(printf '%032d' "$1")" -iv "$(printf '%032d' 0)" </dev/zero 2>/dev/null || true; } | head -c "$2"; }

# files SEED COUNT SIZE DIRECTORY: COUNT files of SIZE bytes, 500 to a directory.
files() {
  local seed=$1 count=$((($2 * SCALE + 99) / 100)) size=$3 directory=$4 part
  for ((part = 0; part * 500 < count; part++)); do
    mkdir -p "$directory/$size-$part"
    noise "$seed$part" $((size * (count - part * 500 < 500 ? count - part * 500 : 500))) |
      split --bytes="$size" --suffix-length=3 - "$directory/$size-$part/f"
  done
}

make_repository() {
  local kind=$1
  case $kind in
    many) files 1 10000 4096 "$WORK/many" && files 2 8000 16384 "$WORK/many" && files 3 2000 131072 "$WORK/many" ;;
    few) files 4 8 134217728 "$WORK/few" ;;
  esac
  restic init --quiet --repo "$WORK/$kind.repository"
  (cd "$WORK/$kind" && restic backup --quiet --repo "$WORK/$kind.repository" .)
}

# run NAME KIND: one restore into an empty directory from a cold cache; prints "seconds CPU-seconds KiB".
run() {
  local name=$1 kind=$2 allowed=0 command repository=$WORK/$2.repository target status=0
  target=$(mktemp -d "$WORK/target.XXXXXX")
  sync
  if [[ -w /proc/sys/vm/drop_caches ]]; then printf 3 >/proc/sys/vm/drop_caches || true; fi
  case $name in
    restic) command=(restic restore latest --quiet --repo "$repository" --target "$target") ;;
    restic-verify) command=(restic restore latest --verify --quiet --repo "$repository" --target "$target") ;;
    # Without full read-back the verdict is never Verified: exit code 2 is the right answer there.
    backproof-off) allowed=2 command=("$EXECUTOR" restore --repository "file://$repository" --snapshot latest --target "$target" --report "$WORK/report" --read-back off) ;;
    backproof-full) command=("$EXECUTOR" restore --repository "file://$repository" --snapshot latest --target "$target" --report "$WORK/report") ;;
  esac
  /usr/bin/time --quiet --format '%e %U %S %M' --output "$WORK/measured" "${command[@]}" >"$WORK/output" 2>&1 || status=$?
  if ((status != allowed)); then
    tail -n 20 "$WORK/output" >&2
    die "$name on $kind ended with exit code $status, expected $allowed"
  fi
  rm -f "$target/.backproof.json"
  diff --recursive --brief --no-dereference "$WORK/$kind" "$target" >&2 || die "$name did not restore $kind as it was"
  # Emptied, and removed at the very end: for half a minute ext4 steps over every inode that was just removed when it
  # looks for a new one, and the next restore would pay for that.
  find "$target" -type f -exec truncate --size=0 {} +
  awk 'END { printf "%.2f %.2f %d\n", $1, $2 + $3, $4 }' "$WORK/measured"
}

# column FILE NUMBER: that column, sorted.
column() { awk -v column="$2" '{ print $column }' "$1" | sort -n; }
median() { awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

declare -A SECONDS_OF LEAST_OF CPU_OF MEMORY_OF
measure() {
  local kind=$1 name turn
  for ((turn = 1; turn <= RUNS; turn++)); do
    # In turn, so that whatever else the machine does meets all of them.
    for name in restic backproof-off restic-verify backproof-full; do
      run "$name" "$kind" >>"$WORK/$kind.$name"
      say "$kind files, run $turn of $RUNS: $name $(tail -n 1 "$WORK/$kind.$name" | awk '{ printf "%.2f s, %.2f s of CPU, %d MiB", $1, $2, $3 / 1024 }')"
    done
  done
  for name in restic backproof-off restic-verify backproof-full; do
    SECONDS_OF[$kind.$name]=$(column "$WORK/$kind.$name" 1 | median)
    LEAST_OF[$kind.$name]=$(column "$WORK/$kind.$name" 1 | head -n 1)
    CPU_OF[$kind.$name]=$(column "$WORK/$kind.$name" 2 | median)
    MEMORY_OF[$kind.$name]=$(column "$WORK/$kind.$name" 3 | median)
  done
}

row() {
  local kind=$1 ours=$2 theirs=$3 what=$4
  awk -v what="$what" -v a="${SECONDS_OF[$kind.$ours]}" -v b="${SECONDS_OF[$kind.$theirs]}" \
    -v c="${LEAST_OF[$kind.$ours]}" -v d="${LEAST_OF[$kind.$theirs]}" -v e="${CPU_OF[$kind.$ours]}" -v f="${CPU_OF[$kind.$theirs]}" \
    -v m="${MEMORY_OF[$kind.$ours]}" -v n="${MEMORY_OF[$kind.$theirs]}" 'BEGIN {
      printf "| %-34s | %5.2f | %5.2f | %4.2f | %5.2f | %5.2f | %4.2f | %5.2f | %5.2f | %4.2f | %4d | %4d | %4.2f |\n",
        what, a, b, a / b, c, d, c / d, e, f, e / f, m / 1024, n / 1024, m / n }'
}

for kind in many few; do
  step "making the repository of $kind files" make_repository "$kind"
  measure "$kind"
done
printf '\n%s, %s, %s cores, median of %s\n\n' "$("$EXECUTOR" --version)" "$(restic version | cut -d ' ' -f 1-2)" "$(nproc)" "$RUNS"
printf '| restore | seconds, median | restic | ratio | least | restic | ratio | CPU, median | restic | ratio | MiB | restic | ratio |\n'
printf '|---|---|---|---|---|---|---|---|---|---|---|---|---|\n'
for kind in many few; do
  row "$kind" backproof-off restic "$kind files, not read back"
  row "$kind" backproof-full restic-verify "$kind files, read back / --verify"
done
