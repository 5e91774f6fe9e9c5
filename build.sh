#!/usr/bin/env bash
# The only entry: ./build.sh setup | check | test | web | serve | bench
set -euo pipefail
cd "$(dirname "$0")"

# Compiled dependencies live outside the clone: a fresh clone on the same machine builds in minutes.
CACHE="${LORALOOM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/loraloom}"
NATIVE="$CACHE/native"
WASM="$CACHE/wasm"
WASM_TARGET=wasm32-unknown-unknown

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

need_rust() {
  command -v cargo >/dev/null || fail "cargo is missing; install Rust (rustup.rs), then run this again"
  command -v cc >/dev/null || fail "a C compiler is missing; install one (Debian: apt-get install build-essential)"
  if command -v rustup >/dev/null; then
    rustup target list --installed | grep -qx "$WASM_TARGET" || rustup target add "$WASM_TARGET"
    for component in rustfmt clippy; do
      rustup component list --installed | grep -q "^$component" || rustup component add "$component"
    done
  fi
}

# wgpu needs a Vulkan driver for the tests on the GPU device; Mesa's lavapipe is software and always works.
need_vulkan() {
  ls /usr/share/vulkan/icd.d/*lvp* /etc/vulkan/icd.d/* /usr/share/vulkan/icd.d/* >/dev/null 2>&1 && return
  install_package mesa-vulkan-drivers "a Vulkan driver (Mesa's lavapipe is enough)"
}

install_package() {
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq "$1" >/dev/null
  else
    fail "$2 is missing; install it (Debian: sudo apt-get install $1), then run this again"
  fi
}

setup() {
  need_rust
  [ "$(uname -s)" != Linux ] || need_vulkan
}

# Imports point one way (see src/lib.rs); what must not cross is searched for.
crossings() {
  local found=0
  forbid() { # what, pattern, files
    local what="$1" pattern="$2"; shift 2
    if grep -rnE "$pattern" "$@" --include='*.rs' | grep -vE '^[^:]+:[0-9]+: *//' ; then
      printf 'error: %s\n' "$what" >&2; found=1
    fi
  }
  forbid "src/cli and web import the crate's root, session, pretrain, report and error only" \
    '^ *(use loraloom::|loraloom::)?(vit|lora|methods|train|evaluate|checkpoint|dataset|image|head|device|matrix|random)::' src/cli web/src
  forbid "vit, image and dataset do not know LoRA, methods or sessions" \
    'crate::(lora|methods|train|evaluate|checkpoint|session)' src/vit src/image src/dataset.rs src/head.rs
  forbid "lora does not know methods or sessions" 'crate::(methods|train|evaluate|checkpoint|session)' src/lora
  forbid "methods do not know training or sessions" 'crate::(train|evaluate|checkpoint|session)' src/methods
  forbid "train, evaluate and checkpoint do not know sessions" 'crate::session' src/train src/evaluate.rs src/checkpoint
  forbid "a synchronous read-back panics in a browser; use the _async one" \
    '\.(into_data|to_data|into_scalar)\(|\.sync\(\)' src web/src
  forbid "cfg(target) belongs in device.rs, lib.rs and main.rs" 'cfg\(.*target_(arch|family)' src/vit src/lora \
    src/methods src/train src/session src/checkpoint src/image
  return "$found"
}

check() {
  setup
  say "format";            cargo fmt --all --check
  say "import directions"; crossings
  say "clippy, native";    CARGO_TARGET_DIR="$NATIVE" cargo clippy --quiet --all-targets -- -D warnings
  say "clippy, wasm";      CARGO_TARGET_DIR="$WASM" cargo clippy --quiet -p loraloom-web --target "$WASM_TARGET" -- -D warnings
  say "documentation";     CARGO_TARGET_DIR="$NATIVE" RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps
}

tests() {
  check
  say "tests"
  CARGO_TARGET_DIR="$NATIVE" cargo test --quiet
}

bench() {
  need_rust
  CARGO_TARGET_DIR="$NATIVE" cargo bench --quiet --profile dev "$@" # Its dependencies are optimised and already compiled.
}

case "${1:-}" in
  setup) setup ;;
  check) check ;;
  test) tests ;;
  bench) shift; bench "$@" ;;
  *) fail "usage: ./build.sh setup | check | test | bench" ;;
esac
