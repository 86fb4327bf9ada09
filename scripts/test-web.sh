#!/usr/bin/env bash
# Runs the browser tests: the core in Chromium on SwiftShader and in Firefox on lavapipe, and the page.
#
# Both are software drivers, so that every machine gets the same results whatever its GPU is. Arguments choose test files;
# without any, all run. BROWSERS=firefox (or chromium) runs the core in one of the two.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust node swiftshader lavapipe firefox
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
scripts/wasm.sh guided-diffusion-web-conformance target/web-conformance
scripts/web-build.sh
# The program, with whose images those of browsers are compared.
cargo build --release --locked
if [ $# = 0 ]; then
    mapfile -t files < <(find web/tests -name '*.test.mjs' -not -path '*/node_modules/*' | sort)
    set -- "${files[@]}"
fi
node --test --test-reporter=spec "$@"
