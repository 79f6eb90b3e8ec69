#!/usr/bin/env bash
# All tests but those on a live scheduler:   bash tests/run.sh [--no-venv] [arguments of pytest]
# Those alone (some 12 minutes):             bash tests/run.sh [--no-venv] --cluster [arguments of pytest]
# Both:                                      bash tests/run.sh [--no-venv] --all [arguments of pytest]
# Makes .venv and installs the pinned packages on its first run, as train.sh does. A live Slurm is started for the cluster
# tests (tests/cluster/slurm.sh; it installs it by apt where it is missing) and stopped after them. Where it cannot start,
# they are skipped with the reason; POSEMILL_SLURM=required makes that a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../envs/setup.sh
. envs/setup.sh

venv=yes
which=() where=()
while true; do
    case ${1:-} in
        --no-venv) venv=no ;;
        --cluster) which=(-m cluster --durations=0 --durations-min=1) where=(tests/cluster) ;;
        --all) which=(-m "cluster or not cluster" --durations=30) ;;
        *) break ;;
    esac
    shift
done
for word in "$@"; do
    if [ -e "${word%%::*}" ]; then where=(); fi
done
use_environment "$venv" "$(runtime_pins)" envs/test.txt
# small operations on spinning threads are a hundred times slower where cores are shared
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
# two files at once, in the order of their names: the tests on the scheduler, which wait a lot, run beside all others
exec python -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder "${which[@]}" "${where[@]}" "$@"
