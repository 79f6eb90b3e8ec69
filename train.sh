#!/usr/bin/env bash
# The whole DAG with one command.
#
#   bash train.sh [local|bsub|sbatch|submitit] [CONFIG] [key=value ...] [--no-venv] [--dry-run] [options of launch]
#
# local (the default) runs here; bsub (LSF), sbatch and submitit (Slurm) submit one job that runs all of it inside; the
# script is printed first. CONFIG: configs/mini.yaml by default. key=value: overrides such as pose.steps=100.
# With the course project's config (configs/modelfinal.yaml, docs/course.md) it is `cd codebase && python train.py CONFIG`.
# --no-venv: use the Python at hand. --dry-run: print what would run or be submitted, and stop.
# Of launch, among others: --queue Q --account A --minutes M --mem-mb M --gpus N --gpu-model M --site FILE
#   --setup "module load cuda" --wait --sweep key=1,2 --max-running 2   (all: python -m codebase launch --help)
# How far it is: python -m codebase status
# Needs Python 3.11; makes .venv and installs the pinned packages on its first run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=envs/setup.sh
. envs/setup.sh

venv=yes
via=local
words=()
flags=()
before=
for word in "$@"; do
    case $before in
        # a value, such as of `--queue local` or `--site my.yaml`
        --dry-run | --no-venv | --wait | --collect | --*=* | "") before=$word ;;
        --*) before=$word words+=("$word"); continue ;;
        *) before=$word ;;
    esac
    case $word in
        -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
        --no-venv) venv=no ;;
        --dry-run) flags+=(--dry-run) ;;
        local | bsub | sbatch | submitit) via=$word ;;
        *.yaml | *.yml) [ -f "$word" ] || die "The config file $word does not exist. To mend: use one of: $(echo configs/*.yaml)"; words+=("$word") ;;
        *) words+=("$word") ;;
    esac
done

use_environment "$venv" "$(runtime_pins)"
exec python -m codebase launch --via "$via" ${flags[@]+"${flags[@]}"} ${words[@]+"${words[@]}"}
