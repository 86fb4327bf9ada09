#!/usr/bin/env bash
# Runs the whole test suite once on each software GPU driver: lavapipe and SwiftShader.
#
# Two independent drivers catch what one forgives, and both give every machine the same result whatever its GPU is.
# Arguments go to `cargo test`. DRIVERS="lavapipe" runs one only.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust lavapipe swiftshader
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

for driver in ${DRIVERS:-lavapipe swiftshader}; do
    case $driver in
        lavapipe) icd=$(compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' | head -n1) ;;
        swiftshader) icd=/usr/lib/chromium/vk_swiftshader_icd.json ;;
        *) echo "no such driver: $driver" >&2; exit 2 ;;
    esac
    printf '\n== tests on %s ==\n' "$driver"
    # The loader's variable has a new name; old loaders know the old one. Mesa's device selection layer looks for a
    # display server, and complains where there is none.
    VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd NODEVICE_SELECT=1 cargo test --release "$@"
done
