#!/usr/bin/env bash
# Builds the npm package in web/package: the wasm core, the TypeScript around it as ES modules with types (dist), and the
# licences of all of it.
set -euo pipefail
cd "$(dirname "$0")/.."
# Nothing of an earlier build stays.
rm -rf web/package/dist
scripts/wasm.sh guided-diffusion-web web/package/dist/wasm
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
cp LICENSE CHANGELOG.md web/package/
node web/notices.mjs web/package/THIRD-PARTY-NOTICES.txt
scripts/npm-install.sh
# The worker has other globals than a page.
# Declarations keep the comments, which editors show; the code goes without, as it is downloaded.
for project in web/package web/package/src/worker; do
    web/node_modules/.bin/tsc --project "$project" --emitDeclarationOnly
    web/node_modules/.bin/tsc --project "$project" --declaration false --removeComments
done
