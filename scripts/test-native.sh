#!/usr/bin/env bash
# Runs the whole test suite on both software GPU drivers, lavapipe and SwiftShader.
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
cargo test --release --no-run "$@"

# What GPUs would run, on a software driver, which is slow at it: networks, guided samples and fashion32's images. Beside the
# rest, because lavapipe compiles on only one core.
mkdir -p target
TEST_ADAPTERS=llvmpipe TEST_ASSUME_GPU=1 \
    cargo test --release --test device -- golden:: guided:: builtin::images >target/gpu-plans.log 2>&1 &
plans=$!
trap 'kill $plans 2>/dev/null || true' EXIT
# Lavapipe without LLVM's optimisations: nearly every kernel here takes longer to compile than to run.
failed=0
GALLIVM_PERF=nopt cargo test --release "$@" || failed=$?
wait $plans || failed=$?
cat target/gpu-plans.log
exit $failed
