#!/usr/bin/env bash
# Compares our readers of checkpoints with Python's on damaged files: scripts/differential.sh [FILES PER FORMAT (20000)] [SEED (0)]
#
# Python's packages (PyTorch among them, which is large) come into target/differential, unless PYTHON names an interpreter that
# has those of fuzz/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust cxx
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
work=target/differential
mkdir -p "$work"
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$work/venv/bin/python
    if [ ! -e "$work/ready" ]; then
        scripts/setup.sh python
        python3 -m venv "$work/venv"
        "$PYTHON" -m pip install --quiet --requirement fuzz/requirements.txt
        touch "$work/ready"
    fi
fi
cargo build --release --locked --manifest-path fuzz/Cargo.toml --target-dir "$work" --features differential --bin read
"$PYTHON" fuzz/differential.py "$work/release/read" "$work/files" "${1:-20000}" "${2:-0}"
