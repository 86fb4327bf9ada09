#!/usr/bin/env bash
# Builds the npm package into web/package/dist: the wasm core, and the TypeScript around it as ES modules with types.
set -euo pipefail
cd "$(dirname "$0")/.."
# Nothing of an earlier build stays.
rm -rf web/package/dist
scripts/wasm.sh guided-diffusion-web web/package/dist/wasm
cp LICENSE NOTICE web/package/dist/
scripts/npm-install.sh
# The worker has other globals than a page.
web/node_modules/.bin/tsc --project web/package
web/node_modules/.bin/tsc --project web/package/src/worker
