#!/usr/bin/env bash
# Builds a folder for any static host, web/dist: the page, the package beside it, and the models that come with it. PAGE_URL, where
# it will be, makes link previews show its picture.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/web-package.sh
rm -rf web/dist
mkdir -p web/dist/models
cp -r web/package/dist web/dist/guided-diffusion
cp models/{emoji32,emoji32-classifier,emoji32-to-64,fashion32,fashion32-classifier}.safetensors models/{README.md,NOTICES.txt} web/dist/models
cp web/package/{LICENSE,THIRD-PARTY-NOTICES.txt} web/dist
web/node_modules/.bin/tsc --project web/page --outDir web/dist
cp -r web/page/static/. web/dist
node web/preload.mjs web/dist
node web/address.mjs web/dist
node web/precache.mjs web/dist
echo "web-build: web/dist, $(du -sk web/dist | cut -f1) KiB"
