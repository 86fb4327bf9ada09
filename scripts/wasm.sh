#!/usr/bin/env bash
# Builds a crate of the workspace for browsers: scripts/wasm.sh CRATE OUT_DIR [CARGO ARGUMENT ...]
#
# OUT_DIR gets CRATE.js, an ES module, CRATE_bg.wasm, and their types. The wasm goes through wasm-bindgen, of the version
# in Cargo.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
crate=$1 out=$2
shift 2
name=${crate//-/_}
scripts/setup.sh rust
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

scripts/cargo-for.sh wasm32-unknown-unknown build --profile wasm --package "$crate" "$@"
mkdir -p "$out"
rm -f "$out/$name"*
cargo run --release --locked --quiet --package guided-diffusion-bindgen -- \
    "target/cross/wasm32-unknown-unknown/wasm/$name.wasm" "$out"
