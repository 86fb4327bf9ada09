#!/usr/bin/env bash
# What vendors' compilers make of the kernels of the default GPU plans: report.sh [--check]
#
# Writes docs/gpu-report.md; with --check, compares instead and fails on a spill, on code above 32 KiB (NVIDIA: 128), on too few
# workgroups and on a slower modelled step (tests/vendor/report.py has the limits). setup.sh must have run once.
# VENDOR_TARGETS and VENDOR_PLANS choose fewer targets and plans than all.
. "$(dirname "$0")/env.sh"
[ "$VENDOR_WORK/ready" -nt "$here/setup.sh" ] || "$here/setup.sh"
cd "$root"
read -ra targets <<< "${VENDOR_TARGETS:-navi21 navi31 vega10 tgl dg2 ga102 gfx1100-22 tgl-22}"
read -ra plans <<< "${VENDOR_PLANS:-$("$python" "$here/report.py" plans)}"
cargo build --quiet --release --locked --example vendor_dump
out=$VENDOR_WORK/out
rm -rf "$out"
"$root/target/release/examples/vendor_dump" plans "$out" "${plans[@]}"
named=()
for target in "${targets[@]}"; do
    named+=("$target=$(vendor "$target")")
    options=(--vendor "${named[-1]#*=}")
    # The time model reads this target's instructions.
    if [ "$target" = navi21 ]; then options+=(--ir "$out/isa"); fi
    driver "$target" "$python" "$here/stats.py" "$out" "${options[@]}" > "$out/$target.stats" 2> "$out/$target.err" \
        || { tail -5 "$out/$target.err" >&2; exit 1; }
done
"$python" "$here/report.py" "${1:---write}" "$out" "$root/docs/gpu-report.md" "${named[@]}"
