# Sourced by the scripts here: where things are, and how to run a command on a vendor's driver without its hardware.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# In git's ignored build folder unless told otherwise.
VENDOR_WORK=${VENDOR_WORK:-$root/target/vendor}
mkdir -p "$VENDOR_WORK"
VENDOR_WORK=$(cd "$VENDOR_WORK" && pwd)
export VENDOR_WORK PYTHONDONTWRITEBYTECODE=1
mesa=$VENDOR_WORK/mesa
nvk=$VENDOR_WORK/nvk
shim=$VENDOR_WORK/libintel_noop_drm_shim.so
nvk_shim=$VENDOR_WORK/libnouveau_noop_drm_shim.so
python=$VENDOR_WORK/venv/bin/python

# vendor TARGET: Intel's by the names of Mesa's noop shim, NVIDIA's by their chips; others are RADV's families
vendor() {
    case ${1%-22} in
    skl|kbl|cfl|icl|tgl|rkl|adl|rpl|dg1|dg2|mtl|lnl|arl|bmg) echo intel;;
    tu102|ga102) echo nvidia;;
    *) echo amd;;
    esac
}

# driver TARGET COMMAND...: runs the command on that target's driver; with -22 on the system's, Debian 12's Mesa 22.3.6
driver() {
    local target=${1%-22} name=radeon system=/usr/lib/x86_64-linux-gnu folder start=() icd
    folder=$mesa$system
    if [ "$target" != "$1" ]; then folder=$system; fi
    shift
    local with=(MESA_SHADER_CACHE_DISABLE=true)
    case $(vendor "$target") in
    intel)
        name=intel
        with+=(LD_LIBRARY_PATH="$folder" INTEL_STUB_GPU_PLATFORM="$target" LD_PRELOAD="$shim");;
    nvidia)
        name=nouveau folder=$nvk$system
        case $target in tu102) with+=(NOUVEAU_CHIPSET=162);; *) with+=(NOUVEAU_CHIPSET=172);; esac
        # A later C library than the system's: its own loader starts the command.
        start=("$folder/ld-linux-x86-64.so.2" --library-path "$folder:$mesa$system:$system" --preload "$nvk_shim");;
    amd) with+=(LD_LIBRARY_PATH="$folder" RADV_FORCE_FAMILY="$target");;
    esac
    icd=$VENDOR_WORK/$name.json
    echo "{\"ICD\": {\"api_version\": \"1.3.0\", \"library_path\": \"$folder/libvulkan_$name.so\"}, \"file_format_version\": \"1.0.0\"}" > "$icd"
    env "${with[@]}" VK_ICD_FILENAMES="$icd" VK_DRIVER_FILES="$icd" NODEVICE_SELECT=1 "${start[@]}" "$@"
}
