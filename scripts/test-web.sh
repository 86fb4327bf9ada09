#!/usr/bin/env bash
# Runs the browser tests: the core in Chromium on SwiftShader and in Firefox on lavapipe, and the page.
#
# Both are software drivers, so that every machine gets the same results whatever its GPU is. Arguments choose test files;
# without any, all run. BROWSERS=firefox (or chromium) runs the core only in that one, without the page's tests, which need
# both. CHROMIUM and FIREFOX name binaries; what they do not name is installed where it lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
parts=(rust node lavapipe)
wanted() { [[ $1 == *"${BROWSERS,,}"* ]]; }
BROWSERS=${BROWSERS:-}
if wanted chromium; then parts+=(chromium); fi
if wanted firefox; then parts+=(firefox); fi
if [ ${#parts[@]} = 3 ]; then
    echo "test-web: BROWSERS=$BROWSERS: there are chromium and firefox" >&2
    exit 1
fi
scripts/setup.sh "${parts[@]}"
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
# Minutes of waiting for the network, while wasm is compiled. What fails is tried again, and told, by the test that needs it.
downloads=''
if [ $# = 0 ] && [ -z "$BROWSERS" ]; then
    scripts/npm-install.sh web/tests/bundlers >/dev/null 2>&1 &
    downloads=$!
fi
scripts/wasm.sh guided-diffusion-web-conformance target/web-conformance
scripts/web-build.sh
# The program, with whose images, made on lavapipe, those of browsers are compared; with examples, as the tests build it.
cargo build --release --locked --bins --examples
cargo run --release --locked --quiet --example tiny_models -- target/tiny-models
if [ $# = 0 ]; then
    depth=(); [ -z "$BROWSERS" ] || depth=(-maxdepth 1)
    mapfile -t files < <(find web/tests "${depth[@]}" -name '*.test.mjs' | sort)
    set -- "${files[@]}"
fi
[ -z "$downloads" ] || wait "$downloads" || true
# Three files at a time: a browser compiles kernels on one core, and waits now and then. What hangs ends; Node 18 has no timeout of its own.
ended=0
timeout --foreground 3600 node --test --test-concurrency=3 --test-reporter=spec "$@" || ended=$?
[ $ended != 124 ] || echo 'test-web: stopped, because the tests took more than an hour' >&2
exit $ended
