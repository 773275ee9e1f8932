#!/usr/bin/env bash
# Tests, times and a full paper-size fit on a machine with a GPU, in one command.
#
#   scripts/gpu_check.sh DATA_ROOT OUT [CHECKOUT]
#
# DATA_ROOT: real motion, as --data-root takes it (CMU's files are used).
# OUT: a folder for logs, tables, figures and the fitted weights; no file of it is above 16 MB.
# CHECKOUT: of the published HG-VAE, to be timed beside ours.
#
# Each step has a log, a step that fails does not stop the others, and the exit code tells of it.
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
    local name=$1 begun=$SECONDS
    shift
    if "$@" > "$out/$name.log" 2>&1; then
        echo "$name: done in $((SECONDS - begun)) s"
    else
        echo "$name: FAILED after $((SECONDS - begun)) s, see $out/$name.log"
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
        # The larger ones are predictors' and models' whose tables are enough.
        if [[ -f $fit/weights.safetensors ]]; then
            name=$(basename "$fit")
            cp "$fit/fit.json" "$out/fit-$name.json"
            [[ -f $fit/history.csv ]] && cp "$fit/history.csv" "$out/history-$name.csv"
            find "$fit" -name weights.safetensors -size -16M -exec cp {} "$out/weights-$name.safetensors" \;
        fi
    done
fi
exit "$failed"
