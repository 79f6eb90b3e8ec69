#!/usr/bin/env bash
# A real Slurm on this one host, for the tests: two nodes with two pretended GPUs each, memory and time enforced,
# preemption with requeue. No systemd; everything lies under one folder outside the repository.
#
#   bash tests/cluster/slurm.sh start [--accounting]    idempotent; installs what is missing by apt
#   bash tests/cluster/slurm.sh status                  0 where it runs, 1 where not
#   bash tests/cluster/slurm.sh controller stop|start   slurmctld alone: what jobs meet when the controller is down
#   bash tests/cluster/slurm.sh stop                    cancels its jobs; leaves nothing behind but installed packages
#
# The folder: $POSEMILL_SLURM_ROOT, or ${XDG_CACHE_HOME:-~/.cache}/posemill-slurm. The one thing outside is a link at
# /etc/slurm/slurm.conf: Snakemake's jobstep plugin drops SLURM_CONF, so jobs find their cluster only there. A file that
# is not ours stays as it is, and nothing starts. Exit codes: 0 done, 1 it failed, 3 it cannot run on this machine.
#
# Partitions: gpu (default), spare and urgent (a job of urgent preempts those of spare, which are requeued), cpu (one node
# without a GPU, which never starts).
# Memory: cgroup v1 where the host has it (state OUT_OF_MEMORY), or Slurm's own polling (FAILED, killed by signal 9);
# POSEMILL_SLURM_MEMORY=cgroup|polling overrides the choice.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=${POSEMILL_SLURM_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/posemill-slurm}
SYSTEM_CONF=/etc/slurm/slurm.conf
CONFIGLESS=/run/slurm/conf
MARK=.posemill-slurm
NODES=2 GPUS=2 CPUS=8 MEMORY_MB=64000
CTLD_PORT=26817 DBD_PORT=26819 SQL_PORT=23306 NODE_PORT=26830
CGROUPS=/sys/fs/cgroup
# daemons must not keep the caller's open files, such as the lock of a `flock`
for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
done
export PATH="$PATH:/usr/sbin:/sbin"
export SLURM_CONF=$ROOT/slurm.conf

say() { printf 'slurm.sh: %s\n' "$*" >&2; }
cannot() { say "cannot start: $*"; exit 3; }
failed() {
    say "failed: $*"
    tail -n 8 "$ROOT"/log/*.log >&2 2>/dev/null || true
    exit 1
}

# shellcheck source=accounting.sh
. "$HERE/accounting.sh"

# await SECONDS COMMAND...: until the command succeeds, at most that long
await() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

# alive NAME: does the process of run/NAME.pid live, and is it that daemon? A pid may be another's after a crash, and in
# a container nobody may collect the dead.
alive() {
    local pid
    pid=$(cat "$ROOT/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${1%%.*}" ] &&
        ! grep -q '^State:.Z' "/proc/$pid/status"
}
gone() { ! alive "$1"; }

# end NAME: TERM, then KILL
end() {
    alive "$1" || return 0
    kill "$(cat "$ROOT/run/$1.pid")" 2>/dev/null || true
    await 15 gone "$1" || kill -KILL "$(cat "$ROOT/run/$1.pid")" 2>/dev/null || true
    await 5 gone "$1" || say "$1 does not end"
}

node_names() { seq -f 'n%g' 0 $((NODES - 1)); }
ours() { [ "$(readlink "$SYSTEM_CONF" 2>/dev/null)" = "$ROOT/slurm.conf" ]; }
mode() { if [ -e "$ROOT/accounting" ]; then echo accounting; else echo plain; fi; }
ready() { [ "$(timeout 5 sinfo -h -N -p gpu -o '%T' | grep -cE '^(idle|mixed|allocated|completing)$')" -eq $NODES ]; }
running() { ours && alive munged && alive slurmctld && ready 2>/dev/null; }

controller() {
    case ${1:-} in
        stop) end slurmctld ;;
        start) alive slurmctld || slurmctld || failed "slurmctld did not start"; await 60 ready || failed "no answer after 60 s" ;;
        *) usage ;;
    esac
}

# Before anything is changed: may and can it run here?
preflight() {
    [ "$(uname -s)" = Linux ] || cannot "Slurm's daemons need Linux."
    [ "$(id -u)" = 0 ] || cannot "it must be root, to switch users as a batch system does and to link $SYSTEM_CONF."
    if [ -e "$SYSTEM_CONF" ] || [ -L "$SYSTEM_CONF" ]; then
        ours || cannot "$SYSTEM_CONF is another cluster's ($(readlink -m "$SYSTEM_CONF")); it is left as it is."
    fi
    [ ! -e "$CONFIGLESS" ] || cannot "this host is a node of a cluster without files of its own ($CONFIGLESS)."
    if [ -d "$ROOT" ] && [ -n "$(ls -A "$ROOT")" ] && [ ! -e "$ROOT/$MARK" ]; then
        cannot "$ROOT holds somebody's files; set POSEMILL_SLURM_ROOT to a folder that may be deleted."
    fi
}

# install_packages NAME...: those whose command is missing, without starting their services
install_packages() {
    local wanted=() policy=/usr/sbin/policy-rc.d
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v sbatch >/dev/null || wanted+=(slurm-wlm)
    command -v munged >/dev/null || wanted+=(munge)
    if [ "$1" = accounting ]; then
        command -v slurmdbd >/dev/null || wanted+=(slurmdbd)
        command -v mariadbd >/dev/null || wanted+=(mariadb-server)
    fi
    [ ${#wanted[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || cannot "${wanted[*]} not installed, and there is no apt-get; install them by hand."
    say "installing ${wanted[*]}"
    local log
    log=$(mktemp)
    # shellcheck disable=SC2064
    trap "rm -f '$log'" EXIT
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        # shellcheck disable=SC2064
        trap "rm -f '$log' '$policy'" EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    local install=(apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${wanted[@]}")
    if ! { "${install[@]}" || { apt-get update && "${install[@]}"; }; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        cannot "apt could not install ${wanted[*]}; its last lines stand above."
    fi
}

# Can this host's cgroup v1 hold jobs? Only a try tells: in containers the files look writable.
cgroup_works() {
    local controller
    for controller in memory freezer; do
        mkdir "$CGROUPS/$controller/posemill-try" 2>/dev/null || return 1
        rmdir "$CGROUPS/$controller/posemill-try" || return 1
    done
}

write_config() {
    local how=${POSEMILL_SLURM_MEMORY:-} node i
    [ -n "$how" ] || { if cgroup_works; then how=cgroup; else how=polling; fi; }
    : >"$ROOT/gres.conf"
    for node in $(node_names); do
        for i in $(seq 0 $((GPUS - 1))); do ln -sfn /dev/null "$ROOT/dev/$node.gpu$i"; done
        echo "NodeName=$node Name=gpu Type=pretended File=$ROOT/dev/$node.gpu[0-$((GPUS - 1))]" >>"$ROOT/gres.conf"
    done
    {
        echo "# PoseMill's test cluster; made by tests/cluster/slurm.sh, memory by $how"
        sed "s|@ROOT@|$ROOT|g; s|@HOST@|$(hostname -s)|g; s|@PORT@|$CTLD_PORT|g" "$HERE/slurm.conf.in"
        if [ "$how" = cgroup ]; then
            echo "ProctrackType=proctrack/cgroup"
            echo "TaskPlugin=task/cgroup"
            echo "JobAcctGatherParams=UsePss"
        else
            echo "ProctrackType=proctrack/linuxproc"
            echo "TaskPlugin=task/none"
            echo "JobAcctGatherParams=OverMemoryKill,UsePss"
        fi
        if [ "$1" = accounting ]; then accounting_config; else echo "AccountingStorageType=accounting_storage/none"; fi
        i=0
        for node in $(node_names); do
            node_line "$node" $((NODE_PORT + i)) "Gres=gpu:pretended:$GPUS State=UNKNOWN"
            i=$((i + 1))
        done
        node_line c0 $((NODE_PORT + i)) "State=DOWN Reason=never_started"
        echo "PartitionName=gpu Nodes=n[0-$((NODES - 1))] Default=YES DefaultTime=10 PriorityTier=10 PreemptMode=OFF"
        echo "PartitionName=spare Nodes=n[0-$((NODES - 1))] DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10"
        echo "PartitionName=urgent Nodes=n[0-$((NODES - 1))] DefaultTime=10 PriorityTier=100 PreemptMode=OFF"
        echo "PartitionName=cpu Nodes=c0 DefaultTime=10"
    } >"$ROOT/slurm.conf"
    if [ "$how" = cgroup ]; then
        printf '%s\n' CgroupPlugin=cgroup/v1 CgroupMountpoint=$CGROUPS CgroupAutomount=no ConstrainRAMSpace=yes \
            ConstrainCores=no ConstrainDevices=no >"$ROOT/cgroup.conf"
    fi
}

node_line() {
    echo "NodeName=$1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$2 CPUs=$CPUS Boards=1 SocketsPerBoard=1" \
        "CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEMORY_MB $3"
}

start_munge() {
    alive munged && return
    [ -s "$ROOT/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$ROOT/munge/key")
    # --force: the folder may lie below a home that others cannot enter; all here runs as root
    munged --force --socket="$ROOT/munge/socket" --key-file="$ROOT/munge/key" --pid-file="$ROOT/run/munged.pid" \
        --log-file="$ROOT/log/munged.log" --seed-file="$ROOT/munge/seed" --num-threads=2 2>>"$ROOT/log/munged.log" ||
        failed "munged did not start"
}

start() {
    local mode=plain node
    if [ "${1:-}" = --accounting ]; then mode=accounting; elif [ -n "${1:-}" ]; then usage; fi
    preflight
    if running; then
        [ "$(mode)" = $mode ] || { say "it runs in the other mode ($(mode)): stop it first"; exit 1; }
        say "runs already ($mode)"
        status
        return
    fi
    if [ -e "$ROOT/$MARK" ] || ours; then stop; fi # what a crash left
    install_packages $mode
    mkdir -p "$ROOT"/{run,log,state,spool,munge,dev} /etc/slurm
    chmod 755 "$ROOT" "$ROOT/munge"
    : >"$ROOT/$MARK"
    [ $mode = plain ] || : >"$ROOT/accounting"
    ln -s "$ROOT/slurm.conf" "$SYSTEM_CONF"
    write_config $mode
    start_munge
    [ $mode = plain ] || start_accounting
    slurmctld || failed "slurmctld did not start"
    for node in $(node_names); do
        mkdir -p "$ROOT/spool/$node"
        slurmd -N "$node" || failed "slurmd $node did not start"
    done
    await 60 ready || failed "the nodes are not ready after 60 s"
    status
}

status() {
    running || { say "does not run (folder: $ROOT)"; return 1; }
    echo "mode: $(mode), folder: $ROOT, $(sed -n '1s/.*, //p' "$SLURM_CONF")"
    timeout 10 sinfo -N -o '%N %P %T %c %m %G'
}

stop() {
    if [ ! -e "$ROOT/$MARK" ]; then
        if ours; then rm -f "$SYSTEM_CONF"; fi # somebody deleted the folder alone
        say "nothing to stop (no $ROOT)"
        return 0
    fi
    if alive slurmctld; then
        timeout 10 scancel --user=root 2>/dev/null || true
        await 20 no_jobs || say "some jobs do not end; they are killed"
    fi
    local node
    for node in $(node_names); do end "slurmd.$node"; done
    kill_steps
    end slurmctld
    stop_accounting
    end munged
    if ours; then rm -f "$SYSTEM_CONF"; fi
    rm -rf "$ROOT"
    say "stopped, $ROOT deleted"
}

no_jobs() { [ -z "$(timeout 5 squeue -h -t running,completing,pending || echo unknown)" ]; }

# Steps outlive their slurmd; ours have its spool folder or a cgroup of ours in their command line or files.
kill_steps() {
    local pid cgroup
    for pid in $(pgrep -x slurmstepd || true); do
        if grep -qzF "SLURM_CONF=$ROOT/" "/proc/$pid/environ" 2>/dev/null || ls -l "/proc/$pid/fd" 2>/dev/null | grep -qF "$ROOT/"; then
            pkill -KILL -P "$pid" || true
            kill -KILL "$pid" 2>/dev/null || true
        fi
    done
    [ -e "$ROOT/cgroup.conf" ] || return 0
    for cgroup in memory freezer; do
        for node in $(node_names); do
            find "$CGROUPS/$cgroup/slurm_$node" "$CGROUPS/$cgroup/slurm" -depth -type d -exec rmdir {} \; 2>/dev/null || true
        done
    done
}

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 1; }

case ${1:-} in
    start) shift; start "$@" ;;
    stop) stop ;;
    controller) shift; controller "$@" ;;
    status) status ;;
    *) usage ;;
esac
