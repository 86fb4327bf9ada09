#!/usr/bin/env bash
# Installs what package-lock.json pins into node_modules, where that is not so already: scripts/npm-install.sh [FOLDER (web)]
set -euo pipefail
cd "$(dirname "$0")/../${1:-web}"
# npm keeps the lock file of what is installed there.
installed=node_modules/.package-lock.json
if [ ! -e "$installed" ] || [ package-lock.json -nt "$installed" ]; then
    npm ci --no-audit --no-fund
fi
