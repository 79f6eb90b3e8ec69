"""How a whole DAG is stopped here: no stage is forgotten, none is kept from its end, and the exit code says why."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from conftest import REPOSITORY

from codebase.errors import UserError
from codebase.launch import local, signals
from codebase.launch.carried import LIMIT, attempts_left
from codebase.launch.record import run_recorded
from codebase.launch.signals import stop_dag

SLOWLY = """
import os, signal, subprocess, sys
class Slow(subprocess.Popen):
    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        os.kill(os.getpid(), signal.SIGTERM)
command = [sys.executable, "-c", "import time; time.sleep(20); open(%r, 'w')"]
"""


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("from codebase.launch import local; local.subprocess.Popen = Slow; sys.exit(local.run_command(command))", 143),
        ("from codebase.launch import carried; carried.subprocess.Popen = Slow; carried.Carried()(command)", 143),
    ],
)
def test_who_is_ended_while_the_command_is_started_ends_it(run, expected, tmp_path):
    with subprocess.Popen([sys.executable, "-c", SLOWLY % str(tmp_path / "end") + run], cwd=REPOSITORY) as process:
        assert process.wait(timeout=60) == expected
    assert not (tmp_path / "end").exists()


@pytest.mark.parametrize(("restarts", "left"), [("0", 3), ("3", 0), ("5", 0)])
def test_a_job_that_was_preempted_too_often_is_not_run_for_ever(restarts, left, monkeypatch):
    monkeypatch.setenv(LIMIT, "3")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    assert attempts_left() == left


def test_the_record_of_an_error_for_people_has_its_code(tmp_path):
    def run():
        raise UserError("It is broken.")

    with pytest.raises(UserError):
        run_recorded(tmp_path, 3, run)
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("job-*.json"))
    assert (record["code"], record["again"]) == (2, False)


LASTS = "print('on', flush=True); import time; time.sleep(600)"
SAVES = "import signal, sys, time; signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75)); " + LASTS


@pytest.mark.parametrize(
    ("stages", "codes"),
    [
        ({"crops": LASTS}, [-signal.SIGTERM]),  # cannot save
        ({"train-pose": LASTS}, [-signal.SIGTERM]),  # has not begun to listen
        ({"train-pose": SAVES}, [75]),
        ({"crops": LASTS, "train-pose": SAVES}, [-signal.SIGTERM, 75]),
    ],
)
def test_at_the_end_of_the_time_no_stage_keeps_the_dag(stages, codes, tmp_path):
    """What does not save, ends: a job that the limit cuts off is run again by nobody."""
    package = tmp_path / "codebase"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(f"import sys\nexec({stages!r}[sys.argv[1]])")
    # stands for Snakemake: ignores what it was told to, starts the stages, waits for them when it is told to end
    (tmp_path / "dag.py").write_text(
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN); signal.signal(signal.SIGTERM, lambda *_: None)\n"
        f"argv = [sys.executable, '-u', '-m', 'codebase']; names = {list(stages)!r}\n"
        "subprocess.Popen(['true'])  # a child that is over, and not collected\n"
        "jobs = [subprocess.Popen([*argv, n], stdout=subprocess.PIPE, text=True) for n in names]\n"
        "[job.stdout.readline() for job in jobs]\n"
        "print('on', flush=True)\n"
        "print(*[job.wait() for job in jobs], flush=True)\n"
    )
    dag = subprocess.Popen(
        [sys.executable, "dag.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    assert dag.stdout.readline() == "on\n"
    stop_dag(dag, signal.SIGUSR2, set())
    said, _ = dag.communicate(timeout=60)
    assert [int(word) for word in said.split()] == codes


def test_a_stage_that_was_about_to_begin_is_stopped_too(tmp_path):
    """Snakemake finishes what it was doing before it heeds its SIGTERM."""
    package = tmp_path / "codebase"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import time; time.sleep(20)")
    (tmp_path / "dag.py").write_text(
        "import signal, subprocess, sys, time\n"
        "told = []; signal.signal(signal.SIGTERM, lambda *_: told.append(1)); print('on', flush=True)\n"
        "while not told: time.sleep(0.02)\n"
        "sys.exit(subprocess.run([sys.executable, '-m', 'codebase', 'crops']).returncode != -signal.SIGTERM)\n"
    )
    script = f"import os, sys; sys.path.insert(0, {str(REPOSITORY)!r}); from codebase.launch import local;"
    script += f"os.chdir({str(tmp_path)!r}); local._LOOK_S = 0.1; sys.path.pop(0);"
    script += "print(local.follow([sys.executable, 'dag.py'], {})[0])"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGUSR2)
    assert process.communicate(timeout=60)[0] == "0\n"


def test_a_stage_ends_before_its_workers(monkeypatch):
    """Else it could still say that a worker died, which is an error for people, and nobody would run it again."""
    ended = []

    class Process(psutil.Process):
        pid = 1

        def __init__(self, name, *children):
            self.terminate, self.children = lambda: ended.append(name), lambda **_: list(children)

    monkeypatch.setattr(signals, "_listens", lambda *_: False)
    signals._stop_stage(Process("stage", Process("worker")), signal.SIGUSR2)
    assert ended == ["stage", "worker"]


ERROR, KILLED = "error: It is broken.\n  where:    a.h5\n", "killed: process 1 was killed by SIGKILL.\n"


@pytest.mark.parametrize(
    ("code", "log", "goes_on", "expected"),
    [
        (1, ERROR, False, 2), (1, KILLED, False, 1), (1, "Traceback\nValueError: x\n", False, 1), (75, "", False, 75),
        (75, ERROR, False, 2), (75, ERROR, True, 75), (143, ERROR, True, 143), (1, ERROR, True, 2),
    ],
)  # fmt: skip
def test_an_error_for_people_is_tried_again_by_nobody(code, log, goes_on, expected, tmp_path):
    (tmp_path / "log").write_text(log)
    assert local._failed(code, [tmp_path / "log", tmp_path / "none"], goes_on=goes_on) == expected
