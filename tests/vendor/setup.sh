#!/bin/bash
# Installs what report.sh needs, on Debian 12 as root; may be run again. The apt packages go to the system, all else into
# $VENDOR_WORK: Mesa 25.0.7's drivers beside the system's 22.3.6 (unpacked, not installed), the noop drm shims for Intel and NVIDIA,
# a Python environment. The system's apt sources are not touched: backports and Debian 13, whose Mesa 25.0.7 has NVIDIA's driver
# too, have private lists.
. "$(dirname "$0")/env.sh"
version=25.0.7
export DEBIAN_FRONTEND=noninteractive
work=$VENDOR_WORK

# The drivers' libraries, then what builds the shim.
packages=(libvulkan1 libelf1 libexpat1 libllvm15 libwayland-client0 libx11-xcb1 libxcb-dri3-0 libxcb-present0 libxcb-randr0 libxcb-shm0
    libxcb-sync1 libxcb-xfixes0 libxcb1 libxshmfence1 libzstd1 zlib1g
    mesa-vulkan-drivers ca-certificates xz-utils gcc g++ pkg-config ninja-build bison flex glslang-tools libdrm-dev libexpat1-dev libzstd-dev zlib1g-dev python3-venv)
missing=()
for p in "${packages[@]}"; do dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p"); done
if [ ${#missing[@]} -gt 0 ]; then
    apt-get -q update
    apt-get -q install -y --no-install-recommends "${missing[@]}"
fi

if [ ! -e "$mesa/done" ] || [ ! -e "$nvk/done" ] || { [ ! -e "$nvk_shim" ] && [ ! -d "$work/mesa-$version" ]; }; then
    mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk '$2 == "bookworm" {print $1; exit}')}
    [ -n "$mirror" ] || { echo 'no Debian mirror found in the apt sources: set DEBIAN_MIRROR' >&2; exit 1; }
    mkdir -p "$work/apt/none" "$work/apt/cache/archives/partial" "$work/debs"
    # suite NAME COMMAND...: apt-get with that suite alone
    suite() {
        local lists=$work/apt/$1
        mkdir -p "$lists/partial"
        for type in deb deb-src; do echo "$type [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main"; done > "$lists.list"
        shift
        (cd "$work/debs" && apt-get -q -o Dir::Etc::SourceList="$lists.list" -o Dir::Etc::SourceParts="$work/apt/none" \
            -o Dir::State::Lists="$lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root "$@")
    }
    # unpack FOLDER: what was downloaded
    unpack() {
        ls "$work/debs/mesa-vulkan-drivers_$version"* > /dev/null || { echo "the mirror no longer has Mesa $version: set version" >&2; exit 1; }
        for d in "$work"/debs/*.deb; do dpkg-deb -x "$d" "$1"; done
        rm "$work"/debs/*.deb
        touch "$1/done"
    }
    rm -f "$work"/debs/*.deb
    suite bookworm-backports update
    if [ ! -e "$mesa/done" ]; then
        suite bookworm-backports download mesa-vulkan-drivers/bookworm-backports libdrm2/bookworm-backports libdrm-amdgpu1/bookworm-backports libdrm-intel1/bookworm-backports
        unpack "$mesa"
    fi
    if [ ! -e "$nvk/done" ]; then
        # With the C library that it needs, which env.sh starts it by.
        suite trixie update
        suite trixie download mesa-vulkan-drivers libc6
        unpack "$nvk"
    fi
    if [ ! -e "$nvk_shim" ] && [ ! -d "$work/mesa-$version" ]; then
        suite bookworm-backports source --download-only --tar-only mesa
        mkdir -p "$work/source" && tar -C "$work/source" -xf "$work/debs/mesa_$version.orig.tar.xz" && mv "$work/source/mesa-$version" "$work"
    fi
fi

[ -x "$python" ] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install 'vulkan==1.3.275.1' 'meson==1.7.0' mako pyyaml packaging setuptools

# NVIDIA's comes last: where it is, Intel's is.
if [ ! -e "$nvk_shim" ]; then
    cd "$work/mesa-$version"
    export PATH=$work/venv/bin:$PATH
    # A folder that failed is made again.
    [ -e build/build.ninja ] || meson setup --wipe build -Dvulkan-drivers= -Dgallium-drivers= -Dplatforms= -Dllvm=disabled -Dopengl=false -Degl=disabled \
        -Dgbm=disabled -Dglx=disabled -Dgles1=disabled -Dgles2=disabled -Dtools=drm-shim,intel -Dbuildtype=release -Dvalgrind=disabled \
        -Dlibunwind=disabled -Dvideo-codecs= -Dintel-rt=disabled > "$work/meson.log" 2>&1 || { tail -20 "$work/meson.log" >&2; exit 1; }
    ninja -C build src/intel/tools/libintel_noop_drm_shim.so > "$work/ninja.log" || { tail -20 "$work/ninja.log" >&2; exit 1; }
    cp build/src/intel/tools/libintel_noop_drm_shim.so "$shim"
    # Meson makes it only beside its driver, which needs Rust: that is Debian's.
    gcc -shared -fPIC -O1 -D_GNU_SOURCE -DHAVE_PTHREAD -DHAVE_STRUCT_TIMESPEC -DUTIL_ARCH_LITTLE_ENDIAN=1 -DUTIL_ARCH_BIG_ENDIAN=0 \
        -Iinclude -Isrc -Isrc/nouveau/headers $(pkg-config --cflags libdrm) src/nouveau/drm-shim/nouveau_noop.c \
        build/src/drm-shim/libdrm_shim.a build/src/util/libmesa_util.a build/src/c11/impl/*.a -lz -lzstd -lm -o "$nvk_shim"
    cd "$work" && rm -rf "mesa-$version" source debs/mesa_*
fi

touch "$work/ready"
echo "ready: $work"
