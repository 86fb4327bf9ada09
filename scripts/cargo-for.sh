#!/usr/bin/env bash
# Runs cargo for other platforms: scripts/cargo-for.sh TARGET[,TARGET ...] COMMAND [ARGUMENT ...]
#
# Where rustup can add the target, its standard library is used. Elsewhere Debian's web toolchain (rustc-web and its
# sources) builds the standard library itself, which needs no download. Says which of the two it took. Build outputs go
# to target/cross, apart from the native ones, which another compiler may have made.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
IFS=, read -ra targets <<<"$1"
command=$2
shift 2
scripts/setup.sh rust
export CARGO_TARGET_DIR=target/cross

if command -v rustup >/dev/null && timeout 120 rustup target add "${targets[@]}" >/dev/null 2>&1; then
    echo "cargo-for: ${targets[*]} with rustup's standard library"
    exec cargo "$command" --locked "${targets[@]/#/--target=}" "$@"
fi
scripts/setup.sh web-rust
echo "cargo-for: ${targets[*]} with a standard library built from Debian's rust-web-src"
linker=$(compgen -c wasm-ld | sort -V | tail -n1)
export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=${linker:-wasm-ld}
exec /usr/bin/cargo "$command" --locked "${targets[@]/#/--target=}" -Zbuild-std=std,panic_abort "$@"
