#!/usr/bin/env bash
# Is an LSF job running, done (success) or failed? One word for Snakemake's cluster-generic.   status.sh JOB
# A lost host (UNKWN) counts as running: the job may come back, and a second one would write the same files. `bkill -r JOB`
# ends it. Where bjobs has forgotten the job, bhist is asked; where LSF does not answer, the job counts as running.
set -uo pipefail

job=$1
state=$(bjobs -a -noheader -o stat "$job" 2>/dev/null | tail -n 1)
case $state in
    DONE) echo success ;;
    EXIT | ZOMBI) echo failed ;;
    PEND | RUN | PROV | WAIT | PSUSP | USUSP | SSUSP | UNKWN) echo running ;;
    *)
        case $(bhist -n 0 -l "$job" 2>/dev/null) in
            *"Done successfully"*) echo success ;;
            *Exited*) echo failed ;;
            *) echo running ;;
        esac
        ;;
esac
