#!/usr/bin/env bash
# bsub for Snakemake's cluster-generic; prints the job's id and nothing else.
#   submit.sh RULE WILDCARDS CORES MEM_MB MINUTES QUEUE PROJECT [flags of bsub ...] JOBSCRIPT
# The job's name says rule and wildcards, as `python -m codebase status` looks for them.
# Memory is sent per core, as LSF counts it; SNAKEMAKE_LSF_MEMFMT=perjob sends it per job, LSF_UNIT_FOR_LIMITS=KB or GB in
# another unit than MB. An empty QUEUE or PROJECT is left to LSF.
set -euo pipefail

rule=$1 wildcards=$2 cores=$3 memory=$4 minutes=$5 queue=$6 project=$7
shift 7
script=${*: -1}
flags=("${@:1:$#-1}")
command -v bsub >/dev/null || { echo "error: there is no bsub on PATH; run Snakemake on a login node of the cluster" >&2; exit 2; }

[ "${SNAKEMAKE_LSF_MEMFMT:-percore}" = perjob ] || memory=$(((memory + cores - 1) / cores))
case ${LSF_UNIT_FOR_LIMITS:-MB} in
    K*) memory=$((memory * 1024)) ;;
    G*) memory=$(((memory + 1023) / 1024)) ;;
esac
# the job's own Snakemake must not write over its number, by which it is found again (workflow/rules/events.smk)
export POSEMILL_LSF_GENERIC=1
log=$PWD/.snakemake/lsf_logs/rule_$rule
mkdir -p "$log"
# bsub joins the words of a command by blanks and gives them to a shell
printf -v script %q "$script"
answer=$(bsub -J "posemill_$rule${wildcards:+:$wildcards}" -o "$log/%J.log" -e "$log/%J.log" -env all -n "$cores" -W "$minutes" \
    -R "rusage[mem=$memory]" -R "span[hosts=1]" ${queue:+-q "$queue"} ${project:+-P "$project"} \
    ${flags[@]+"${flags[@]}"} -cwd "$PWD" "$script" 2>&1) || {
    printf 'error: bsub refused a job of rule %s: %s\n  to mend:  correct lsf_queue, lsf_project, gpu or set-resources in your site file\n' \
        "$rule" "$answer" >&2
    exit 1
}
[[ $answer =~ Job\ \<([0-9]+)\> ]] || { echo "error: no job id in the answer of bsub: $answer" >&2; exit 1; }
echo "${BASH_REMATCH[1]}"
