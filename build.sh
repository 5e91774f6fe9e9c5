#!/usr/bin/env bash
# The only entry: ./build.sh setup | check | test | web | serve | bench
set -euo pipefail
cd "$(dirname "$0")"

# Compiled dependencies live outside the clone: a fresh clone on the same machine builds in minutes.
CACHE="${LORALOOM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/loraloom}"
NATIVE="$CACHE/native"
WASM="$CACHE/wasm"
TOOLS="$CACHE/tools"
WASM_TARGET=wasm32-unknown-unknown
WASM_FLAGS="-C target-feature=+simd128"
# What the page's forward pass is compared with; only the benchmark wants it.
ORT_VERSION=1.30.0
# A first visit downloads this much code at most, in bytes after brotli.
CODE_LIMIT=3500000

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
  elif [ ! -d "$(rustc --print sysroot)/lib/rustlib/$WASM_TARGET" ]; then
    fail "this Rust cannot build for $WASM_TARGET; install Rust by rustup (rustup.rs) instead, then run this again"
  fi
}

# wgpu needs a Vulkan driver for the tests on the GPU device; Mesa's lavapipe is software and always works.
need_vulkan() {
  local folder
  for folder in /usr/share /usr/local/share /etc "${XDG_DATA_HOME:-$HOME/.local/share}"; do
    compgen -G "$folder/vulkan/icd.d/*.json" >/dev/null && return
  done
  install_package mesa-vulkan-drivers "a Vulkan driver (Mesa's lavapipe is enough)"
}

# The version must be that of the wasm-bindgen crate in Cargo.lock.
need_wasm_bindgen() {
  local version
  version="$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)"
  [ "$("$TOOLS/bin/wasm-bindgen" --version 2>/dev/null)" = "wasm-bindgen $version" ] && return
  say "installing wasm-bindgen $version: some minutes, once"
  CARGO_TARGET_DIR="$CACHE/tools-target" cargo install --quiet wasm-bindgen-cli --version "$version" --root "$TOOLS"
}

need_node() {
  command -v node >/dev/null || install_package nodejs "Node.js 20 or newer"
  command -v npm >/dev/null || install_package npm "npm"
  [ node_modules/.package-lock.json -nt package-lock.json ] && return
  say "npm packages"
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
}

need_chromium() {
  [ -n "${CHROMIUM:-}" ] || CHROMIUM="$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)"
  if [ -z "$CHROMIUM" ]; then
    install_package chromium "Chromium (or set CHROMIUM to a browser)"
    CHROMIUM="$(command -v chromium)"
  fi
  export CHROMIUM
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
  need_node; need_chromium; need_wasm_bindgen
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
  # A path of the crate, in a line of its own or among others between braces.
  local at='(^ *|crate::|[{,] *)'
  forbid "src/cli and web import the crate's root, session, experiment, pretrain, project, report, error and files only" \
    '(^ *|loraloom::|[{,] *)(vit|lora|methods|train|evaluate|checkpoint|dataset|image|head|device|matrix|random)::' src/cli web/src
  forbid "vit, image and dataset do not know LoRA, methods or sessions" \
    "$at(lora|methods|train|evaluate|checkpoint|session)::" src/vit src/image src/dataset* src/head*
  forbid "lora does not know methods or sessions" "$at(methods|train|evaluate|checkpoint|session)::" src/lora
  forbid "methods do not know training or sessions" "$at(train|evaluate|checkpoint|session)::" src/methods
  forbid "train, evaluate and checkpoint do not know sessions" "${at}session::" src/train src/evaluate.rs src/checkpoint
  forbid "only the command line knows the experiment" "${at}experiment::" src/[!ec]* src/error.rs src/evaluate.rs src/checkpoint
  forbid "a synchronous read-back panics in a browser; use the _async one" \
    '\.(into_data|to_data|into_scalar)\(|\.sync\(\)' src web/src
  forbid "cfg(target) belongs in device, lib.rs and main.rs" 'cfg\(.*target_(arch|family)' src/vit src/lora src/methods \
    src/train src/session src/checkpoint src/image src/kernels src/head* src/matrix* src/random* src/dataset* src/evaluate* src/report*
  return "$found"
}

check() {
  need_rust
  [ "$(uname -s)" != Linux ] || need_vulkan
  say "format";            cargo fmt --all --check
  say "import directions"; crossings
  say "clippy, native";    CARGO_TARGET_DIR="$NATIVE" cargo clippy --quiet --all-targets -- -D warnings
  say "clippy, wasm";      CARGO_TARGET_DIR="$WASM" cargo clippy --quiet -p loraloom-web --target "$WASM_TARGET" -- -D warnings
  say "documentation";     CARGO_TARGET_DIR="$NATIVE" RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps
}

# site PROFILE FOLDER: the page's files with the wasm build of a profile.
site() {
  local profile="$1" out="$2"
  need_rust; need_wasm_bindgen; need_node
  say "wasm ($profile)"
  CARGO_TARGET_DIR="$WASM" CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="$WASM_FLAGS" \
    cargo build -p loraloom-web --target "$WASM_TARGET" --profile "$profile"
  rm -rf "$out"
  mkdir -p "$out/vendor"
  cp -r www/. "$out"
  cp node_modules/uplot/dist/{uPlot.esm.js,uPlot.min.css} "$out/vendor"
  cp node_modules/fflate/esm/browser.js "$out/vendor/fflate.js"
  cp node_modules/idb-keyval/dist/index.js "$out/vendor/idb-keyval.js"
  local family
  for family in inter fraunces; do
    cp "node_modules/@fontsource-variable/$family/files/$family-latin-wght-normal.woff2" "$out/vendor/$family.woff2"
    cp "node_modules/@fontsource-variable/$family/LICENSE" "$out/vendor/$family-LICENSE.txt"
  done
  "$TOOLS/bin/wasm-bindgen" --target web --no-typescript --remove-name-section --remove-producers-section \
    --out-dir "$out/pkg" "$WASM/$WASM_TARGET/$profile/loraloom_web.wasm"
}

web() {
  site ship dist
  say "wasm-opt"
  node_modules/.bin/wasm-opt -Os --enable-simd --enable-bulk-memory --enable-nontrapping-float-to-int --enable-sign-ext \
    --enable-mutable-globals --enable-reference-types --enable-multivalue dist/pkg/loraloom_web_bg.wasm -o dist/pkg/small.wasm
  mv dist/pkg/small.wasm dist/pkg/loraloom_web_bg.wasm
  node web/site/finish.js dist --limit "$CODE_LIMIT"
}

serve() {
  web
  say "serving"
  exec node web/site/serve.js dist "${1:-8000}"
}

page_tests() {
  need_chromium
  site web target/site
  node web/site/finish.js target/site --fast
  say "the page in Chromium"
  LORALOOM="$NATIVE/debug/loraloom" npm test --silent
}

tests() {
  check
  say "tests"
  CARGO_TARGET_DIR="$NATIVE" cargo test --quiet # Leaves the command line that the page's tests replay projects with.
  page_tests
}

bench() {
  need_rust
  CARGO_TARGET_DIR="$NATIVE" cargo bench --quiet --profile dev "$@" # Optimised, and its dependencies are already compiled.
  need_chromium
  [ -f dist/index.html ] || web
  [ -z "${ONNX_MODEL:-}" ] || [ -d node_modules/onnxruntime-web ] || npm install --no-save --no-audit --no-fund "onnxruntime-web@$ORT_VERSION"
  say "the page in Chromium"
  node tests/page/bench.js dist
}

main() {
  case "${1:-}" in
    setup) setup ;;
    check) check ;;
    test) tests ;;
    web) web ;;
    serve) shift; serve "$@" ;;
    bench) shift; bench "$@" ;;
    *) fail "usage: ./build.sh setup | check | test | web | serve [PORT] | bench" ;;
  esac
}

# On one line: bash reads a script while it runs, and this one may be edited meanwhile.
main "$@"; exit
