#!/bin/sh
# Fuzzes the readers of untrusted files, each target for a while: scripts/fuzz.sh [SECONDS (60)] [TARGET ...]
# Installs what it lacks. Works on stable Rust: the fuzzer's instrumentation is switched on by RUSTC_BOOTSTRAP.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- checkpoint pickle
export RUSTC_BOOTSTRAP=1
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

scripts/setup.sh rust cxx
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked

# The address sanitizer's runtime comes with rustup's toolchains, not with every distribution's.
runtime=$(find "$(rustc --print sysroot)/lib/rustlib" -name 'librustc*asan*' 2>/dev/null | head -n 1)
if [ -n "$runtime" ]; then sanitizer=address; else sanitizer=none; fi

for target in "$@"; do
    corpus=fuzz/corpus/$target
    mkdir -p "$corpus"
    # Honest files are the best start. Pickles alone, too: the target wraps them itself.
    case $target in
    pickle) find tests/fixtures/pt -name '*.pt' -size -12k -exec cp {} "$corpus" \; ;;
    checkpoint) cp tests/fixtures/pt/expected.safetensors "$corpus" ;;
    esac
    [ -d "fuzz/seeds/$target" ] && cp "fuzz/seeds/$target"/* "$corpus"
    echo "fuzz.sh: $target for $seconds s, sanitizer $sanitizer"
    cargo fuzz run --fuzz-dir fuzz --sanitizer "$sanitizer" "$target" "$corpus" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1
done
