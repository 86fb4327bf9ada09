#!/usr/bin/env bash
# A run split over an array of Slurm jobs; every job makes its shard and may be killed, pre-empted or moved at any time.
#
#   sbatch --array=0-7 examples/cluster/slurm.sh FOLDER --model 64x64_diffusion.safetensors --count 50000 --batch 16
#   guided-diffusion merge FOLDER/part*.npz --out all.npz
#
# FOLDER must be one that all nodes see. What follows it goes to `guided-diffusion sample`. Give --batch, and
# GUIDED_DIFFUSION_CACHE as docs/reliability.md says: then the merged file has the bytes of a single run, because other kernels
# add in other orders. PROGRAM names the program where it is not on the nodes' PATH. A GPU is asked for as your cluster has it:
# sbatch --gres=gpu:1 …
#SBATCH --job-name=guided-diffusion
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.log
set -uo pipefail

# Starts of a job whose program fails, after which it is given up. Node failures and pre-emptions are Slurm's to restart.
starts=5

usage='usage: sbatch --array=0-7 slurm.sh FOLDER [ARGUMENTS OF guided-diffusion sample]...'
folder=${1:?$usage}
shift
part=$folder/part$(printf '%05d' "${SLURM_ARRAY_TASK_ID:?$usage}").npz
mkdir -p "$folder"
# A job that is requeued after its last image has nothing to do.
if [ -e "$part" ]; then
    echo "$part is there already: it is taken as it is; remove it or give another folder where arguments have changed" >&2
    exit 0
fi

# It continues where an earlier start of this job ended: its finished images lie in $part.partial.
"${PROGRAM:-guided-diffusion}" sample "$@" --shard "$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))/$SLURM_ARRAY_TASK_COUNT" \
    --out "$part"
status=$?
# Impossible arguments (2) stay impossible.
if [ $status != 0 ] && [ $status != 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt $((starts - 1)) ]; then
    echo "exit code $status after start $((${SLURM_RESTART_COUNT:-0} + 1)) of $starts: starting again"
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && sleep 60
fi
exit $status
