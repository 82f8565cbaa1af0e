#!/usr/bin/env bash
# Takes one guard at a time out of a copy of the tree and demands that a test goes red for it: mutants.sh quick|all|NAME...
# A mutant is a patch in mutants/, see mutants/README.md. It has failed when its patch no longer applies, when it does not build
# or does not end, when its tests stay green or the named one does, and when they are not green without it.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MUTANTS=$ROOT/mutants
# The copy and what is built of it. Cargo knows a workspace's packages by their place within it, so both come from the tree with
# their times: whatever is not mutated counts as built. For the same reason the two never share a target directory, or the
# tree's own tests would run what was mutated.
WORK=$CACHE/mutants
COPY=$WORK/tree
# Fewest guards there have to be, and how many of them every test run takes out.
LEAST=12
QUICK=4
# Seconds after which tests count as hanging.
PATIENCE=600

# field NAME WORD: what the head of a patch says.
field() { sed -n "/^--- /q; s/^$2: //p" "$MUTANTS/$1.patch"; }

# cargo_test NAME ARGUMENT...: the tests of a mutant, in the directory this is called in.
cargo_test() {
  local target level flags=(--lib)
  target=$(field "$1" target)
  # A crate that is a program alone has its tests in there.
  [[ -e crates/$(field "$1" crate)/src/lib.rs ]] || flags=(--bins)
  [[ $target == lib ]] || flags=(--test "$target")
  # What is built to fail once is not worth much optimising; only the executor's tests compute more than they compile.
  level=0
  [[ $(field "$1" crate) != executor ]] || level=1
  [[ $PWD != "$COPY" ]] || flags+=(--config "profile.release.package.backproof-$(field "$1" crate).opt-level=$level")
  shift
  cargo test --locked --release --workspace "${flags[@]}" "$@"
}

# run_tests NAME: builds and runs them; sets `output` and `status`.
run_tests() {
  cargo_test "$1" --no-run || return 1
  export -f cargo_test field
  export MUTANTS COPY
  status=0
  output=$(timeout "$PATIENCE" bash -c 'cargo_test "$@"' - "$1" "$(field "$1" filter)" -- --test-threads=2 2>&1) || status=$?
  printf '%s\n' "$output"
}

# Without the patch the same tests pass, and the named one is among them.
is_green_without() {
  local output status
  cd "$ROOT"
  run_tests "$1" || { echo "the tests of mutant $1 do not build"; return 1; }
  ((status == 0)) || { echo "the tests of mutant $1 are not green without it"; return 1; }
  grep -q "^test $(field "$1" red) \.\.\. ok$" <<<"$output" || { echo "its filter chooses no test $(field "$1" red)"; return 1; }
}

is_red_with() {
  local output status
  cd "$COPY"
  patch --strip=1 --forward --fuzz=0 --no-backup-if-mismatch --reject-file=- <"$MUTANTS/$1.patch" \
    || { echo "the patch no longer applies: write it anew for the code as it is"; return 1; }
  run_tests "$1" || { echo "it does not build, which proves nothing"; return 1; }
  ((status != 0)) || { echo "its tests stay green: nobody misses this guard"; return 1; }
  ((status != 124)) || { echo "its tests did not end within $PATIENCE s"; return 1; }
  grep -q "^test $(field "$1" red) \.\.\. FAILED$" <<<"$output" || { echo "test $(field "$1" red) does not go red"; return 1; }
}

copy() {
  rm -rf "$WORK"
  mkdir -p "$COPY"
  tar --create --format=posix --directory="$ROOT" --exclude=./.git --exclude=./target . | tar --extract --directory="$COPY"
  cp --archive --reflink=auto "$CARGO_TARGET_DIR" "$WORK/target"
}

# Puts back what a patch touched. It is newer than what was built of it, so it is built again.
put_back() {
  local path
  while read -r path; do cp "$ROOT/$path" "$COPY/$path"; done < <(sed -n 's,^+++ b/,,p' "$MUTANTS/$1.patch")
}

all_of() {
  local name failed=()
  for name in "$@"; do
    (step "mutant $name: green without it" is_green_without "$name") || failed+=("$name")
  done
  ((${#failed[@]} == 0)) || die "there is nothing to go red for: ${failed[*]}"
  step "copying tree and target directory" copy
  export CARGO_TARGET_DIR=$WORK/target
  for name in "$@"; do
    (step "mutant $name: red" is_red_with "$name") || failed+=("$name")
    put_back "$name"
  done
  ((${#failed[@]} == 0)) || die "these mutants do not do what they are for: ${failed[*]}"
  rm -rf "$WORK"
  say "$# guards were taken out one by one, and each was missed"
}

# Those of the api crate come last: everything is built again after them.
names=()
for crate in controller executor webhook api; do
  for path in "$MUTANTS"/*.patch; do
    [[ -e $path && $(field "$(basename "$path" .patch)" crate) == "$crate" ]] || continue
    names+=("$(basename "$path" .patch)")
  done
done
patches=("$MUTANTS"/*.patch)
((${#names[@]} == ${#patches[@]})) || die "each patch in mutants/ has to name its crate: controller, executor, webhook or api"
((${#names[@]} >= LEAST)) || die "there are ${#names[@]} patches in mutants/, and at least $LEAST have to be"
for name in "${names[@]}"; do
  for word in guard without target filter red; do
    [[ -n $(field "$name" "$word") ]] || die "mutants/$name.patch has no line \"$word: ...\" at its head"
  done
done
chosen=()
case ${1:-} in
  all) chosen=("${names[@]}") ;;
  quick)
    for name in "${names[@]}"; do
      if [[ $(field "$name" quick) == yes ]]; then chosen+=("$name"); fi
    done
    ((${#chosen[@]} == QUICK)) || die "${#chosen[@]} patches say \"quick: yes\", and $QUICK have to"
    ;;
  "") die "usage: mutants.sh quick|all|NAME..." ;;
  *)
    for name in "$@"; do
      [[ -e $MUTANTS/$name.patch ]] || die "there is no mutants/$name.patch"
      chosen+=("$name")
    done
    ;;
esac
locked "$CACHE/mutants.lock" all_of "${chosen[@]}"
