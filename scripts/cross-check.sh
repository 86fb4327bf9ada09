#!/usr/bin/env bash
# Type-checks the library and the program for platforms that this machine cannot run: Windows, macOS, Arm Linux, and the
# library for the browser.
#
# Where rustup can add a target, its standard library is used. Elsewhere Debian's web toolchain (rustc-web and its
# sources) builds the standard library itself, which needs no download. Says which of the two it took.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
scripts/setup.sh rust

targets=(x86_64-pc-windows-msvc aarch64-apple-darwin aarch64-unknown-linux-gnu wasm32-unknown-unknown)
for target in "${targets[@]}"; do
    features=()
    [ "$target" = wasm32-unknown-unknown ] && features=(--no-default-features --lib)
    if command -v rustup >/dev/null && timeout 120 rustup target add "$target" >/dev/null 2>&1; then
        echo "cross-check: $target with rustup's standard library"
        cargo check --release --locked --target "$target" "${features[@]}"
    else
        scripts/setup.sh web-rust
        echo "cross-check: $target with a standard library built from Debian's rust-web-src"
        RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/cross \
            /usr/bin/cargo check --release --locked --target "$target" -Zbuild-std=std,panic_abort "${features[@]}"
    fi
done
