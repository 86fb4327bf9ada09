#!/usr/bin/env bash
# Prints where SwiftShader's manifest for Vulkan's loader is: beside the browser that CHROMIUM names, or Debian's.
set -euo pipefail
folders=(/usr/lib/chromium)
[ -z "${CHROMIUM:-}" ] || folders=("$(dirname "$(readlink -f "$CHROMIUM")")" "${folders[@]}")
for folder in "${folders[@]}"; do
    if [ -e "$folder/vk_swiftshader_icd.json" ]; then
        echo "$folder/vk_swiftshader_icd.json"
        exit
    fi
done
echo "swiftshader: no vk_swiftshader_icd.json in ${folders[*]}: CHROMIUM may name a Chromium that has it" >&2
exit 1
