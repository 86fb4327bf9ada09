#!/usr/bin/env bash
# Fuzzes the readers of untrusted files, each for a while, two at a time: scripts/fuzz.sh [SECONDS (60)] [TARGET ...]
#
# With AddressSanitizer, where the toolchain has its runtime (rustup's do, not every distribution's). Works on stable Rust:
# RUSTC_BOOTSTRAP switches the instrumentation on, by the flags that cargo-fuzz gives. A crash ends the script, and its input
# is FUZZ_KEPT/crash-*: run the target's program on that file to see it again.
#
# What was found is kept in FUZZ_KEPT (target/fuzz/kept), where the next time continues, and processor-seconds.tsv there adds
# up how long and how often each target has run: an hour may be reached in several sittings, on a machine that does other things.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- array checkpoint pickle picture text
kept=${FUZZ_KEPT:-target/fuzz/kept}
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" RUSTC_BOOTSTRAP=1
scripts/setup.sh rust cxx

host=$(rustc --version --verbose | sed -n 's/^host: //p')
flags='--cfg fuzzing -Cdebug-assertions -Ccodegen-units=4 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0'
sanitizer=none
if compgen -G "$(rustc --print sysroot)/lib/rustlib/$host/lib/librustc*asan*" >/dev/null; then
    sanitizer=address
    flags+=' -Zsanitizer=address'
fi
# With a target, cargo builds build scripts without the flags.
RUSTFLAGS=$flags cargo build --release --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --target "$host" --bins

# fuzz TARGET: from valid files, which are the best start, and from what earlier times have found.
fuzz() {
    local corpus=$kept/$1 spent runs all TIMEFORMAT='%0U + %0S'
    mkdir -p "$corpus"
    case $1 in
    pickle) find tests/fixtures/pt -name '*.pt' -size -12k -exec cp {} "$corpus" \; ;;
    checkpoint) cp tests/fixtures/pt/expected.safetensors "$corpus" ;;
    esac
    [ ! -d "fuzz/seeds/$1" ] || cp "fuzz/seeds/$1"/* "$corpus"
    spent=$({ time "target/fuzz/$host/release/$1" "$corpus" -artifact_prefix="$kept/" -max_total_time="$seconds" \
        -max_len=16384 -timeout=60 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 >"$kept/$1.log" 2>&1; } 2>&1) || {
        tail -n 40 "$kept/$1.log" >&2
        return 1
    }
    spent=$((spent))
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$kept/$1.log")
    printf '%s\t%s\t%s\t%s\n' "$1" "$sanitizer" "$spent" "$runs" >>"$kept/processor-seconds.tsv"
    all=$(awk -v target="$1" -v with="$sanitizer" \
        '$1 == target && $2 == with { seconds += $3; runs += $4 } END { printf "%d s, %d runs", seconds, runs }' "$kept/processor-seconds.tsv")
    printf 'fuzz: %s: %s runs in %d s of processor time (so far %s), sanitizer %s\n' "$1" "$runs" "$spent" "$all" "$sanitizer"
}

while [ $# -gt 0 ]; do
    pair=("${@:1:2}") failed='' pids=()
    shift ${#pair[@]}
    for target in "${pair[@]}"; do
        fuzz "$target" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || failed=yes; done
    [ -z "$failed" ] || exit 1
done
