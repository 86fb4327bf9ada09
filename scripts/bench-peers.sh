#!/usr/bin/env bash
# Times us beside other runtimes on this machine and prints the ratios: onnxruntime-web's WebGPU provider in the same
# Chromium, and burn's wgpu backend on the same native driver. Their versions are pinned in tests/peers.
#
# It takes long: burn and PyTorch (which exports the ONNX file) are large. Everything is built under target/peers.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust node chromium swiftshader lavapipe python
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
work=$PWD/target/peers
mkdir -p "$work"
if [ ! -e "$work/small.onnx" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --requirement tests/peers/requirements.txt
    "$work/venv/bin/python" tests/peers/export.py "$work"
fi
cargo build --release --locked
CARGO_TARGET_DIR=$work/burn cargo build --release --locked --manifest-path tests/peers/burn/Cargo.toml
scripts/web-build.sh
npm ci --prefix tests/peers --no-audit --no-fund --ignore-scripts --silent
lavapipe=$(scripts/lavapipe.sh)
drivers=$lavapipe:$(scripts/swiftshader.sh)
export VK_DRIVER_FILES=$drivers VK_ICD_FILENAMES=$drivers NODEVICE_SELECT=1
LAVAPIPE=$lavapipe BURN=$work/burn/release/peer-burn OURS=target/release/guided-diffusion \
    node tests/peers/bench.mjs "$work"
