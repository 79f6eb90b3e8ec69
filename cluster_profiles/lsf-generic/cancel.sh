#!/usr/bin/env bash
# bkill for Snakemake's cluster-generic.   cancel.sh JOB ...
# Snakemake kills this command after 2 seconds, and a busy LSF may not have answered by then: so bkill goes on alone, and
# what it says stands in .snakemake/lsf_logs/bkill.log.
set -euo pipefail

mkdir -p .snakemake/lsf_logs
setsid bkill "$@" </dev/null >>.snakemake/lsf_logs/bkill.log 2>&1 &
