#!/usr/bin/env bash
# Fuzzes each target for SECONDS_EACH seconds (60): what reads files from strangers must refuse, never panic or hang.
#
# Runs on stable Rust: without a sanitizer, since the code is safe Rust and a panic is what we look for.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust cxx
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
command -v cargo-fuzz >/dev/null || { echo "fuzz: installing cargo-fuzz"; cargo install cargo-fuzz --locked; }

for target in ${TARGETS:-$(cd fuzz/fuzz_targets && ls -- *.rs | sed 's/\.rs$//')}; do
    printf '\n== fuzzing %s ==\n' "$target"
    mkdir -p "fuzz/corpus/$target"
    # A tensor's length is never allocated on a header's word alone: 1 GiB is plenty.
    cargo fuzz run --sanitizer none --release "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="${SECONDS_EACH:-60}" -max_len=65536 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1
done
