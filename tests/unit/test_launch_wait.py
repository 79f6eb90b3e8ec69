"""`launch --wait`: until when it waits, what it shows, and with which code it leaves."""

import itertools
import json
import subprocess
import sys

from codebase.launch import wait
from codebase.launch.record import record_path
from codebase.launch.submit import CANCEL, HERE
from codebase.status.scheduler import Answer, JobState


def slurm(*jobs):
    return Answer("slurm", {job.job: job for job in jobs})


class Ended:
    """What wait_for asks: a list of answers, the last again and again."""

    def __init__(self, monkeypatch, *answers):
        self.answers = list(answers)
        monkeypatch.setattr(wait, "ask", self.ask)
        monkeypatch.setattr(wait.time, "sleep", lambda _: None)

    def ask(self, *_):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def record(folder, job, code, *, again=False):
    path = record_path(folder, job)
    path.write_text(json.dumps({"job": job, "code": code, "again": again}))


def test_waiting_shows_states_and_leaves_with_the_first_bad_code(monkeypatch, tmp_path, capsys):
    running = slurm(JobState("1_0", "RUNNING", "n0"), JobState("1_1", "PENDING", "Resources"))
    over = slurm(JobState("1_0", "COMPLETED", "n0", 0), JobState("1_1", "FAILED", "n0", 2))
    Ended(monkeypatch, running, running, over)
    assert wait.wait_for("sbatch", ["1_0", "1_1"], [None, None], tmp_path) == {"1_0": 0, "1_1": 2}
    said = [line[9:] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "1_0  running (n0)", "1_1  pending (Resources)", "1_0  done (completed)", "1_1  failed with code 2 (failed)",
    ]  # fmt: skip


def test_a_record_tells_the_code_where_the_scheduler_has_forgotten(monkeypatch, tmp_path):
    record(tmp_path, "7", 2)
    Ended(monkeypatch, slurm())
    assert wait.wait_for("sbatch", ["7"], [None], tmp_path) == {"7": 2}


def test_a_job_that_is_to_run_again_is_not_over(monkeypatch, tmp_path):
    record(tmp_path, "7", 75, again=True)
    gap, again = slurm(JobState("7", "EXIT", "", 75)), slurm(JobState("7", "RUN", "n0"))
    done = slurm(JobState("7", "DONE", "n0", None))
    Ended(monkeypatch, gap, slurm(), again, done)
    assert wait.wait_for("bsub", ["7"], [None], tmp_path) == {"7": 0}


def test_a_killed_job_is_no_success_though_its_record_is_open(monkeypatch, tmp_path):
    record(tmp_path, "7", None)
    Ended(monkeypatch, slurm(JobState("7", "OUT_OF_MEMORY", "n0", None)))
    assert wait.wait_for("sbatch", ["7"], [None], tmp_path) == {"7": 1}


def test_submitits_jobs_on_this_machine_are_its_processes(monkeypatch, tmp_path, capsys):
    """No scheduler knows them, also where there is one."""
    path, text = record_path(tmp_path, "PID"), json.dumps({"code": 3})
    code = f"import os, time; time.sleep(1); open({str(path)!r}.replace('PID', str(os.getpid())), 'w').write({text!r})"
    monkeypatch.setattr(wait, "ask", lambda *_: slurm())
    monkeypatch.setattr(wait, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(wait, "_EVERY_S", 0.1)
    process = subprocess.Popen([sys.executable, "-c", code])
    job = str(process.pid)
    assert wait.wait_for(HERE, [job], [None], tmp_path) == {job: 3}
    process.wait()
    assert CANCEL[HERE] == "kill"
    assert f"{job}  running" in capsys.readouterr().out


def test_where_looking_takes_long_it_is_done_seldom(monkeypatch, tmp_path):
    running = slurm(JobState("7", "RUNNING", "n0"))
    Ended(monkeypatch, running, running, slurm(JobState("7", "COMPLETED", "n0", 0)))
    clock, pauses = itertools.count(), []
    monkeypatch.setattr(wait.time, "monotonic", lambda: 2.0 * next(clock))
    monkeypatch.setattr(wait.time, "sleep", pauses.append)
    wait.wait_for("sbatch", ["7"], [None], tmp_path)
    assert len(pauses) == 2
    assert min(pauses) >= 20


def test_time_in_which_nobody_answers_is_no_sign_of_a_lost_job(monkeypatch, tmp_path):
    """The job is not seen for a moment, then the controller is away for an hour, and the job is there again."""
    clock = iter([0.0, 1.0, 3600.0, 3601.0])
    monkeypatch.setattr(wait, "_look", lambda *found, look=wait._look: _at(monkeypatch, next(clock), look, *found))
    away = Answer("slurm", None, "squeue: Unable to contact slurm controller")
    Ended(monkeypatch, slurm(), away, slurm(), slurm(JobState("7", "COMPLETED", "n0", 0)))
    assert wait.wait_for("sbatch", ["7"], [None], tmp_path) == {"7": 0}


def _at(monkeypatch, now, look, *found):
    monkeypatch.setattr(wait.time, "monotonic", lambda: now)
    return look(*found)


def test_a_controller_that_is_away_ends_no_waiting(monkeypatch, tmp_path, capsys):
    away = Answer("slurm", None, "squeue: Unable to contact slurm controller")
    Ended(monkeypatch, away, away, slurm(JobState("7", "COMPLETED", "n0", 0)))
    assert wait.wait_for("sbatch", ["7"], [None], tmp_path) == {"7": 0}
    assert "the scheduler does not answer: squeue: Unable to contact" in capsys.readouterr().out
