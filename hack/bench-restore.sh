#!/bin/sh
# Restores the same repositories with backproof-executor and with Debian's restic, in the same run, and prints a Markdown
# table of times and peak memory (for docs/performance.md).
#
#   hack/bench-restore.sh [EXECUTOR]
#
# Two repositories: many small files, and few large ones. Two comparisons: with full read-back against
# `restic restore --verify`, and without against plain `restic restore`. The four take turns, three rounds, and the median
# counts. Before every run the repository's pages are dropped from the page cache where the machine allows it, for both alike.
#
#   BENCH_FILES   small files (20000)          BENCH_MIB  MiB in large files (2048)
#   BENCH_ROUNDS  rounds (3)                   BENCH_DIR  where to work; needs about four times BENCH_MIB
#   BENCH_KEEP=1  keeps the repositories for the next run
set -eu

executor=${1:-${CARGO_TARGET_DIR:-${BACKPROOF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/backproof}/target}/x86_64-unknown-linux-musl/release/backproof-executor}
files=${BENCH_FILES:-20000}
mebibytes=${BENCH_MIB:-2048}
rounds=${BENCH_ROUNDS:-3}
directory=${BENCH_DIR:-${TMPDIR:-/tmp}/backproof-bench}

say() { echo "$*" >&2; }
fail() {
    say "bench-restore: $1"
    exit 1
}
[ -x "$executor" ] || fail "$executor is missing: cargo build --release -p backproof-executor"
command -v restic > /dev/null || fail "restic is missing: apt-get install restic"
[ -x /usr/bin/time ] || fail "GNU time is missing: apt-get install time"
RESTIC_PASSWORD=bench
export RESTIC_PASSWORD

mkdir -p "$directory"
[ -n "${BENCH_KEEP:-}" ] || trap 'rm -rf "$directory"' EXIT
trap 'exit 1' INT TERM

# The content does not compress, so that both read and write the same number of bytes.
make_small() {
    say "making $files small files"
    mkdir -p "$directory/small/source"
    awk -v files="$files" -v root="$directory/small/source" 'BEGIN { for (at = 0; at < files; at += 100) printf "%s/d%d/d%d\n", root, at / 1000, at / 100 }' | xargs mkdir -p
    # 1 to 32 KiB each, cut from one stream.
    awk -v files="$files" -v root="$directory/small/source" 'BEGIN { srand(1); for (at = 0; at < files; at++) printf "%s/d%d/d%d/f%d %d\n", root, at / 1000, at / 100, at, 1024 + rand() * 31744 }' > "$directory/small/list"
    perl -e 'open my $noise, "<", "/dev/urandom"; while (<>) { my ($path, $size) = split; read $noise, my $bytes, $size; open my $file, ">", $path or die "$path: $!"; print $file $bytes; close $file }' < "$directory/small/list"
}

make_large() {
    say "making $mebibytes MiB in large files"
    mkdir -p "$directory/large/source"
    for at in 1 2 3 4 5 6 7 8; do
        head -c $((mebibytes / 8 * 1048576)) /dev/urandom > "$directory/large/source/file$at"
    done
}

prepare() {
    [ -d "$directory/$1/repository" ] && return
    "make_$1"
    restic -q -r "$directory/$1/repository" init > /dev/null
    say "backing $1 up"
    (cd "$directory/$1/source" && restic -q --no-cache -r "$directory/$1/repository" backup .)
}

forget_pages() {
    sync
    # Not everybody may; then every run finds the pages in memory, for both alike.
    (echo 1 > /proc/sys/vm/drop_caches) 2> /dev/null || true
}

# Runs $3... and appends "SECONDS KIB" to the figures of $1-$2.
measure() {
    kind=$1
    name=$2
    shift 2
    rm -rf "$directory/target"
    mkdir "$directory/target"
    forget_pages
    # Ours ends with 2 when less than everything was read back: that is its answer, not a failure to restore.
    status=0
    /usr/bin/time -o "$directory/time" -f '%e %M' "$@" > "$directory/output" 2>&1 || status=$?
    case $name:$status in
        *:0 | ours-plain:2) ;;
        *)
            cat "$directory/output" >&2
            fail "$name on $kind ended with exit code $status"
            ;;
    esac
    tail -n 1 "$directory/time" >> "$directory/figures-$kind-$name"
    [ "$(find "$directory/target" -type f ! -name .backproof.json | wc -l)" = "$(find "$directory/$kind/source" -type f | wc -l)" ] || fail "$name did not restore every file of $kind"
    say "$kind $name: $(tail -n 1 "$directory/time") (seconds, KiB)"
}

median() {
    sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

figure() {
    awk -v column="$3" '{ print $column }' "$directory/figures-$1-$2" | median
}

row() {
    ours_time=$(figure "$1" "ours-$2" 1)
    theirs_time=$(figure "$1" "restic-$2" 1)
    ours_memory=$(figure "$1" "ours-$2" 2)
    theirs_memory=$(figure "$1" "restic-$2" 2)
    awk -v what="$3" -v a="$ours_time" -v b="$theirs_time" -v c="$ours_memory" -v d="$theirs_memory" \
        'BEGIN { printf "| %s | %.2f s | %.2f s | **%.2f** | %d MiB | %d MiB | **%.2f** |\n", what, a, b, b / (a > 0 ? a : 0.01), c / 1024, d / 1024, c / d }'
}

rm -f "$directory"/figures-*
for kind in small large; do
    prepare "$kind"
    repository=$directory/$kind/repository
    round=1
    while [ "$round" -le "$rounds" ]; do
        say "round $round of $rounds"
        measure "$kind" ours-proof "$executor" restore --repository="file://$repository" --snapshot=latest --target="$directory/target" --report=-
        measure "$kind" restic-proof restic -q --no-cache -r "$repository" restore latest --verify --target "$directory/target"
        measure "$kind" ours-plain "$executor" restore --repository="file://$repository" --snapshot=latest --target="$directory/target" --report=- --read-back=off
        measure "$kind" restic-plain restic -q --no-cache -r "$repository" restore latest --target "$directory/target"
        round=$((round + 1))
    done
done

echo "\`hack/bench-restore.sh\`, $(restic version | cut -d' ' -f1-2), $(nproc) processors, median of $rounds rounds."
echo "Faster: restic's time over ours (bar 1.2). Memory: our peak over restic's (bar 2)."
echo
echo "| What | Backproof | restic | Faster | Backproof's peak | restic's peak | Memory |"
echo "|---|---|---|---|---|---|---|"
row small proof "$files small files, everything read back"
row small plain "$files small files, nothing read back"
row large proof "$mebibytes MiB in 8 files, everything read back"
row large plain "$mebibytes MiB in 8 files, nothing read back"
