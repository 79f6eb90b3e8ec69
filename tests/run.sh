#!/usr/bin/env bash
# All tests, with one command:   bash tests/run.sh [--no-venv] [arguments of pytest]
# Makes .venv and installs the pinned packages on its first run, as train.sh does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../envs/setup.sh
. envs/setup.sh

venv=yes
if [ "${1:-}" = --no-venv ]; then
    venv=no
    shift
fi
use_environment "$venv" "$(runtime_pins)" envs/test.txt
# small operations on spinning threads are a hundred times slower where cores are shared
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
exec python -m pytest -q "$@"
