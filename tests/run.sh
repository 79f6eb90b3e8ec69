#!/usr/bin/env bash
# All tests but those on a live scheduler:   bash tests/run.sh [--no-venv] [arguments of pytest]
# Those alone (over 20 minutes, 40 beside other work):
#                                            bash tests/run.sh [--no-venv] --cluster [arguments of pytest]
# Both:                                      bash tests/run.sh [--no-venv] --all [arguments of pytest]
# (POSEMILL_CLUSTER_TESTS names some files of those on the scheduler, for --all.)
# Makes .venv and installs the pinned packages on its first run, as train.sh does. A live Slurm is started for the cluster
# tests (tests/cluster/slurm.sh; it installs it by apt where it is missing) and stopped after them. Where it cannot start,
# they are skipped with the reason; POSEMILL_SLURM=required makes that a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=../envs/setup.sh
. envs/setup.sh

venv=yes
which=others
where=()
while true; do
    case ${1:-} in
        --no-venv) venv=no ;;
        --cluster) which=cluster ;;
        --all) which=all ;;
        *) break ;;
    esac
    shift
done
use_environment "$venv" "$(runtime_pins)" envs/test.txt
# small operations on spinning threads are a hundred times slower where cores are shared
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

# on the one scheduler, one after the other
cluster() {
    where=(tests/cluster)
    for word in "$@"; do
        if [ -e "${word%%::*}" ]; then where=(); fi
    done
    python -m pytest -q -m cluster --durations=0 --durations-min=1 ${where[@]+"${where[@]}"} "$@"
}

# two files at once
others() { python -m pytest -q -n 2 --dist loadfile --durations=20 "$@"; }

if [ $which != all ]; then
    $which "$@"
    exit
fi
# jobs on a scheduler wait a lot: they run beside the other tests, and are told of afterwards
told=$(mktemp)
trap 'rm -f "$told"' EXIT
# shellcheck disable=SC2086
cluster ${POSEMILL_CLUSTER_TESTS:-} "$@" >"$told" 2>&1 &
others "$@"
first=$?
wait $!
second=$?
cat "$told"
exit $((first ? first : second))
