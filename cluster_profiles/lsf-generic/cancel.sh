#!/usr/bin/env bash
# bkill for Snakemake's cluster-generic.   cancel.sh JOB ...
# Snakemake kills this command after 2 seconds, and a busy LSF may not have answered by then: so bkill goes on alone, and
# what it says stands in .snakemake/lsf_logs/bkill.log, unless the disk is full: jobs are cancelled all the same.
set -uo pipefail

log=.snakemake/lsf_logs/bkill.log
{ mkdir -p "${log%/*}" && : >>"$log"; } 2>/dev/null || log=/dev/null
setsid bkill "$@" </dev/null >>"$log" 2>&1 &
