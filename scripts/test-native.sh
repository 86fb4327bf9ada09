#!/usr/bin/env bash
# Runs the whole test suite on both software GPU drivers, lavapipe and SwiftShader; with arguments only what these choose of it.
#
# Two independent drivers catch what one forgives, and both give every machine the same result whatever its GPU is.
# Arguments go to `cargo test`. To test a real GPU instead: TEST_ADAPTERS=NAME cargo test --release; with its tensor cores
# (docs/performance.md says what that accepts): TEST_TENSOR_CORES=1 TEST_ADAPTERS=NAME cargo test --release --test device
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust lavapipe swiftshader
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
drivers=$(scripts/lavapipe.sh):$(scripts/swiftshader.sh)
# The loader's variable has a new name; old loaders know the old one. Mesa's device selection layer looks for a
# display server, and complains where there is none.
export VK_DRIVER_FILES=$drivers VK_ICD_FILENAMES=$drivers NODEVICE_SELECT=1
# Lavapipe without LLVM's optimisations: nearly every kernel here takes longer to compile than to run.
run() { GALLIVM_PERF=nopt cargo test --release --locked "$@"; }
if [ $# -gt 0 ]; then
    run "$@"
    exit
fi
run --no-run

# The longest program beside all the others, because lavapipe compiles on only one core. `test = false` marks what runs on request,
# or as a part of the longest.
mkdir -p target
run --test device >target/test-device.log 2>&1 &
device=$!
trap 'kill $device 2>/dev/null || true' EXIT
others=(--lib --bins)
left_out=$(awk -F'"' '/^name = /{ name = $2 } /^test = false/{ print name }' Cargo.toml)
for name in $(basename --suffix .rs tests/*.rs); do
    grep --quiet --line-regexp "$name" <<<"device"$'\n'"$left_out" || others+=(--test "$name")
done
failed=0
run "${others[@]}" || failed=$?
run --doc || failed=$?
# What GPUs would run, on a software driver, which is slow at it: networks, each step of a sample, guidance and fashion32's images.
TEST_ADAPTERS=llvmpipe TEST_ASSUME_GPU=1 cargo test --release --locked --test device -- \
    golden:: guided:: builtin::images --skip golden::samples || failed=$?
wait $device || failed=$?
cat target/test-device.log
exit $failed
