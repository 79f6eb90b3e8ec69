"""One writer of a run's folder, with real processes: duplicates wait, adopt what the first finished, or take over."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import REPOSITORY

from codebase.errors import OutOfTimeError
from codebase.training import lock as locks
from codebase.training.lock import RunLock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def start(folder, *more, workflow=False):
    argv = [sys.executable, "-m", "tests.small_run", str(folder), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    environment |= {"POSEMILL_WORKFLOW": "1"} if workflow else {}
    return subprocess.Popen(argv, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def wait_for(condition, process=None):
    for _ in range(3000):
        if condition():
            return
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    pytest.fail("waited for 30 s in vain")


def steps_logged(folder):
    history = folder / "history.jsonl"
    return [int(json.loads(line)["step"]) for line in history.read_text().splitlines()] if history.is_file() else []


def weights(folder, steps=40):
    return torch.load(folder / f"model_{steps}.pt", weights_only=True)


def assert_same(left, right):
    assert left["step"] == right["step"]
    assert left["history"] == right["history"]
    assert all(torch.equal(left["model"][name], right["model"][name]) for name in left["model"])


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    code, said = finish(start(folder, "seconds=0"))
    assert code == 0, said
    return weights(folder)


def test_of_two_at_once_one_trains_and_the_other_adopts(tmp_path, straight):
    said = [finish(process) for process in [start(tmp_path), start(tmp_path)]]
    assert [code for code, _ in said] == [0, 0], said
    trained = [text for _, text in said if "wrote " in text]
    adopted = [text for _, text in said if "is finished with these settings" in text]
    assert len(trained) == len(adopted) == 1, said
    assert "waiting: host" in adopted[0]
    assert steps_logged(tmp_path) == list(range(1, 41))
    assert_same(weights(tmp_path), straight)
    told = json.loads((tmp_path / "progress.json").read_text())
    assert told["state"] == "done"
    assert told["step"] == told["steps"] == 40
    assert set(told["losses"]) == {"loss", "norm", "learning_rate_factor"}


def test_when_the_holder_is_killed_the_waiter_goes_on_from_its_state(tmp_path, straight):
    first = start(tmp_path, "seconds=0.5")
    wait_for(lambda: len(steps_logged(tmp_path)) > 7, first)
    second = start(tmp_path)
    wait_for(lambda: "waiting" in second.stderr.readline(), second)
    first.kill()
    finish(first)
    code, said = finish(second)
    assert code == 0, said
    assert "is dead: taking over its run" in said
    assert "resuming at step" in said
    assert_same(weights(tmp_path), straight)


def test_the_waiter_leaves_at_the_end_of_its_own_time_and_at_a_signal(tmp_path):
    first = start(tmp_path, "seconds=0.5")
    wait_for(lambda: steps_logged(tmp_path), first)
    by_time, by_signal = start(tmp_path, "budget=1"), start(tmp_path)
    wait_for(lambda: "waiting" in by_signal.stderr.readline(), by_signal)
    by_signal.send_signal(signal.SIGTERM)
    code, said = finish(by_time)
    assert code == 75, said
    assert "time budget of 1 s: stopped while waiting for host" in said
    assert finish(by_signal)[0] == 75
    assert first.poll() is None, "the holder goes on"
    first.send_signal(signal.SIGTERM)
    assert finish(first)[0] == 75
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "stopped"


@pytest.mark.parametrize("moment", ["before", "while waiting", "after"])
def test_an_output_that_the_workflow_deleted_is_not_trained_again(tmp_path, straight, moment):
    """Snakemake deletes the output when it starts the duplicate, or when a duplicate out of time has failed."""
    output = tmp_path / "model_40.pt"
    first = start(tmp_path, workflow=True)
    wait_for(lambda: steps_logged(tmp_path), first)
    if moment == "while waiting":
        second = start(tmp_path, workflow=True)
    assert finish(first)[0] == 0
    if moment == "while waiting":
        assert finish(second)[0] == 0
    if moment != "before":
        output.unlink()
    code, said = finish(start(tmp_path, workflow=True))
    assert code == 0
    assert "wrote" not in said
    assert "another job finished this run" in said or moment == "before"
    assert_same(weights(tmp_path), straight)
    assert steps_logged(tmp_path) == list(range(1, 41))


def test_a_forced_run_trains_again(tmp_path):
    assert finish(start(tmp_path, "seconds=0"))[0] == 0
    (tmp_path / "model_40.pt").unlink()
    code, said = finish(start(tmp_path, "seconds=0"))  # by hand
    assert code == 0
    assert "wrote" in said
    assert "wrote" in finish(start(tmp_path, "seconds=0", "batch=8", workflow=True))[1], "other settings: another run"


def other_host(lock_folder, age_s):
    """A lock of a host that cannot be asked, last touched some seconds ago."""
    lock_folder.mkdir(parents=True)
    owner = {
        "host": "elsewhere",
        "pid": 1,
        "job": "77",
        "digest": "d",
        "place": "boot pid:[1]",
        "born": 5,
        "since": 0.0,
    }
    path = lock_folder / "000003.json"
    path.write_text(json.dumps(owner | {"released": None, "finished": None}))
    then = time.time() - age_s
    os.utime(path, (then, then))


def test_another_hosts_lock_counts_until_its_heartbeat_is_old(tmp_path):
    other_host(tmp_path / "fresh/lock", 10)
    with pytest.raises(OutOfTimeError, match="waiting for host elsewhere, pid 1, job 77"):
        RunLock(tmp_path / "fresh", "d").acquire(lambda: "tired")
    other_host(tmp_path / "old/lock", locks.STALE_S + 5)
    with RunLock(tmp_path / "old", "d") as lock:
        assert lock.acquire(lambda: "tired").host == "elsewhere"
        assert [path.name for path in (tmp_path / "old/lock").iterdir()] == ["000004.json"]


def test_a_half_written_lock_is_somebodys_until_it_is_old(tmp_path):
    (tmp_path / "lock").mkdir()
    path = tmp_path / "lock/000001.json"
    path.write_text("")
    with pytest.raises(OutOfTimeError, match="host unknown"):
        RunLock(tmp_path, "d").acquire(lambda: "tired")
    os.utime(path, (0, 0))
    with RunLock(tmp_path, "d") as lock:
        lock.acquire(lambda: "tired")


def test_who_was_taken_for_dead_writes_no_more(tmp_path):
    process = start(tmp_path)
    wait_for(lambda: len(steps_logged(tmp_path)) > 3, process)
    process.send_signal(signal.SIGSTOP)  # a host out of contact
    (mine,) = (tmp_path / "lock").iterdir()
    os.utime(mine, (0, 0))
    owner = json.loads(mine.read_text()) | {"host": "elsewhere", "job": "78"}
    (tmp_path / "lock/000002.json").write_text(json.dumps(owner))
    before = steps_logged(tmp_path)
    process.send_signal(signal.SIGCONT)
    code, said = finish(process)
    assert code == 75
    assert "host elsewhere" in said
    assert "took the run over" in said
    assert len(steps_logged(tmp_path)) <= len(before) + 1
    assert not (tmp_path / "model_40.pt").exists()


def test_the_holder_touches_its_lock_also_while_a_step_is_long(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.05)
    with RunLock(tmp_path, "d") as lock:
        lock.acquire(lambda: None)
        (mine,) = (tmp_path / "lock").iterdir()
        os.utime(mine, (0, 0))
        wait_for(lambda: mine.stat().st_mtime > 1)
    assert json.loads(mine.read_text())["released"] is not None


CONTENDER = """
import os, sys, time, pathlib
from codebase.training.lock import RunLock
folder, journal = pathlib.Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
for turn in range(6):
    with RunLock(folder, "d") as lock:
        lock.acquire(lambda: None, poll_s=0.02)
        os.write(journal, f"in {os.getpid()}\\n".encode())
        if turn == 3 and sys.argv[3] == "dies":
            os.kill(os.getpid(), 9)
        time.sleep(0.01)
        lock.check()
        os.write(journal, f"out {os.getpid()}\\n".encode())
"""


def test_many_contenders_some_of_which_die_never_hold_it_together(tmp_path):
    journal = tmp_path / "journal"
    journal.touch()
    argv = [sys.executable, "-c", CONTENDER, str(tmp_path), str(journal)]
    crowd = [
        subprocess.Popen([*argv, end], cwd=REPOSITORY, stderr=subprocess.PIPE) for end in ("dies", "lives", "lives") * 2
    ]
    codes = []
    for process in crowd:
        process.communicate(timeout=100)
        codes.append(process.returncode)
    assert sorted(codes) == [-9, -9, 0, 0, 0, 0]
    inside = None
    for line in journal.read_text().splitlines():
        what, pid = line.split()
        if what == "in":
            assert inside is None or codes[[p.pid for p in crowd].index(inside)] == -9, f"{pid} and {inside}"
            inside = int(pid)
        else:
            assert inside == int(pid)
            inside = None
    assert journal.read_text().count("in ") == 4 * 6 + 2 * 4
