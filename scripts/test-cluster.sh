#!/usr/bin/env bash
# Runs examples/cluster/slurm.sh on a real Slurm with this machine as its only node: eight shards on two slots, one of them killed in the
# middle and started again by Slurm; the merged file must have the bytes of a single run.
#
# It needs root, because Slurm's daemons start jobs as their owners do. Everything it starts lies in a temporary folder and
# ends with it; a Slurm that runs here already is not touched.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust lavapipe slurm
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" VK_DRIVER_FILES NODEVICE_SELECT=1 GUIDED_DIFFUSION_CACHE=
VK_DRIVER_FILES=$(scripts/lavapipe.sh)
# With the tests' features, so that a machine that has run them compiles nothing.
cargo build --release --locked --bins --examples
export PROGRAM=$PWD/target/release/guided-diffusion

work=$(mktemp -d)
pids=()
finish() {
    [ -z "${job:-}" ] || scancel "$job" 2>/dev/null || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "test-cluster: $*" >&2; tail -n 20 "$work"/*.log >&2; exit 1; }
# until TRIES COMMAND...: tries it every quarter of a second.
until_true() {
    local tries=$1
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((tries -= 1)) -gt 0 ] || fail "gave up waiting for: $*"
        sleep 0.25
    done
}

host=$(hostname -s)
mkdir -p "$work"/{state,spool,run}
# Munge and Slurm refuse folders that others may write.
chmod 755 "$work"
dd if=/dev/urandom of="$work/munge.key" bs=128 count=1 status=none
chmod 600 "$work/munge.key"
cat >"$work/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/run/slurmctld.pid
SlurmdPidFile=$work/run/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SchedulerParameters=sched_interval=1
MailProg=/bin/true
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES State=UP
END
export SLURM_CONF=$work/slurm.conf
munged --foreground --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/run/munged.pid" \
    --log-file="$work/munged.log" --seed-file="$work/munge.seed" >/dev/null 2>&1 &
pids+=($!)
until_true 40 munge --socket="$work/munge.socket" --no-input
slurmctld -D -f "$SLURM_CONF" -L "$work/slurmctld.log" >/dev/null 2>&1 &
pids+=($!)
slurmd -D -f "$SLURM_CONF" -L "$work/slurmd.log" >/dev/null 2>&1 &
pids+=($!)
until_true 240 sh -c "sinfo --noheader --format=%T | grep -qx idle"

arguments=(--count 64 --batch 2 --steps ddim4 --seed 5)
"$PROGRAM" sample "${arguments[@]}" --out "$work/whole.npz"
job=$(sbatch --parsable --array=0-7 --output="$work/job-%a.log" examples/cluster/slurm.sh "$work/parts" "${arguments[@]}")
echo "test-cluster: job $job"
# The shard whose process is killed, once it has finished a batch: its first line says what the run is.
victim=$work/parts/part00003.npz
until_true 2400 sh -c "[ \$(wc -l <'$victim.partial/journal') -ge 2 ]"
killed=$(pgrep -f -- "--out $victim" | head -n 1)
kill -KILL "$killed"
[ ! -e "$victim" ] || fail "the shard was done before it was killed"
echo "test-cluster: killed process $killed with $(($(wc -l <"$victim.partial/journal") - 1)) of 4 batches"
until_true 4800 sh -c "[ -z \"\$(squeue --noheader --job=$job 2>/dev/null)\" ]"
grep -q 'starting again' "$work/job-3.log" || fail "Slurm did not start the killed shard again"
grep -q 'finished already' "$work/job-3.log" || fail "the killed shard did not continue"
"$PROGRAM" merge "$work"/parts/part*.npz --out "$work/all.npz"
cmp "$work/all.npz" "$work/whole.npz" || fail "the merged file differs from the single run's"
[ "$(ls -A "$work/parts" | wc -l)" = 8 ] || fail "something else than the parts is left: $(ls -A "$work/parts")"
echo "test-cluster: the merged file has the single run's bytes"
