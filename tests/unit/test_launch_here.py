"""What runs here: in a terminal, and inside of a job: signals, exit codes, requeues."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from conftest import REPOSITORY
from launching import STAGES, options, tool

from codebase.cli import main
from codebase.launch import local
from codebase.launch.job import Job
from codebase.launch.plan import config_of, plan_jobs
from codebase.launch.submitit_ import submit_submitit
from tests.small_disk import small_disk


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("POSEMILL_SITE", raising=False)


def test_failed_jobs_are_collected_from_what_snakemake_says(capfd):
    said = "Error in rule index:\n    log: results/a/logs/index.log (check log file(s) for error details)\n"
    argv = [sys.executable, "-c", f"import sys; sys.stderr.write({said!r}); sys.exit(1)"]
    code, logs, idle = local.follow(argv, os.environ)
    assert (code, [str(log) for log in logs], idle) == (1, ["results/a/logs/index.log"], False)
    assert capfd.readouterr().err == said, "what Snakemake says must reach the user"


def test_nothing_to_do_is_said():
    argv = [sys.executable, "-c", "import sys; sys.stderr.write('Nothing to be done (all files are present).\\n')"]
    assert local.follow(argv, os.environ) == (0, [], True)


def test_a_home_without_room_is_one_message(tmp_path, capsys, monkeypatch):
    """Snakemake copies the workflow to ~/.cache before it reads it, and would end in a traceback."""
    with small_disk(tmp_path, mib=1) as made:
        if not made:
            pytest.skip("no right to mount a small file system here")
        with suppress(OSError):
            (tmp_path / "mine").write_bytes(bytes(1 << 20))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert main(["launch", "configs/mini.yaml", "results=/nowhere"]) == 2
    said = capsys.readouterr().err
    assert "error: Snakemake cannot write its own files: No space left on device." in said
    assert f"where:    {tmp_path}/.cache/snakemake" in said
    assert "export XDG_CACHE_HOME=" in said


TELLS = "import signal, sys, time; signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75));"
TELLS += "print('ready', flush=True); time.sleep(60)"


def start_recorded(tmp_path, code, *more, environment=None):
    """What `launch --in-job` does, around a command of the test's."""
    script = (
        "import sys; from codebase.launch import local; from codebase.launch.record import run_recorded;"
        "from pathlib import Path;"
        f"run = lambda: local.run_command([sys.executable, '-c', {code!r}]);"
        f"sys.exit(run_recorded(Path({str(tmp_path)!r}), 3, run))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=os.environ | (environment or {}), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        (signal.SIGUSR2, TELLS, 75),
        (signal.SIGTERM, TELLS.replace("USR2", "TERM"), 143),
        (signal.SIGUSR2, TELLS.replace("75", "2"), 2),  # could not save: another attempt would not, either
    ],
)
def test_signals_reach_the_command_and_the_record_says_how_it_ended(number, code, expected, tmp_path):
    process = start_recorded(tmp_path, code)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(timeout=30) == expected
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("job-*.json"))
    assert (record["code"], record["again"]) == (expected, expected == 75)


@pytest.mark.parametrize(("attempt", "asks"), [("0", True), ("2", True), ("3", False)])
def test_a_job_of_slurm_that_is_out_of_time_asks_for_its_requeue(attempt, asks, tmp_path):
    tool(tmp_path, "scontrol", f'echo "$@" > {tmp_path}/asked')
    environment = {"SLURM_JOB_ID": "8", "SLURM_RESTART_COUNT": attempt, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = start_recorded(tmp_path, "import sys; sys.exit(75)", environment=environment)
    assert process.wait(timeout=30) == 75
    assert (tmp_path / "asked").is_file() == asks
    if asks:
        assert (tmp_path / "asked").read_text() == "requeue 8\n"


def test_a_cancelled_job_does_not_come_back(tmp_path):
    """scancel sends SIGTERM; the stage saves and leaves with 75, and nobody must requeue it."""
    tool(tmp_path, "scontrol", f'echo "$@" > {tmp_path}/asked')
    code = TELLS.replace("USR2", "TERM")
    environment = {"SLURM_JOB_ID": "8", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = start_recorded(tmp_path, code, environment=environment)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.wait(timeout=30) == 143
    assert not (tmp_path / "asked").exists()


def test_time_is_over_before_the_scheduler_says_so(monkeypatch):
    """The budget of a whole DAG: training stages get the signal, Snakemake starts nothing more."""
    code = "import time; time.sleep(60)"
    start = time.monotonic()
    got, _, _ = local.follow([sys.executable, "-c", code], os.environ, time_budget=1.0)
    assert got == 75
    assert time.monotonic() - start < 30


def test_a_time_that_is_over_at_once_is_not_forgotten(monkeypatch):
    class Slow(subprocess.Popen):
        def __init__(self, *words, **more):
            super().__init__(*words, **more)
            time.sleep(0.3)

    monkeypatch.setattr(local.subprocess, "Popen", Slow)
    argv = [sys.executable, "-c", "import time; time.sleep(3)"]
    assert local.follow(argv, os.environ, time_budget=0.01) == (75, [], False)


FOLLOWS = (
    "import os, sys; from codebase.launch import local; sys.exit(local.follow([sys.executable, '-c', {!r}], {{}})[0])"
)


def test_snakemake_does_not_wait_on_a_disk_that_is_full(tmp_path):
    """It says more than a pipe holds, and none of it can be kept."""
    code = f"import sys; sys.stderr.write('said\\n' * 30000); open({str(tmp_path / 'end')!r}, 'w')"
    with open("/dev/full", "w") as full:
        process = subprocess.Popen([sys.executable, "-c", FOLLOWS.format(code)], cwd=REPOSITORY, stderr=full)
    try:
        process.wait(timeout=30)
    finally:
        process.kill()
    assert (tmp_path / "end").exists()


def test_a_full_disk_keeps_no_signal_back(tmp_path):
    note = f"open({str(tmp_path / 'told')!r}, 'w')"
    code = f"import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: ({note}, sys.exit(1)));"
    code += "print('ready', flush=True); time.sleep(20)"
    argv = [sys.executable, "-c", FOLLOWS.format(code)]
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=full, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR2)
    process.wait(timeout=30)
    assert (tmp_path / "told").exists()


def test_a_ctrl_c_leaves_the_command_the_time_to_save(tmp_path):
    note = f"open({str(tmp_path / 'saved')!r}, 'w')"
    saves = f"signal.signal(signal.SIGINT, lambda *_: (time.sleep(1), {note}, sys.exit(75)))"
    process = start_recorded(tmp_path, TELLS.replace("signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75))", saves))
    assert process.stdout.readline() == "ready\n"
    command = psutil.Process(process.pid).children()[0]
    for one in (command, process):
        one.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    assert (tmp_path / "saved").exists()


def test_after_a_ctrl_c_snakemake_is_heard_to_its_end(tmp_path):
    ends = "lambda *_: (sys.stderr.write('said last\\n' * 30000), sys.exit(1))"
    code = f"import signal, sys, time; signal.signal(signal.SIGINT, {ends}); print('ready', flush=True); time.sleep(60)"
    script = f"import sys; from codebase.launch import local; local.follow([sys.executable, '-c', {code!r}], {{}})"
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=said, text=True
        )
        assert process.stdout.readline() == "ready\n"
        for one in (*psutil.Process(process.pid).children(), process):
            one.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) != 0
    assert (tmp_path / "said").read_text().count("said last") == 30000


@pytest.mark.parametrize(
    ("codes", "expected", "begun"),
    [([1, 0, 2], 2, 3), ([0, 75, 0], 75, 2), ([0, 143, 0], 143, 2)],
)
def test_a_sweep_here_goes_on_after_a_failure_and_ends_when_it_is_told_to(codes, expected, begun, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        local, "run_dag", lambda options, config, overrides, **_: asked.append(overrides) or codes.pop(0)
    )
    monkeypatch.setattr(local, "table", lambda folder: (["run"], []))
    found = options("--sweep", "pose.seed=0,1,2", "enc_dec.seed=0", "--", "configs/mini.yaml", "data_from=results/x")
    plan = plan_jobs(found, STAGES)
    assert local.run_sweep_here(found, plan, *config_of(found.words)) == expected
    assert len(asked) == begun
    assert ("have not begun" in capsys.readouterr().err) == (begun < 3)


def test_the_points_of_a_sweep_here_share_the_time_budget(monkeypatch):
    budgets = []
    clock = iter([0.0, 0.0, 100.0, 650.0])
    monkeypatch.setattr(local.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(local, "run_dag", lambda options, *_, **__: budgets.append(options.time_budget) or 0)
    monkeypatch.setattr(local, "table", lambda folder: (["run"], []))
    words = ("--sweep", "pose.seed=0,1,2", "--time-budget", "10m", "--", "configs/mini.yaml", "data_from=results/x")
    found = options(*words)
    plan = plan_jobs(found, STAGES)
    assert local.run_sweep_here(found, plan, *config_of(found.words)) == 75
    assert budgets == [600.0, 500.0]


def test_submitit_on_this_machine_runs_again_after_75(tmp_path):
    """submitit's own local executor: only a list of strings is pickled, 75 means again, the limit holds."""
    count = f"import pathlib, sys; p = pathlib.Path({str(tmp_path / 'count')!r});"
    count += "n = len(p.read_text()) if p.exists() else 0; p.write_text('x' * (n + 1)); sys.exit(0 if n == 2 else 75)"
    job = Job(((sys.executable, "-c", count),), name="t", log="", gpus=0, minutes=5)
    submit_submitit(job, tmp_path / "s", requeues=5, executor="local")
    deadline = time.monotonic() + 60
    while not (results := list((tmp_path / "s").glob("*_result.pkl"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert results, [path.read_text() for path in (tmp_path / "s").glob("*.out")]
    assert (tmp_path / "count").read_text() == "xxx"
    (pickled,) = (path.read_bytes() for path in (tmp_path / "s").glob("*_submitted.pkl"))
    assert b"codebase.launch.carried" in pickled
    assert sum(pickled.count(word) for word in (b"codebase.config", b"pydantic", b"Job")) == 0
