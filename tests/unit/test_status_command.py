"""`python -m codebase status` as a command: the jobs of a config, one run, all runs, none."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, run_in

from codebase.config import read_config, to_yaml
from codebase.errors import ConfigError, DataError
from codebase.paths import Paths
from codebase.status import show
from codebase.status.runs import runs_in, standings
from codebase.status.scheduler import Answer, JobState
from codebase.status.tasks import tasks

TINY = REPOSITORY / "tests/data/tiny.yaml"


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(show, "ask", lambda *_: Answer("slurm", {}))
    return read_config(TINY, [f"results={tmp_path}"])


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


@pytest.mark.parametrize("config_name", ["mini", "h36m"])
@pytest.mark.parametrize("profile", ["slurm", "lsf", "lsf-generic"])
def test_what_the_profiles_submit_is_found_again_in_the_queue(profile, config_name):
    """Each job's name or comment, as the real plugins made it, is that of one job of the run."""
    sweep = ["labels={representations: [embedding, fine_tuned, old], amounts: [S1, all], seeds: [0], subjects: [1, 5]}"]
    sweep += ["rivals={old: {enc_dec: {steps: 7}}}"]
    kind, overrides = ("-sweep", sweep) if config_name == "h36m" else ("", [])
    lines = (REPOSITORY / f"tests/cluster/snapshots/submit-{profile}{kind}.txt").read_text().splitlines()
    flag = "--comment" if profile == "slurm" else "-J"
    names = {words[words.index(flag) + 1] for words in map(shlex.split, lines)}
    assert len(names) == len(lines) > 20
    run = read_config(REPOSITORY / f"configs/{config_name}.yaml", overrides)
    for name in names:
        found = [
            one.task.rule for one in standings(run, Answer("lsf", {"7": JobState("7", "PEND", comment=name)}))
            if one.state == "queued"
        ]  # fmt: skip
        assert len(found) == 1, name
        assert f"_{found[0]}" in name


def test_a_run_that_uses_the_data_of_another_has_no_jobs_for_them():
    config = read_config(TINY, ["data_from=results/other"])
    assert not {"synthesize", "backgrounds", "index", "crops"} & {task.rule for task in tasks(config)}
    assert Paths(config).crops(1).parts[:2] == ("results", "other")


def test_a_run_of_an_older_schema_does_not_hide_the_others(config, tmp_path, capsys):
    for name, text in (("new", to_yaml(config)), ("old", "name: old\nenc_dec: {gone: 1}\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    assert show.status(None, [], as_json=False, watch_s=None, results=tmp_path) == 0
    said = capsys.readouterr().out
    assert f"0 of {len(tasks(config))} done" in said
    assert "not of this version of the schema" in said
    assert show.status(None, [], as_json=True, watch_s=None, results=tmp_path) == 0
    found = {Path(run["run"]).name: run for run in json.loads(capsys.readouterr().out)}
    assert (len(found["new"]["jobs"]), found["old"]["jobs"]) == (len(tasks(config)), [])
    assert "not of this version" in found["old"]["trouble"]


def test_all_runs_are_a_list_for_programs_also_where_there_is_one(config, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/config.yaml").write_text(to_yaml(config))
    assert show.status(None, [], as_json=True, watch_s=None, results=tmp_path) == 0
    assert [Path(run["run"]).name for run in json.loads(capsys.readouterr().out)] == ["new"]


def test_a_link_to_nothing_is_no_reason_to_fail(tmp_path):
    for name, time in (("old", 1000.0), ("new", 2000.0)):
        (tmp_path / name / "logs").mkdir(parents=True)
        (tmp_path / name / "config.yaml").touch()
        (tmp_path / name / "logs/latest.log").symlink_to(tmp_path / "gone")
        for path in (tmp_path / name / "logs", tmp_path / name):
            os.utime(path, (time, time))
    assert [run.name for run in runs_in(tmp_path)] == ["new", "old"]


def test_no_run_at_all(tmp_path):
    with pytest.raises(DataError, match="There is no run yet"):
        show.status(None, [], as_json=False, watch_s=None, results=tmp_path)
    with pytest.raises(DataError, match="This folder is no run"):
        show.status(tmp_path, [], as_json=False, watch_s=None, results=tmp_path)
    with pytest.raises(ConfigError, match=r"A run's folder takes no overrides: pose.steps=2"):
        show.status(tmp_path, ["pose.steps=2"], as_json=False, watch_s=None, results=tmp_path)


def test_on_a_login_node_it_needs_no_heavy_library(tmp_path):
    script = "import sys; from codebase.cli import main; main(['status', 'configs/mini.yaml']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {"torch", "numpy", "h5py", "scipy", "cv2", "numba", "snakemake"}


def test_by_process_with_overrides():
    done = run_in(REPOSITORY, "codebase", "status", "configs/mini.yaml", "name=never", "pose.name=p2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("results/never: 0 of ")
