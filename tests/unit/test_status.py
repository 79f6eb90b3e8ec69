"""`status`: what it makes of logs, progress files and schedulers, also of broken, silent and hanging ones."""

import json
import logging
import os
import socket
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

from codebase import logs
from codebase.config import read_config
from codebase.jobs import describe_job, job_id
from codebase.status import runs, show
from codebase.status.scheduler import Answer, JobState
from codebase.status.signs import plain_id, read_signs
from codebase.status.tasks import tasks

TINY = REPOSITORY / "tests/data/tiny.yaml"
SLURM = {"SLURM_JOB_ID": "18", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}
LSF = {"LSB_JOBID": "17", "LSB_JOBINDEX": "3"}


@pytest.fixture
def config(tmp_path):
    return read_config(TINY, [f"results={tmp_path}"])


@pytest.fixture
def task(config):
    """The task of training the encoder-decoder."""
    return next(task for task in tasks(config) if task.rule == "train_enc_dec")


def begin(task, *, host="elsewhere", job="slurm 18 (17_3)", pid=1, more=""):
    """A log as a job begins it."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    first = f"host {host}, job {job}, gpu 0 (Some GPU), pid {pid}, commit 1a2b+, 2026-01-01T10:00:00+0100: python -m x"
    task.log.write_text(f"10:00:00 I {first}\n{more}")


def progress(task, **values):
    task.run_dir.mkdir(parents=True, exist_ok=True)
    found = {"step": 340, "steps": 850, "steps_per_second": 3.2, "seconds_left": 159.0, "losses": {"loss": 0.25}}
    found |= {"host": "n0", "job": "18", "pid": 7, "started": 1.0, "updated": time.time(), "state": "running"}
    (task.run_dir / "progress.json").write_text(json.dumps(found | values))


def standing(config, answer, rule="train_enc_dec"):
    return next(one for one in runs.standings(config, answer) if one.task.rule == rule)


def slurm(*jobs, trouble=""):
    return Answer("slurm", {job.job: job for job in jobs}, trouble)


# --- what a job says of itself


@pytest.mark.parametrize(
    ("environment", "described", "number"),
    [
        (SLURM, "slurm 18 (17_3)", "17_3"),
        ({"SLURM_JOB_ID": "18"}, "slurm 18", "18"),
        (LSF, "lsf 17[3]", "17[3]"),
        (LSF | {"LSB_JOBINDEX": "0"}, "lsf 17", "17"),
        ({}, "none", ""),
    ],
)
def test_the_job_is_named_as_the_schedulers_commands_take_it(environment, described, number):
    assert (describe_job(environment), job_id(environment), plain_id(described)) == (described, number, number)


def test_the_first_line_is_read_back(config, task, monkeypatch, caplog):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with caplog.at_level(logging.INFO, logger="posemill"):
        logs.log_job(["python", "-m", "codebase", "x y"], commit="1a2b+", gpu_names=False)
        logs.log_end("out of time", 3.25)
    task.log.parent.mkdir(parents=True)
    task.log.write_text("".join(f"10:00:00 I {message}\n" for message in caplog.messages))
    assert "gpu 1, pid" in caplog.messages[0]
    assert caplog.messages[0].endswith(": python -m codebase 'x y'")
    signs = read_signs(task.log, None)
    assert (signs.host, signs.scheduler, signs.job, signs.pid) == (socket.gethostname(), "slurm", "17_3", os.getpid())
    assert signs.ended == "out of time"


def test_the_gpus_are_named_by_the_driver(tmp_path, monkeypatch, caplog):
    smi = tmp_path / "nvidia-smi"
    smi.write_text('#!/bin/sh\ncase "$*" in *"-i 0,1"*) echo Model A; echo Model B ;; esac\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with caplog.at_level(logging.INFO, logger="posemill"):
        logs.log_job(["python"], commit="x", gpu_names=True)
    assert ", gpu 0,1 (Model A + Model B), pid" in caplog.messages[0]


def test_bars_of_a_log_tell_how_far_it_is(config):
    crops = next(task for task in tasks(config) if task.rule == "crops")
    begin(
        crops,
        more="10:00:20 I crops of S1: 120 of 400, 12.0 a second\n10:00:40 I crops of S1: 360 of 400, 10.0 a second\n",
    )
    signs = read_signs(crops.log, None)
    assert (signs.step, signs.steps, signs.rate, signs.seconds_left) == (360, 400, 10.0, 4.0)


@pytest.mark.parametrize("text", ["", "nonsense\n", "\x00\xff", "10:00:00 I host a"])
@pytest.mark.parametrize("said", ['{"step": ', "[1]", "7", '{"step": 1, "steps": 2, "host": "a", "updated": null}'])
def test_an_odd_log_is_no_reason_to_fail(config, task, text, said):
    task.log.parent.mkdir(parents=True)
    task.log.write_text(text)
    progress(task)
    (task.run_dir / "progress.json").write_text(said)
    assert read_signs(task.log, task.run_dir).job == ""
    assert standing(config, Answer()).state in ("running", "lost?")


# --- states


def test_a_fresh_run(config):
    states = {one.task.rule: (one.state, one.why) for one in runs.standings(config, Answer())}
    assert states["synthesize"] == states["train_prior"] == ("not started", "")
    assert states["backgrounds"] == ("waiting", "for synthesize")
    assert states["predict"] == ("waiting", "for embed, train_pose, train_smpl, train_hmr")


def test_running_with_step_rate_and_time(config, task):
    begin(task)
    progress(task)
    one = standing(config, slurm(JobState("17_3", "RUNNING", "n0")))
    assert one.state == "running"
    assert runs.how_far(one.signs) == "340 of 850 (40 %), 3.2 a second, 3 min left, loss 0.25"


def test_a_job_that_the_scheduler_does_not_know_may_be_lost(config, task):
    begin(task)
    progress(task)
    assert standing(config, slurm()).state == "lost?"
    begin(task, job="lsf 17[3]")
    assert standing(config, Answer("lsf", {"17[3]": JobState("17[3]", "UNKWN")})).why == "the host is out of contact"


def test_a_number_means_nothing_to_another_scheduler(config, task):
    begin(task, job="lsf 17[3]")
    progress(task)
    assert standing(config, slurm()).state == "running", "Slurm was never asked to run it"
    assert standing(config, slurm(JobState("17[3]", "FAILED"))).state == "running"


def test_what_goes_on_by_hand_is_told_in_place_of_what_an_older_log_says(config, task):
    begin(task, more="10:00:01 I ended after 1.0 s: out of time\nout of time: step 7\n")
    os.utime(task.log, (1000.0, 1000.0))
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "job": None, "started": 2000.0}
    progress(task, **mine)
    one = standing(config, Answer())
    assert (one.state, one.signs.host, one.signs.ended) == ("running", socket.gethostname(), "")
    progress(task, **mine, state="stopped")
    assert standing(config, Answer()).state == "stopped"
    progress(task, **mine | {"started": 900.0})
    assert standing(config, Answer()).state == "stopped", "the log is the later"


@pytest.mark.parametrize(("state", "expected"), [("stopped", "stopped"), ("done", "waiting"), ("running", "failed")])
def test_a_run_by_hand_that_ended_says_how(config, task, state, expected):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    progress(task, host=socket.gethostname(), job=None, pid=process.pid, state=state)
    assert standing(config, Answer()).state == expected


def test_a_scheduler_that_does_not_answer_makes_nobody_lost(config, task):
    begin(task)
    progress(task)
    assert standing(config, slurm(trouble="squeue did not answer within 10 s")).state == "running"
    progress(task, updated=time.time() - 3600)
    os.utime(task.log, (1, 1))
    assert standing(config, slurm(trouble="squeue did not answer within 10 s")).state == "lost?"


def test_killed_by_the_scheduler(config, task):
    begin(task)
    one = standing(config, slurm(JobState("17_3", "OUT_OF_MEMORY", "n0", 137)))
    assert (one.state, one.why) == ("failed", "OUT_OF_MEMORY (killed?)")


def test_on_this_host_the_process_is_asked(config, task):
    begin(task, host=socket.gethostname(), job="none", pid=os.getpid())
    assert standing(config, Answer()).state == "running"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    begin(task, host=socket.gethostname(), job="none", pid=process.pid)
    assert standing(config, Answer()).state == "failed"


def test_failed_with_the_message_for_people(config, task):
    message = "error: It is broken.\n  where:    a.h5"
    begin(task, more=f"10:00:01 I ended after 1.0 s: error\n{message}\n")
    one = standing(config, slurm())
    assert (one.state, one.signs.message) == ("failed", message)
    said = show.table(config.results / config.name, runs.standings(config, slurm()), slurm())
    assert f"      log: {task.log}" in said
    assert "        error: It is broken." in said


def test_stopped_and_saved_is_no_failure(config, task):
    begin(task, more="10:00:01 I ended after 1.0 s: out of time\nout of time: step 7\n")
    assert standing(config, slurm()).state == "stopped"


def test_done_is_done_whatever_the_log_says(config, task):
    begin(task)
    task.output.parent.mkdir(parents=True)
    task.output.touch()
    assert standing(config, slurm()).state == "done"


def test_a_job_that_waits_in_the_queue(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    comment = JobState("5", "PENDING", "Resources", comment="rule_synthesize_wildcards_8", folder=str(tmp_path))
    found = {one.task.name: one for one in runs.standings(config, slurm(comment)) if one.task.rule == "synthesize"}
    assert (found["S8"].state, found["S8"].why) == ("queued", "job 5, pending Resources")
    assert found["S1"].state == "not started"
    other = JobState("5", "PENDING", "Resources", comment="rule_synthesize_wildcards_8", folder="/elsewhere")
    assert "queued" not in {one.state for one in runs.standings(config, slurm(other))}
    lsf = Answer("lsf", {"6": JobState("6", "PEND", comment="Snakemake_rule_synthesize:subject=8___(uuid)")})
    assert standing(config, lsf, "synthesize").state == "not started"
    assert [one.task.name for one in runs.standings(config, lsf) if one.state == "queued"] == ["S8"]
    generic = Answer("lsf", {"7": JobState("7", "PEND", comment="posemill_synthesize:subject=9")})
    assert [one.task.name for one in runs.standings(config, generic) if one.state == "queued"] == ["S9"]


# --- the command


def test_json_and_exit_codes(config, task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(show, "ask", lambda *_: slurm())
    run = config.results / config.name
    run.mkdir()
    from codebase.config import to_yaml

    (run / "config.yaml").write_text(to_yaml(config))
    assert show.status(run, [], as_json=True, watch_s=None, results=tmp_path) == 0
    begin(task)
    progress(task)
    assert show.status(run, [], as_json=True, watch_s=None, results=tmp_path) == 1, "a lost job is no success"
    text = capsys.readouterr().out
    found = json.loads(text[text.rindex("\n{") :])
    (job,) = (job for job in found["jobs"] if job["rule"] == "train_enc_dec")
    assert (job["state"], job["step"], job["job"], job["losses"]) == ("lost?", 340, "17_3", {"loss": 0.25})
