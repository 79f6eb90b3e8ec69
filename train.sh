#!/usr/bin/env bash
# The whole DAG with one command.
#
#   bash train.sh [local|bsub|sbatch|submitit] [CONFIG] [key=value ...] [--no-venv] [--dry-run] [options of launch]
#
# local (the default) runs here; bsub, sbatch and submitit submit one job that runs all of it inside.
# CONFIG: configs/mini.yaml by default. key=value: overrides such as pose.steps=100.
# --no-venv: use the Python at hand. --dry-run: print what would run or be submitted, and stop.
# Needs Python 3.11; makes .venv and installs the pinned packages on its first run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=envs/setup.sh
. envs/setup.sh

venv=yes
via=local
words=()
flags=()
for word in "$@"; do
    case $word in
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        --no-venv) venv=no ;;
        --dry-run) flags+=(--dry-run) ;;
        local | bsub | sbatch | submitit) via=$word ;;
        *.yaml | *.yml) [ -f "$word" ] || die "The config file $word does not exist. To mend: use one of: $(echo configs/*.yaml)"; words+=("$word") ;;
        *) words+=("$word") ;;
    esac
done

use_environment "$venv" "$(runtime_pins)"
exec python -m codebase launch --via "$via" ${flags[@]+"${flags[@]}"} ${words[@]+"${words[@]}"}
