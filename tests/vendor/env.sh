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
shim=$VENDOR_WORK/libintel_noop_drm_shim.so
python=$VENDOR_WORK/venv/bin/python

# is_intel TARGET: by the names of Mesa's noop shim; others are RADV's families
is_intel() { case ${1%-22} in skl|kbl|cfl|icl|tgl|rkl|adl|rpl|dg1|dg2|mtl|lnl|arl|bmg) return 0;; esac; return 1; }

# driver TARGET COMMAND...: runs the command on that target's driver; with -22 on the system's, Debian 12's Mesa 22.3.6
driver() {
    local target=${1%-22} name=radeon lib=$mesa/usr/lib/x86_64-linux-gnu icd
    if [ "$target" != "$1" ]; then lib=/usr/lib/x86_64-linux-gnu; fi
    shift
    local with=(LD_LIBRARY_PATH="$lib" MESA_SHADER_CACHE_DISABLE=true)
    if is_intel "$target"; then
        name=intel
        with+=(INTEL_STUB_GPU_PLATFORM="$target" LD_PRELOAD="$shim")
    else
        with+=(RADV_FORCE_FAMILY="$target")
    fi
    icd=$VENDOR_WORK/$name.json
    echo "{\"ICD\": {\"api_version\": \"1.3.0\", \"library_path\": \"$lib/libvulkan_$name.so\"}, \"file_format_version\": \"1.0.0\"}" > "$icd"
    env "${with[@]}" VK_ICD_FILENAMES="$icd" VK_DRIVER_FILES="$icd" NODEVICE_SELECT=1 "$@"
}
