#!/usr/bin/env bash
# Runs a protocol on the nodes of a SLURM job: Ray on every node, the sweep on the first.
#
#   sbatch --nodes=4 cluster/slurm.sh protocols/cmu.yaml --data-root DIR --results /shared/results
#
# Arguments after the script's name are passed to `python -m bench run`. Submit from the project's
# folder with its virtual environment active; SLURM passes the environment on. Options of sbatch go
# before the script's name and override those below; for GPUs, add --gpus-per-node.
# If a job reaches its time limit, submit it again unchanged: finished cells are kept.

#SBATCH --job-name=bench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00

set -euo pipefail

: "${SLURM_JOB_NODELIST:?submit this script with sbatch}"
readonly timeout=300 # seconds until Ray must run on all nodes

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
readonly head=${nodes[0]}
# Jobs on the same node need their own port, and the token keeps other users out.
readonly port=$((20000 + SLURM_JOB_ID % 10000))
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

start_on() { # NODE ARGUMENT...: start Ray on a node, next to other steps of the job
    exec srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        --nodelist="$1" ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" "${@:2}"
}

wait_until() { # COUNT: wait until Ray has COUNT nodes
    until python - "$head:$port" "$1" <<'EOF' 2>/dev/null; do
import sys
import ray

ray.init(sys.argv[1])
sys.exit(sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]))
EOF
        ((SECONDS < timeout)) || { echo "slurm.sh: no $1 nodes after $timeout s" >&2; exit 1; }
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
for node in "${nodes[@]:1}"; do
    start_on "$node" --address="$head:$port" &
done
wait_until "${#nodes[@]}"

python -m bench run "$@" --address "$head:$port"
