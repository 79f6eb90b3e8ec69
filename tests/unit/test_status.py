"""`status`: what it makes of logs, progress files and schedulers, also of broken, silent and hanging ones."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY, run_in

from codebase import logs
from codebase.config import read_config
from codebase.errors import DataError
from codebase.jobs import describe_job, job_id
from codebase.paths import Paths
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
def test_an_odd_log_is_no_reason_to_fail(config, task, text):
    task.log.parent.mkdir(parents=True)
    task.log.write_text(text)
    progress(task)
    (task.run_dir / "progress.json").write_text('{"step": ')
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
    assert standing(config, Answer("lsf", {"17_3": JobState("17_3", "UNKWN")})).state == "lost?"


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


SWEEP = """
labels: {representations: [embedding, from_scratch, old], amounts: [S1, 50%], seeds: [0]}
rivals: {old: {enc_dec: {points: 12}}}
"""


@pytest.mark.parametrize("more", ["", SWEEP], ids=["plain", "sweep"])
def test_tasks_are_the_jobs_of_the_dag(in_house, house, more):
    """Rule by rule as many as Snakemake would run, with the logs that it would write."""
    (house / "configs/tiny.yaml").write_text(TINY.read_text() + more)
    done = in_house("snakemake", "-n", "-p", "--configfile", "configs/tiny.yaml")
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"python -m codebase \S+ --config .* 2> \S+", done.stdout + done.stderr)
    expected = tasks(read_config(house / "configs/tiny.yaml"))
    assert sorted(command.rpartition(" 2> ")[2] for command in commands) == sorted(str(task.log) for task in expected)
    for task in expected:
        assert any(command.endswith(f" 2> {task.log}") and str(task.output) in command for command in commands)


def test_a_run_that_uses_the_data_of_another_has_no_jobs_for_them():
    config = read_config(TINY, ["data_from=results/other"])
    assert not {"synthesize", "backgrounds", "index", "crops"} & {task.rule for task in tasks(config)}
    assert Paths(config).crops(1).parts[:2] == ("results", "other")


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


def test_a_run_of_an_older_schema_does_not_hide_the_others(config, tmp_path, monkeypatch, capsys):
    from codebase.config import to_yaml

    monkeypatch.setattr(show, "ask", lambda *_: slurm())
    for name, text in (("new", to_yaml(config)), ("old", "name: old\nenc_dec: {gone: 1}\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    assert show.status(None, [], as_json=False, watch_s=None, results=tmp_path) == 0
    said = capsys.readouterr().out
    assert f"0 of {len(tasks(config))} done" in said
    assert "not of this version of the schema" in said


def test_no_run_at_all(tmp_path):
    with pytest.raises(DataError, match="There is no run yet"):
        show.status(None, [], as_json=False, watch_s=None, results=tmp_path)
    with pytest.raises(DataError, match="This folder is no run"):
        show.status(tmp_path, [], as_json=False, watch_s=None, results=tmp_path)


def test_on_a_login_node_it_needs_no_heavy_library(tmp_path):
    script = "import sys; from codebase.cli import main; main(['status', 'configs/mini.yaml']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {"torch", "numpy", "h5py", "scipy", "cv2", "numba", "snakemake"}


def test_by_process_with_overrides():
    done = run_in(REPOSITORY, "codebase", "status", "configs/mini.yaml", "name=never", "pose.name=p2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("results/never: 0 of ")
