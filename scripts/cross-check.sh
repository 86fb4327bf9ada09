#!/usr/bin/env bash
# Type-checks the library and the program for platforms that this machine cannot run: Windows, macOS, Arm Linux. For
# browsers, scripts/wasm.sh builds it. CONTRIBUTING.md says what can be linked here.
set -euo pipefail
cd "$(dirname "$0")/.."

# At once, so that both cores have something to do to the end.
scripts/cargo-for.sh x86_64-pc-windows-msvc,aarch64-apple-darwin,aarch64-unknown-linux-gnu check --release
