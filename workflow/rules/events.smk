"""What happens before the first job, after the last one, and when one fails. No rules here.

INPUTS: the logs of failed jobs
OUTPUTS: {results}/{name}/config.yaml and those of rivals, written again when a run starts; messages
"""

import atexit
import os
import shutil
import sys
import time
from hashlib import sha256
from pathlib import Path
from subprocess import CalledProcessError
from threading import Event

from snakemake.dag import DAG
from snakemake.jobs import Job
from snakemake.persistence import PersistenceBase
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from codebase.config import points
from codebase.failures import failed_logs, last_words, tail_since, wants_a_person
from codebase.schedulers import refusal_hint, still_runs


def forget_finished():
    """Remove the second names of finished models (codebase/training/finished.py): now a forced run trains again."""
    runs = [PATHS.run_dir(network) for network in NETWORKS]
    runs += [rival.run_dir("enc_dec") for rival in RIVALS.values()]
    runs += [PATHS.labels / point.name for point in points(CONFIG)]
    for run in runs:
        shutil.rmtree(run / "finished", ignore_errors=True)


def explain_failure(logs):
    """The last thing a failed run says: the logs of the failed jobs and their last words, errors for people first."""
    said = [Path(log) for log in logs if Path(log).is_file()]
    words = last_words(
        failed_logs("".join(path.read_text(errors="replace") for path in said))
    )
    if words:
        print(f"\n{words}", file=sys.stderr)


def explain_refusal():
    """After a submission that the scheduler refused, what to change. Some plugins raise then, and onerror is not called."""
    logs = [Path(log) for log in workflow.logger_manager.get_logfile()]
    hint = refusal_hint(
        "".join(log.read_text(errors="replace") for log in logs if log.is_file())
    )
    if hint:
        print(f"\n{hint}", file=sys.stderr)


def try_no_error_again():
    """A job whose log ends with an error that a person must mend fails at once, however many `retries` there are.

    Snakemake counts attempts and knows no exit codes, so its question is answered here. Killed jobs, those out of time
    and those that say nothing are tried again.
    """
    begun, asked = time.time(), Job.restart_times.fget

    def restart_times(job):
        told = [tail_since(Path(log), begun) for log in job.log]
        return 0 if any(map(wants_a_person, told)) else asked(job)

    Job.restart_times = property(restart_times)


def find_running_jobs_again():
    """After a killed Snakemake, lsf-generic waits for its jobs that still run, and does not submit them once more.

    Snakemake's plugin is meant to do so by itself. But under `rerun-incomplete` it forgets the numbers of jobs, and a job's
    own Snakemake writes over the number that was noted (`keep_numbers_of_jobs`). Beside the number stands for which params
    the job was submitted: where the config was changed since, what it makes is not what is wanted now.
    """

    forgets, notes = DAG.incomplete_external_jobid, PersistenceBase.started

    def ours():
        # known only later: while the workflow is read there is no executor yet
        settings = workflow.executor_settings
        return "lsf-generic" in (getattr(settings, "status_cmd", None) or "")

    def wanted(job):
        said = "\n".join(map(str, getattr(job, "params", ())))
        return sha256(said.encode()).hexdigest()[:16]

    def started(persistence, job, external_jobid=None):
        marked = ours() and external_jobid
        note = f"{external_jobid} {wanted(job)}" if marked else external_jobid
        notes(persistence, job, note)

    def number(dag, job):
        if not ours():
            return forgets(dag, job)
        noted = map(str.split, dag.workflow.persistence.external_jobids(job))
        same = (words[0] for words in noted if words[1:] == [wanted(job)])
        return next(filter(still_runs, same), None)

    PersistenceBase.started = started
    DAG.incomplete_external_jobid = number


def cancel_all_that_runs():
    """A Ctrl-C cancels every job that was submitted and is not over.

    Snakemake's executors empty their list of jobs while they ask the scheduler for them, and would then cancel none. The
    Slurm plugin submits in threads, which go on after the Ctrl-C: what they bring is cancelled as it comes.
    """
    running, leaving = {}, Event()

    def kept(name, change):
        original = getattr(RemoteExecutor, name)

        def report(executor, job_info, *words, **named):
            change(executor, job_info)
            return original(executor, job_info, *words, **named)

        setattr(RemoteExecutor, name, report)

    def submitted(executor, job_info):
        running[id(job_info)] = job_info
        if leaving.is_set():
            end(executor, [job_info])

    def over(_, job_info):
        running.pop(id(job_info), None)

    def end(executor, jobs):
        try:
            executor.cancel_jobs(jobs)
        except CalledProcessError:
            pass  # bkill complains of jobs that have just ended, after it has ended the others

    def cancel(executor):
        leaving.set()  # before the list is read: a job that comes between is cancelled twice, not never
        end(executor, list(running.values()))
        executor.shutdown()

    kept("report_job_submission", submitted)
    kept("report_job_success", over)
    kept("report_job_error", over)
    RemoteExecutor.cancel = cancel


def keep_numbers_of_jobs():
    """In a job of lsf-generic: do not mark its outputs as begun, as the Snakemake that submitted it has done."""
    PersistenceBase.started = lambda persistence, job, external_jobid=None: None


if workflow.is_main_process:
    atexit.register(explain_refusal)
    try_no_error_again()
    find_running_jobs_again()
    cancel_all_that_runs()
elif os.environ.get("POSEMILL_LSF_GENERIC"):
    keep_numbers_of_jobs()


onerror:
    # Snakemake gives a list of its own logs
    explain_failure([log] if isinstance(log, str) else log)


onstart:
    or_leave(require_tree)
    or_leave(require_source)
    for path, merged in CONFIGS.items():
        or_leave(write_config, path, merged)


onsuccess:
    forget_finished()
