#!/usr/bin/env bash
# The one gate: green here means green in CI. `deploy/check.sh --help` says more.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target="$root/target"
readonly root target
# shellcheck source=deploy/tools.sh
. "$root/deploy/tools.sh"

# In the order they run. Cheap ones first, so that a slip shows in seconds.
readonly STAGES=(install format clippy build layout test fuzz deny demo)
readonly DEMO_SECONDS=20
readonly FUZZ=drivers/modbus/fuzz
# How long each decoder is fed with any bytes, and how long in --long.
readonly FUZZ_SECONDS=60 LONG_FUZZ_SECONDS=600
# Decoders that are fuzzed at the same time.
readonly FUZZ_JOBS=2
# The long campaign: cases per property instead of proptest's 256, or of what the property itself asks for.
readonly LONG_CASES=3000
# And of the end-to-end campaigns: kills of the gateway, seconds without a broker, messages that it drops.
readonly LONG_KILLS=500 LONG_OUTAGE_SECONDS=600 LONG_TAKEN=200

usage() {
  cat <<TEXT
usage: deploy/check.sh [--long] [STAGE...]

Runs the whole gate, or only the stages named. Works from any folder, without a terminal.

  install   what is missing: compiler, pinned Rust, Go, mosquitto, pymodbus, libmodbus, mbpoll,
            faketime, cargo-deny, cargo-fuzz. Always runs first and takes no time once all is there; named
            alone it installs what any stage needs. Packages need root or a sudo that asks for nothing;
            without, it prints the one line to type. All else stays inside target/.
  format    cargo fmt --check, and bash -n on the scripts
  clippy    every target, warnings are errors
  build     every target, and the Go programs of tests/interop that the plugin tests talk to
  layout    the arrows between the rooms (tests/cases/layout.rs)
  test      every test, end to end included; a test that is skipped fails the stage
  fuzz      every decoder of $FUZZ for $FUZZ_SECONDS s, $FUZZ_JOBS at a time
  deny      licences, bans, sources; advisories where the network allows
  demo      deploy/demo.sh --seconds $DEMO_SECONDS: passes only if no sample was lost

  --long    adds the stage long: all properties again with $LONG_CASES cases each, $LONG_KILLS kills of a
            gateway that sends the oldest first and as many of one that sends the newest first, power cuts
            at every call of 150 histories of the store and a flip of each of its newest 64 Ki bytes, an
            outage of $LONG_OUTAGE_SECONDS s, all that the bench measures (target/bench/results.json), and every decoder fuzzed for $LONG_FUZZ_SECONDS s
  --help    this

The log of each stage is kept in target/check/STAGE.log.
TEXT
}

# --- the stages; each runs in a subshell of its own with `set -e` alive -------------------------

stage_install() {
  wanted format clippy build layout test fuzz demo deny long && ensure_compiler
  ensure_rust
  ! wanted build test long || ensure_go
  ! wanted test long || ensure_peers
  ! wanted fuzz long || ensure_cargo_fuzz
  ! wanted deny || ensure_cargo_deny
  cargo --version
}

stage_format() {
  local script
  cargo fmt --all --check
  for script in deploy/*.sh .ci/run; do bash -n "$script"; done
}

stage_clippy() { cargo clippy --locked --workspace --all-targets -- -D warnings; }

# Before the tests, because `cargo test` builds no other package's programs, and those are what the
# end-to-end tests start.
stage_build() {
  ensure_go # its paths; what is missing was installed before
  build_go_peers
  cargo build --locked --workspace --all-targets
}

# With the whole workspace, so that the features are those of the build before it and nothing is built twice.
stage_layout() { cargo test --locked --workspace --test e2e layout; }

stage_test() {
  stage_build
  run_tests test
}

stage_long() {
  stage_build
  # a property may turn cases down, so more cases need more patience with that too
  SAGOO_LONG_TESTS=yes PROPTEST_CASES=$LONG_CASES PROPTEST_MAX_GLOBAL_REJECTS=$((LONG_CASES * 4)) run_tests long --exclude e2e
  # campaigns against the real programs; the one that fails names its seed
  SAGOO_KILLS=$LONG_KILLS SAGOO_OUTAGE_S=$LONG_OUTAGE_SECONDS SAGOO_TAKEN=$LONG_TAKEN \
    cargo test --locked --workspace --test e2e -- kills:: outages::
  # the store, the plugin boundary, Modbus and the whole gateway in figures; kept in target/bench/results.json
  cargo build --locked --release -p bench -p sagoo-edge -p driver-modbus
  "$target/release/bench" all
  fuzz "$LONG_FUZZ_SECONDS"
}

stage_fuzz() {
  fuzz "$FUZZ_SECONDS"
  note fuzz "$(cargo_fuzz list | wc -l) decoders, $FUZZ_SECONDS s each"
}

# Every target for so many seconds. The first crash of one fails the stage, when all have ended.
fuzz() {
  local failed=0
  # cargo-fuzz would update the lock file without a word
  cargo metadata --locked --format-version 1 --manifest-path "$FUZZ/Cargo.toml" >/dev/null ||
    die "$FUZZ/Cargo.lock is behind. Type: cargo update --workspace --manifest-path $FUZZ/Cargo.toml"
  fuzz_target build "" || die "the fuzz targets do not build"
  export -f fuzz_target cargo_fuzz
  export FUZZ target
  cargo_fuzz list | xargs -P "$FUZZ_JOBS" -I TARGET bash -c 'fuzz_target run TARGET "$0"' "$1" || failed=1
  [ "$failed" = 0 ] || die "a decoder breaks a promise. The input and how to run it again are said above"
}

cargo_fuzz() { "$target/tools/bin/cargo-fuzz" fuzz "$1" --fuzz-dir "$FUZZ" "${@:2}"; }

# Builds them all, or runs one. Without a sanitizer: there is no unsafe code to be watched, and it is
# faster. RUSTC_BOOTSTRAP, because the pinned compiler is no nightly one. What is found is kept in target/.
fuzz_target() { # build or run, target, seconds
  local build=(--sanitizer none --debug-assertions --target-dir "$target/fuzz") work="$target/fuzz/$2"
  export RUSTC_BOOTSTRAP=1
  if [ "$1" = build ]; then
    cargo_fuzz build "${build[@]}"
    return
  fi
  mkdir -p "$work/corpus"
  if cargo_fuzz run "${build[@]}" "$2" "$work/corpus" "$FUZZ/seeds/$2" -- -max_total_time="$3" \
    -artifact_prefix="$work/" -rss_limit_mb=1024 -timeout=5 >"$work/log" 2>&1; then
    printf '%s: %s\n' "$2" "$(tail -n 1 "$work/log")"
    return
  fi
  tail -n 40 "$work/log"
  # shellcheck disable=SC2012 # names are ours
  printf '%s broke a promise. To run it again:\n  RUSTC_BOOTSTRAP=1 %s fuzz run --fuzz-dir %s %s %s %s\n' "$2" \
    "target/tools/bin/cargo-fuzz" "$FUZZ" "--sanitizer none --debug-assertions --target-dir target/fuzz" "$2" \
    "$(ls -t "$work"/*-* 2>/dev/null | head -n 1)"
  return 1
}

# Every test of the workspace; more arguments narrow the targets. Leaves a count as the stage's note.
run_tests() {
  local stage=$1 output="$logs/$1.tests" passed skipped
  shift
  cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$output"
  passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$output")
  skipped=$(awk '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ /^(ignored|filtered)/) n += $(i - 1) }
    END { print n + 0 }' "$output")
  rm "$output"
  note "$stage" "$passed tests passed"
  [ "$passed" -gt 0 ] || die "no test ran"
  [ "$skipped" = 0 ] || die "$skipped tests were skipped, and none may be"
}

stage_deny() {
  local deny=("$target/tools/bin/cargo-deny" --locked --log-level error)
  "${deny[@]}" check bans licenses sources
  if ! timeout 120 "${deny[@]}" fetch db >"$logs/advisories.fetch" 2>&1; then
    note deny "advisories not run: no network to the advisory database"
    say "advisories: not run (no network to the advisory database)"
    tail -n 3 "$logs/advisories.fetch"
    return
  fi
  # the database was fetched a moment ago, so a failure is a finding
  "${deny[@]}" check advisories
}

stage_demo() {
  deploy/demo.sh --seconds "$DEMO_SECONDS"
  note demo "nothing lost in $DEMO_SECONDS s"
}

# --- running them -------------------------------------------------------------------------------

wanted() { # is one of these stages to run, or to be ready for?
  local stage
  for stage in "$@"; do
    case " ${ready[*]} " in *" $stage "*) return 0 ;; esac
  done
  return 1
}

note() { printf '%s' "$2" >"$logs/$1.note"; }

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# In a terminal: one line that moves while the stage runs. Elsewhere: the stage's own words.
run_stage() {
  local stage=$1 log="$logs/$1.log" started=$SECONDS failed=0
  rm -f "$logs/$stage.note"
  if [ "$pretty" = yes ]; then
    ("stage_$stage") </dev/null >"$log" 2>&1 &
    job=$!
    while kill -0 "$job" 2>/dev/null; do
      show_progress "$stage" "$log" $((SECONDS - started))
      sleep 0.2
    done
    printf '\r\033[K'
  else
    say "=== $stage"
    { ("stage_$stage") </dev/null 2>&1 | tee "$log"; } &
    job=$!
  fi
  wait "$job" || failed=$?
  job=
  took[$stage]=$((SECONDS - started))
  notes[$stage]=$(cat "$logs/$stage.note" 2>/dev/null || true)
  if [ "$failed" = 0 ]; then
    result[$stage]=ok
    row "$stage"
  else
    result[$stage]=FAILED
    [ "$pretty" = no ] || tail -n 60 "$log"
  fi
}

show_progress() { # stage, log, seconds
  local last width
  width=$(($(tput cols 2>/dev/null || echo 80) - 22))
  last=$(tail -n 1 "$2" 2>/dev/null | tr -d '\000-\037' | cut -c "1-$((width > 20 ? width : 20))")
  printf '\r\033[K%-9s %6s  %s' "$1" "$(clock "$3")" "$last"
}

row() {
  local time=
  [ -z "${took[$1]:-}" ] || time=$(clock "${took[$1]}")
  printf '%-9s %6s  %-7s %s\n' "$1" "$time" "${result[$1]:-not run}" "${notes[$1]:-}"
}

table() {
  local stage
  printf '\n%-9s %6s  %s\n' stage time result
  for stage in "${run[@]}"; do row "$stage"; done
  printf '%-9s %6s\n' total "$(clock $SECONDS)"
}

# Ctrl-C and every other end: what a stage started ends with it.
stop() {
  local code=$?
  trap - EXIT INT TERM
  if [ -n "${job:-}" ]; then
    kill -TERM -- "-$job" 2>/dev/null || true
    say ""
    say "stopped"
  fi
  exit "$code"
}

main() {
  local argument stage named long=no
  run=()
  for argument in "$@"; do
    case "$argument" in
      --help | -h) usage && exit 0 ;;
      --long) long=yes ;;
      install) ;; # always runs, and first
      *)
        case " ${STAGES[*]} long " in
          *" $argument "*) run+=("$argument") ;;
          *) die "no stage '$argument': deploy/check.sh --help lists them" ;;
        esac
        ;;
    esac
  done
  named=$*
  named=${named//--long/}
  [ -n "${named// /}" ] || run=("${STAGES[@]:1}")
  [ "$long" = no ] || run+=(long)
  ready=("${run[@]}")
  [ "${#run[@]}" -gt 0 ] || ready=("${STAGES[@]}" long) # install alone is for all that may follow
  run=(install "${run[@]}")

  cd "$root"
  # one folder for all that is built, whatever the environment says: the tests look for the programs there
  export CARGO_TARGET_DIR="$target"
  logs="$target/check"
  mkdir -p "$logs"
  pretty=no
  [ ! -t 1 ] || [ "${TERM:-dumb}" = dumb ] || [ -n "${CI:-}" ] || pretty=yes
  declare -gA took=() result=() notes=()
  set -m # each stage in a process group of its own, so that it can be ended whole
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  for stage in "${run[@]}"; do
    run_stage "$stage" # never in a condition: that would switch `set -e` off inside the stage
    [ "${result[$stage]}" = ok ] || fail "$stage"
  done
  table
}

fail() {
  table
  die "
$1 failed. Its log: target/check/$1.log. To run it alone: deploy/check.sh $1"
}

main "$@"
