# What deploy/check.sh and deploy/demo.sh need on the machine, installed where they may be.
# Sourced, not run. Every function either makes its tool available or says what to type and ends.
# shellcheck shell=bash
: "${root:?the checkout}" "${target:?what is built goes there}"

# The one place that says which version of each tool the gate was written with.
readonly PYMODBUS=pymodbus==3.16.1 # a device nobody here wrote, for the end-to-end tests
readonly PYSERIAL=pyserial==3.5    # with which pymodbus serves serial lines
readonly PROMETHEUS=prometheus-client==0.26.0 # Prometheus' own reader of a page of metrics
readonly CARGO_DENY=0.20.2
readonly CARGO_FUZZ=0.13.2

# Debian keeps mosquitto where only root's PATH looks; rustup keeps cargo where a new shell looks.
PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

say() { printf '%s\n' "$*"; }

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root, without ever asking for a password. False where that is not possible.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 1
  fi
}

# Installs Debian packages, or prints the one line that does.
install_packages() {
  local line="sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
  have apt-get || die "these are needed and this system has no apt-get: $*" \
    "(the names are Debian's). Install them the way this system does, then run this again."
  as_root true || die "these packages are needed, and installing them needs root. Type this, then run it again:
  $line"
  say "installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# The compiler and linker that Rust's crates with C inside (TLS) are built with.
ensure_compiler() {
  if have cc && printf 'int main(void){return 0;}' | cc -x c -o /dev/null - 2>/dev/null; then
    return
  fi
  install_packages build-essential
}

# The version that rust-toolchain.toml pins.
pinned_rust() { sed -n 's/^channel = "\(.*\)"$/\1/p' "$root/rust-toolchain.toml"; }

# The pinned Rust. Only rustup reads rust-toolchain.toml; any other cargo has to be that version itself.
ensure_rust() {
  local pinned found
  pinned=$(pinned_rust)
  if ! have cargo && ! have rustup; then
    have curl || install_packages curl ca-certificates
    say "installing Rust with rustup, for this user only, into ~/.rustup and ~/.cargo"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
      sh -s -- -y --quiet --profile minimal --default-toolchain none --no-modify-path ||
      die "rustup could not be installed. Type this, then run it again:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    hash -r
  fi
  if have rustup; then
    # rustup's cargo need not be the first one found, so ask rustup and not cargo
    if ! rustup run "$pinned" cargo fmt --version >/dev/null 2>&1 ||
      ! rustup run "$pinned" cargo clippy --version >/dev/null 2>&1; then
      say "installing Rust $pinned, the version rust-toolchain.toml pins"
      rustup toolchain install "$pinned" --profile minimal --component rustfmt --component clippy ||
        die "Rust $pinned could not be installed. Type this, then run it again:
  rustup toolchain install $pinned --component rustfmt --component clippy"
    fi
  fi
  found=$(cd "$root" && cargo --version | cut -d ' ' -f 2)
  [ "$found" = "$pinned" ] || die "cargo is $found and not the pinned $pinned: $(command -v cargo) does not read" \
    "rust-toolchain.toml, so it is not rustup's. Put ~/.cargo/bin first in PATH, or install rustup:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
}

# Broker, devices and masters of the end-to-end tests: programs nobody here wrote.
ensure_peers() {
  local missing=() python="$target/venv/bin/python"
  have mosquitto || missing+=(mosquitto)
  have openssl || missing+=(openssl) # makes the certificates of the TLS tests
  have minisign || missing+=(minisign) # signs and checks driver packages, beside ours
  have faketime || missing+=(faketime) # a gateway whose clock is wrong, or stepped
  have mbpoll || missing+=(mbpoll) # a Modbus master, against our simulator
  # a second Modbus slave (tests/rig/slave.c)
  printf '#include <modbus/modbus.h>' | cc -fsyntax-only -x c - 2>/dev/null || missing+=(libmodbus-dev)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  # the system's own Python runs drivers: what a driver in Python needs
  /usr/bin/python3 -c 'import cryptography, google.protobuf, grpc' 2>/dev/null ||
    missing+=(python3-grpcio python3-protobuf python3-cryptography)
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
  if ! "$python" -c "import pymodbus, serial
from importlib.metadata import version
assert 'pymodbus==' + pymodbus.__version__ == '$PYMODBUS'
assert 'pyserial==' + serial.__version__ == '$PYSERIAL'
assert 'prometheus-client==' + version('prometheus-client') == '$PROMETHEUS'" 2>/dev/null; then
    say "installing $PYMODBUS, $PYSERIAL and $PROMETHEUS into ${python%/bin/python}"
    python3 -m venv --clear "$target/venv"
    "$python" -m pip install --quiet --disable-pip-version-check "$PYMODBUS" "$PYSERIAL" "$PROMETHEUS"
  fi
}

# The version that tests/interop/go/go.mod asks for.
pinned_go() { sed -n 's/^go //p' "$root/tests/interop/go/go.mod"; }

# Is the go that is found first this version or a later one?
go_is() {
  have go && printf '%s\n' "$1" "$(cd / && go env GOVERSION | sed 's/^go//')" | sort -C -V
}

# Go, for the peers of the plugin tests. Whatever go is there fetches the pinned one, as a module,
# if it is too old itself.
ensure_go() {
  local pinned
  pinned=$(pinned_go)
  # all that Go fetches and builds stays in target/, where it can be removed again
  export GOPATH="$target/go" GOCACHE="$target/go/build" GOFLAGS=-modcacherw
  PATH="$target/tools/go/bin:$PATH:/usr/local/go/bin"
  go_is "$pinned" && return
  have go || install_packages golang-go
  go_is "$pinned" && return
  fetch_go "$pinned" || true # what is missing then is said below
  go_is "$pinned" || die "Go $pinned or later is needed and could not be fetched. Install it from https://go.dev/dl," \
    "put its bin folder first in PATH, then run this again."
}

fetch_go() { # version
  local arch module found
  case "$(uname -m)" in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    armv*) arch=armv6l ;;
    *) return ;;
  esac
  module="golang.org/toolchain@v0.0.1-go$1.linux-$arch"
  say "fetching Go $1 into target/tools/go"
  # from a folder without a go.mod, which would ask for the version that is to be fetched
  found=$(cd "$target" && GO111MODULE=on go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
  [ -d "$found" ] || return
  rm -rf "$target/tools/go"
  mkdir -p "$target/tools"
  cp -r "$found" "$target/tools/go"
  # modules are stored without the right to run them
  chmod -R u+w "$target/tools/go"
  chmod u+x "$target/tools/go/bin/"* "$target/tools/go/pkg/tool/linux_${arch%v6l}/"*
  hash -r
}

# The Go host and the Go plugin that the plugin tests talk to. Go itself sees what has changed.
build_go_peers() {
  local peers="$root/tests/interop/go" unformatted
  unformatted=$(gofmt -l "$peers")
  [ -z "$unformatted" ] || die "not formatted, run gofmt -w on them: $unformatted"
  mkdir -p "$target/interop"
  (cd "$peers" && go vet ./... && go build -trimpath -o "$target/interop/go-host" ./host &&
    go build -trimpath -o "$target/interop/go-plugin" ./plugin)
}

ensure_cargo_deny() { ensure_cargo_tool cargo-deny "$CARGO_DENY"; }

ensure_cargo_fuzz() { ensure_cargo_tool cargo-fuzz "$CARGO_FUZZ"; }

# Built once, without optimisation: it runs for a second and builds in one minute instead of five.
ensure_cargo_tool() { # name, version
  local tools="$target/tools"
  [ "$("$tools/bin/$1" --version 2>/dev/null)" = "$1 $2" ] && return
  say "building $1 $2 into $tools, once"
  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
    CARGO_TARGET_DIR="$tools/build" cargo install --quiet --locked --force --root "$tools" "$1@$2"
  rm -rf "$tools/build"
}
