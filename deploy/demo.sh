#!/usr/bin/env bash
# Shows the whole path on this machine, without root and without a service. `deploy/demo.sh --help` says more.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target="$root/target"
readonly root target
# shellcheck source=deploy/tools.sh
. "$root/deploy/tools.sh"

main() {
  case " $* " in
    *" --help "* | *" -h "*) exec cat "$root/tests/src/demo/help.txt" ;; # teaching needs no build
  esac
  ensure_compiler
  ensure_rust
  cd "$root"
  export CARGO_TARGET_DIR="$target"
  # Debug, because a first build takes a minute or two instead of ten; nobody measures speed with a demo.
  if ! [ -x "$target/debug/demo" ]; then
    say "building, the first time for a few minutes; later starts take a second"
  fi
  build || die "the build failed, see above"
  exec "$target/debug/demo" "$@"
}

# cargo's progress goes to a terminal; where there is none, only what went wrong is worth reading.
build() {
  local quiet=()
  [ -t 2 ] || quiet=(--quiet)
  cargo build --locked "${quiet[@]}" -p sagoo-edge -p driver-modbus -p e2e --bins
}

main "$@"
