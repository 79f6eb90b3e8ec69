#!/usr/bin/env bash
# Every linter, in the environment at hand; all of them run, and any complaint fails. `make lint` calls it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=()

check() {
    echo "== $*"
    "$@" || failed+=("$1 ${2:-}")
}

shell_syntax() {
    local script
    for script in train.sh tests/run.sh tests/cluster/*.sh .ci/run envs/*.sh; do bash -n "$script" || return 1; done
}

schema_in_step() {
    python -m pytest -q --no-header tests/unit/test_config_schema.py
}

check ruff check .
check ruff format --check .
check mypy
check lint-imports
check snakefmt --check Snakefile workflow
check snakemake --lint --configfile configs/mini.yaml
check codespell --skip "results,*.svg"
check shell_syntax
check schema_in_step
[ ${#failed[@]} -eq 0 ] && exit 0
printf 'failed: %s\n' "${failed[@]}" >&2
exit 1
