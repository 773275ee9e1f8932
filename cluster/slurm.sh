#!/usr/bin/env bash
# Runs a protocol on the machines of a SLURM job: Ray on each, the sweep on the first.
#
#   sbatch --nodes=4 cluster/slurm.sh protocols/cmu.yaml --data-root DIR --results /shared/results
#
# What follows the script's name goes to `python -m bench run`. Submit from the project's folder,
# with its virtual environment active: SLURM hands the environment on. Options of sbatch go before
# the script's name and count more than those here; where there are GPUs, add --gpus-per-node.
# A job that ran out of time is submitted again as it was: what had finished is kept.

#SBATCH --job-name=bench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00

set -euo pipefail

: "${SLURM_JOB_NODELIST:?submit this script with sbatch}"
readonly patience=300 # seconds for Ray to be there on all machines

mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
readonly head=${machines[0]}
# Jobs that share a machine must not share a Ray, and other users must not get into this one.
readonly port=$((20000 + SLURM_JOB_ID % 10000))
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

start_on() { # MACHINE ARGUMENT...: start Ray there, beside what else the job runs there
    exec srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        --nodelist="$1" ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" "${@:2}"
}

wait_until() { # COUNT: wait until Ray has so many machines
    until python - "$head:$port" "$1" <<'EOF' 2>/dev/null; do
import sys
import ray

ray.init(sys.argv[1])
sys.exit(sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]))
EOF
        ((SECONDS < patience)) || { echo "slurm.sh: no $1 machines after $patience s" >&2; exit 1; }
        sleep 1
    done
}

end() {
    local steps
    mapfile -t steps < <(jobs -p)
    kill "${steps[@]}" 2>/dev/null || true
    wait
}
trap end EXIT

start_on "$head" --head --port="$port" --temp-dir="/tmp/ray-$SLURM_JOB_ID" \
    --include-dashboard=false --disable-usage-stats &
wait_until 1
for machine in "${machines[@]:1}"; do
    start_on "$machine" --address="$head:$port" &
done
wait_until "${#machines[@]}"

python -m bench run "$@" --address "$head:$port"
