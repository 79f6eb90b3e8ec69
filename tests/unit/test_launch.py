"""What would be submitted, word for word, and what is said at the end."""

import argparse
import json
import shlex
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from codebase import launch
from codebase.cli import COMMANDS, build_parser, main
from codebase.errors import ConfigError, UserError

JOB = launch.Job(
    ("python", "-m", "codebase", "train-pose", "--config", "my results/config.yaml"),
    name="posemill-mini",
    log=Path("results/mini/logs/launch.log"),
    cores=6,
    minutes=5760,
    mem_mb=24000,
    gpus=1,
)


def test_bsub_script():
    assert (
        launch.render_bsub(JOB)
        == """#!/usr/bin/env bash
#BSUB -J posemill-mini
#BSUB -n 6
#BSUB -W 96:00
#BSUB -R "rusage[mem=4000] span[hosts=1]"
#BSUB -gpu "num=1"
#BSUB -o results/mini/logs/launch.log
set -euo pipefail
exec python -m codebase train-pose --config 'my results/config.yaml'
"""
    )


def test_sbatch_script():
    assert (
        launch.render_sbatch(JOB)
        == """#!/usr/bin/env bash
#SBATCH --job-name=posemill-mini
#SBATCH --nodes=1
#SBATCH --cpus-per-task=6
#SBATCH --time=5760
#SBATCH --mem=24000M
#SBATCH --gpus=1
#SBATCH --output=results/mini/logs/launch.log
set -euo pipefail
exec python -m codebase train-pose --config 'my results/config.yaml'
"""
    )


def test_a_queue_is_named_and_no_gpu_is_asked_where_none_is_wanted():
    from dataclasses import replace

    job = replace(JOB, gpus=0, queue="short")
    assert "#BSUB -q short\n" in launch.render_bsub(job)
    assert "#SBATCH --partition=short\n" in launch.render_sbatch(job)
    assert "gpu" not in launch.render_bsub(job) + launch.render_sbatch(job)


def test_overrides_become_a_config_that_snakemake_reads_alike():
    argv = launch.dag_argv(Path("configs/mini.yaml"), ["pose.steps=10", "pose.seed=2", "name=a b"], cores=2, gpus=1)
    at = argv.index("--config")
    given = dict(word.split("=", 1) for word in argv[at + 1 : at + 3])
    assert {key: yaml.safe_load(value) for key, value in given.items()} == {
        "pose": {"steps": 10, "seed": 2},
        "name": "a b",
    }
    assert argv[at + 3 :] == ("--cores", "2", "--resources", "gpu=1")
    assert json.loads(given["pose"]) == {"steps": 10, "seed": 2}


def test_dry_run_prints_and_submits_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(launch.subprocess, "run", lambda *a, **k: pytest.fail("something was run"))
    monkeypatch.setattr(launch.shutil, "which", lambda name: None)
    for via in ("bsub", "sbatch", "submitit", "local"):
        assert main(["launch", "--via", via, "--dry-run", "configs/small.yaml", "name=other"]) == 0
        assert "--configfile configs/small.yaml --config 'name=\"other\"'" in capsys.readouterr().out
    assert not (REPOSITORY / "results/other").exists()


def test_a_stage_is_submitted_by_name(capsys):
    assert main(["launch", "--via", "sbatch", "--dry-run", "--", "train-prior", "--config", "c.yaml"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("exec python -m codebase train-prior --config c.yaml")


def test_without_a_scheduler_it_says_what_to_do(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(launch.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no bsub on PATH"):
        launch._submit("bsub", "script")


def test_a_refusal_repeats_what_the_scheduler_said(tmp_path, monkeypatch):
    refusing = tmp_path / "sbatch"
    refusing.write_text("#!/bin/sh\ncat > /dev/null\necho 'invalid partition specified: nowhere' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(UserError, match="invalid partition specified: nowhere"):
        launch._submit("sbatch", "#!/bin/sh\n")


def test_a_wrong_config_ends_before_anything_is_run(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *a, **k: pytest.fail("something was run"))
    options = build_parser().parse_args(["launch", "configs/mini.yaml", "pose.step=1"])
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        launch.launch(options, COMMANDS)


def test_the_message_for_the_user_is_found_at_the_end_of_a_log():
    message = "error: It is broken.\n  where:    a.h5\n  to mend:  delete it\n"
    assert launch.user_message(f"10:00:00 I host x\nerror: an older one\n\n10:00:01 I went on\n{message}") == message
    assert launch.user_message("Traceback (most recent call last):\nValueError: no\n") == ""
    assert launch.user_message("") == ""


def snakemake_says(tmp_path, lines, code):
    script = tmp_path / "says.py"
    script.write_text(f"import sys\nsys.stderr.write({lines!r})\nsys.exit({code})\n")
    return ["python3", str(script)]


def test_failed_jobs_are_collected_from_what_snakemake_says(tmp_path, capsys):
    said = "Error in rule index:\n    log: results/a/logs/index.log (check log file(s) for error details)\n"
    code, logs, idle = launch._follow(snakemake_says(tmp_path, said, 1), {"PATH": "/usr/bin:/bin:/usr/local/bin"})
    assert (code, logs, idle) == (1, [Path("results/a/logs/index.log")], False)
    assert capsys.readouterr().err == said, "what Snakemake says must reach the user"


def test_a_failure_for_the_user_is_repeated_with_exit_code_2(tmp_path, capsys):
    ours, theirs = tmp_path / "ours.log", tmp_path / "theirs.log"
    ours.write_text("Traceback ...\nValueError: no\n")
    theirs.write_text("error: The folder does not exist.\n  where:    data/h36m\n")
    assert launch._explain_failure(1, [ours]) == 1
    assert launch._explain_failure(1, [theirs]) == 2
    said = capsys.readouterr().err
    assert str(theirs) in said
    assert "where:    data/h36m" in said


def test_train_sh_passes_words_on():
    options = build_parser().parse_args(["launch", "--via", "bsub", "--dry-run", "configs/mini.yaml", "pose.steps=3"])
    assert isinstance(options, argparse.Namespace)
    assert options.words == ["configs/mini.yaml", "pose.steps=3"]
    assert shlex.join(options.words) == "configs/mini.yaml pose.steps=3"
