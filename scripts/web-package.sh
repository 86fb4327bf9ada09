#!/usr/bin/env bash
# Builds the npm package in web/package: the wasm core, the TypeScript around it as ES modules with types (dist), and the
# licences of all of it.
set -euo pipefail
cd "$(dirname "$0")/.."
# Nothing of an earlier build stays.
rm -rf web/package/dist
scripts/setup.sh node
scripts/wasm.sh guided-diffusion-web web/package/dist/wasm
scripts/npm-install.sh
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
# Smaller; of the version in web/package-lock.json.
wasm=web/package/dist/wasm/guided_diffusion_web_bg.wasm
web/node_modules/.bin/wasm-opt -Os --one-caller-inline-max-function-size=0 --always-inline-max-function-size=0 "$wasm" --output "$wasm.tmp"
mv "$wasm.tmp" "$wasm"
printf 'web-package: %s: %d bytes, %d gzipped\n' "$wasm" "$(wc -c <"$wasm")" "$(gzip -9 <"$wasm" | wc -c)"
cp LICENSE CHANGELOG.md web/package/
node web/notices.mjs web/package/THIRD-PARTY-NOTICES.txt
# The worker has other globals than a page.
# Declarations keep the comments, which editors show; the code goes without, as it is downloaded.
for project in web/package web/package/src/worker; do
    web/node_modules/.bin/tsc --project "$project" --emitDeclarationOnly
    web/node_modules/.bin/tsc --project "$project" --declaration false --removeComments
done
