#!/usr/bin/env bash
# GPU tests, speed benchmarks and a full paper-size fit, in one command.
#
#   scripts/gpu_check.sh DATA_ROOT OUT [CHECKOUT]
#
# DATA_ROOT: real motion, as --data-root takes it (CMU's files are used).
# OUT: folder for logs, tables, figures and fitted weights; files above 16 MB are left out.
# CHECKOUT: a checkout of the published HG-VAE, for a comparison of speed.
#
# Each step has its own log. A failed step does not stop the others; the exit code is then 1.
set -uo pipefail

if [[ $# -lt 2 ]]; then
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
data=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
against=()
if [[ $# -gt 2 ]]; then
    against=(--against "$(realpath "$3")")
fi
cd "$(dirname "$0")/.." || exit 2
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
failed=0

step() { # NAME COMMAND...: run a command, its output in NAME.log
    local name=$1 start=$SECONDS
    shift
    if "$@" > "$out/$name.log" 2>&1; then
        echo "$name: done in $((SECONDS - start)) s"
    else
        echo "$name: FAILED after $((SECONDS - start)) s, see $out/$name.log"
        failed=1
    fi
}

step tests python -m pytest -m gpu -q
step speed python -m bench speed precision "${against[@]}" --rounds 5 --json "$out/speed.json"
step run python -m bench run protocols/cmu_paper_size.yaml --executor local \
    --data-root "$data" --results "$results" --set resources.device=auto
if run=$(realpath "$results"/cmu_paper_size/latest 2> /dev/null) && [[ -d $run ]]; then
    find "$run" -maxdepth 1 -type f -size -16M ! -name '*.parquet' -exec cp {} "$out" \;
    for fit in "$results"/.store/fits/*/; do
        # Only models and predictors with weights; weights above 16 MB are left out.
        if [[ -f $fit/weights.safetensors ]]; then
            name=$(basename "$fit")
            cp "$fit/fit.json" "$out/fit-$name.json"
            [[ -f $fit/history.csv ]] && cp "$fit/history.csv" "$out/history-$name.csv"
            find "$fit" -name weights.safetensors -size -16M -exec cp {} "$out/weights-$name.safetensors" \;
        fi
    done
fi
exit "$failed"
