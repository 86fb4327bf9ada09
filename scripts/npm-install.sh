#!/usr/bin/env bash
# Installs what web/package-lock.json pins into web/node_modules, where that is not so already.
set -euo pipefail
cd "$(dirname "$0")/../web"
# npm keeps the lock file of what is installed there.
installed=node_modules/.package-lock.json
if [ ! -e "$installed" ] || [ package-lock.json -nt "$installed" ]; then
    npm ci --no-audit --no-fund
fi
