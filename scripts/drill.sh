#!/usr/bin/env bash
# Runs the drills of tests/drills.rs and the rounds in browsers and prints their figures, which docs/reliability.md lists:
# scripts/drill.sh [NAME ...], of which `rounds` is those in browsers.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds='' names=()
for name in "$@"; do
    if [ "$name" = rounds ]; then rounds=yes; else names+=("$name"); fi
done
if [ $# = 0 ] || [ -n "$rounds" ]; then
    scripts/setup.sh rust node lavapipe chromium firefox
    scripts/web-build.sh
    node web/tests/rounds.mjs
    [ $# = 0 ] || [ ${#names[@]} -gt 0 ] || exit 0
fi
scripts/setup.sh rust lavapipe swiftshader cxx vulkan-headers
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" VK_DRIVER_FILES VK_ICD_FILENAMES NODEVICE_SELECT=1
VK_DRIVER_FILES=$(scripts/lavapipe.sh):$(scripts/swiftshader.sh)
VK_ICD_FILENAMES=$VK_DRIVER_FILES
mkdir -p target/drills
for name in gpu_faults system_faults; do
    # Not unloaded: Vulkan's loader lets a layer go with its instance, and the second device's instance is to know of the first.
    cc -O1 -Wall -Werror -fPIC -shared -Wl,-z,nodelete -o "target/drills/lib$name.so" "tests/drills/$name.c" -ldl
done
cat >target/drills/faults.json <<END
{"file_format_version": "1.1.0", "layer": {"name": "VK_LAYER_DRILL_faults", "type": "GLOBAL", "library_path": "./libgpu_faults.so",
 "api_version": "1.3.0", "implementation_version": "1", "description": "faults on purpose"}}
END
drills() { cargo test --release --locked --test drills -- "$@"; }
for name in "${names[@]}"; do
    drills --list "$name" | grep ': test$' >/dev/null || { echo "drill: no drill is called $name" >&2; exit 1; }
done
# One after the other: what is measured is the whole process's.
drills --test-threads=1 --nocapture "${names[@]}" | grep --line-buffered -v '^writer\|^$'
