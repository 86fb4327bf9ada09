#!/usr/bin/env bash
# Prints where the manifests of lavapipe, Mesa's software Vulkan driver, are, joined as Vulkan's loader takes them: a
# machine that runs programs of two architectures has one for each, and the loader skips the one that it cannot load.
set -euo pipefail
shopt -s nullglob
found=(/usr/share/vulkan/icd.d/lvp_icd*.json)
[ ${#found[@]} -gt 0 ] || { echo "lavapipe: no /usr/share/vulkan/icd.d/lvp_icd*.json: scripts/setup.sh lavapipe installs it" >&2; exit 1; }
IFS=:
echo "${found[*]}"
