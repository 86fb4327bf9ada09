#!/bin/bash
# Installs what report.sh needs, on Debian 12 as root; may be run again. The apt packages go to the system, all else into
# $VENDOR_WORK: Mesa 25.0.7's drivers beside the system's 22.3.6 (unpacked, not installed), the noop drm shim for Intel, a Python environment.
# The system's apt sources are not touched: the backports have a private list.
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

if [ ! -e "$mesa/done" ] || { [ ! -e "$shim" ] && [ ! -d "$work/mesa-$version" ]; }; then
    mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk '$2 == "bookworm" {print $1; exit}')}
    [ -n "$mirror" ] || { echo 'no Debian mirror found in the apt sources: set DEBIAN_MIRROR' >&2; exit 1; }
    mkdir -p "$work/apt/lists/partial" "$work/apt/none" "$work/apt/cache/archives/partial" "$work/debs"
    for type in deb deb-src; do echo "$type [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main"; done > "$work/apt/sources.list"
    backports() {
        (cd "$work/debs" && apt-get -q -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts="$work/apt/none" \
            -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root "$@")
    }
    backports update
    if [ ! -e "$mesa/done" ]; then
        backports download mesa-vulkan-drivers/bookworm-backports libdrm2/bookworm-backports libdrm-amdgpu1/bookworm-backports libdrm-intel1/bookworm-backports
        ls "$work/debs/mesa-vulkan-drivers_$version"* > /dev/null || { echo "the backports no longer have Mesa $version: set version" >&2; exit 1; }
        for d in "$work"/debs/*.deb; do dpkg-deb -x "$d" "$mesa"; done
        touch "$mesa/done"
    fi
    if [ ! -e "$shim" ] && [ ! -d "$work/mesa-$version" ]; then
        backports source --download-only --tar-only mesa
        mkdir -p "$work/source" && tar -C "$work/source" -xf "$work/debs/mesa_$version.orig.tar.xz" && mv "$work/source/mesa-$version" "$work"
    fi
fi

[ -x "$python" ] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install 'vulkan==1.3.275.1' 'meson==1.7.0' mako pyyaml packaging setuptools

if [ ! -e "$shim" ]; then
    cd "$work/mesa-$version"
    export PATH=$work/venv/bin:$PATH
    # A folder that failed is made again.
    [ -e build/build.ninja ] || meson setup --wipe build -Dvulkan-drivers= -Dgallium-drivers= -Dplatforms= -Dllvm=disabled -Dopengl=false -Degl=disabled \
        -Dgbm=disabled -Dglx=disabled -Dgles1=disabled -Dgles2=disabled -Dtools=drm-shim,intel -Dbuildtype=release -Dvalgrind=disabled \
        -Dlibunwind=disabled -Dvideo-codecs= -Dintel-rt=disabled > "$work/meson.log" 2>&1 || { tail -20 "$work/meson.log" >&2; exit 1; }
    ninja -C build src/intel/tools/libintel_noop_drm_shim.so > "$work/ninja.log" || { tail -20 "$work/ninja.log" >&2; exit 1; }
    cp build/src/intel/tools/libintel_noop_drm_shim.so "$shim"
    cd "$work" && rm -rf "mesa-$version" source debs/mesa_*
fi

touch "$work/ready"
echo "ready: $work"
