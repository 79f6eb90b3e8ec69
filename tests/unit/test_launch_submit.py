"""Submitting: refusals in people's words, nothing left alone after a failure, a full disk."""

import json
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from launching import STAGES, options, tool

from codebase.errors import UserError
from codebase.launch import submit
from codebase.launch.job import Job
from codebase.launch.main import _cannot_write, launch
from codebase.launch.submitit_ import submit_submitit


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("POSEMILL_SITE", raising=False)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Write commands onto a PATH that has nothing of a scheduler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cat", "sh", "bash", "sort", "echo"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    return lambda name, script: tool(folder, name, script)


@pytest.mark.parametrize("via", ["bsub", "sbatch"])
def test_without_a_scheduler_it_says_what_to_do(via, tools):
    with pytest.raises(UserError, match=f"There is no {via} on PATH") as error:
        submit.submit(via, "script")
    assert "bash train.sh local" in error.value.mend


def test_it_names_the_scheduler_that_is_there(tools):
    tools("bsub", "cat")
    with pytest.raises(UserError) as error:
        submit.submit("sbatch", "script")
    assert error.value.mend.startswith("use bsub, which is here")


def test_a_submission_of_submitit_that_breaks_off_leaves_no_job(tools, tmp_path):
    """sbatch took it, and then its files cannot be moved: nobody was told the job's number."""
    tools("srun", "true")
    tools("squeue", f"echo 40 other; echo 41 $(cat {tmp_path}/comment)")
    tools("scancel", f"echo $* > {tmp_path}/cancelled")
    find = "while read -r word rest; do case $rest in --comment=*) echo ${rest#--comment=};; esac; done"
    tools(
        "sbatch",
        f"{find} < $1 > {tmp_path}/comment; echo > {tmp_path}/took; /bin/rm -r ${{1%/*}}; echo Submitted batch job 41",
    )
    with pytest.raises(FileNotFoundError):
        submit_submitit(Job((("true",),), "name", "log"), tmp_path / "folder", requeues=1, executor="slurm")
    assert (tmp_path / "took").exists()
    assert (tmp_path / "cancelled").read_text() == "41\n"


def test_submitit_without_slurm(tools, tmp_path):
    with pytest.raises(UserError, match="submitit finds no Slurm here"):
        launch(options("--via", "submitit", "configs/mini.yaml", f"results={tmp_path}"), STAGES)


def test_an_unknown_queue_brings_the_list_of_queues(tools):
    tools("sbatch", "cat > /dev/null; echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1")
    tools("sinfo", "echo 'gpu*'; echo urgent")
    with pytest.raises(UserError, match="invalid partition specified: nowhere") as error:
        submit.submit("sbatch", "#!/bin/sh\n")
    assert "gpu*\n" in error.value.expected + "\n"
    assert "urgent" in error.value.expected
    tools("bsub", "cat > /dev/null; echo 'nowhere: No such queue. Job not submitted.' >&2; exit 255")
    tools("bqueues", "echo QUEUE_NAME; echo gpu.24h")
    with pytest.raises(UserError, match="No such queue") as error:
        submit.submit("bsub", "#!/bin/sh\n")
    assert "gpu.24h" in error.value.expected


def test_a_refusal_without_a_list_still_repeats_what_was_said(tools):
    tools("sbatch", "cat > /dev/null; echo 'Batch job submission failed: something new' >&2; exit 1")
    with pytest.raises(UserError, match="something new"):
        submit.submit("sbatch", "#!/bin/sh\n")


@pytest.mark.parametrize("via", ["sbatch", "bsub"])
def test_a_refusal_in_another_encoding_is_repeated(via, tools):
    tools(via, r"cat > /dev/null; printf 'cl\351 refus\351e' >&2; exit 1")
    with pytest.raises(UserError, match=f"{via} refused the job: cl\ufffd refus\ufffde"):
        submit.submit(via, "#!/bin/sh\n")


def test_the_id_is_read_and_the_script_arrives(tools, tmp_path):
    tools("sbatch", f"cat > {tmp_path}/got; echo '4711;cluster'")
    assert submit.submit("sbatch", "#!/bin/sh\necho x\n") == "4711"
    assert (tmp_path / "got").read_text() == "#!/bin/sh\necho x\n"
    tools("bsub", "cat > /dev/null; echo 'Job <12> is submitted to queue <normal>.'")
    assert submit.submit("bsub", "x") == "12"


def sweep_words(tmp_path):
    return options(
        "--via", "sbatch", "--sweep", "pose.seed=0,1", "--", "configs/mini.yaml", f"results={tmp_path / 'r'}"
    )


def test_a_failed_second_submission_cancels_the_first(tools, tmp_path, capsys):
    tools(
        "sbatch",
        f"cat > /dev/null; [ -e {tmp_path}/one ] && {{ echo 'no more' >&2; exit 1; }}; : > {tmp_path}/one; echo 31",
    )
    tools("scancel", f'echo "$@" > {tmp_path}/cancelled')
    with pytest.raises(UserError, match=r"no more[^$]*what was submitted before \(31\) is cancelled"):
        launch(sweep_words(tmp_path), STAGES)
    assert (tmp_path / "cancelled").read_text() == "31\n"


def test_what_cannot_be_cancelled_is_listed(tools, tmp_path):
    tools("sbatch", f"cat > /dev/null; [ -e {tmp_path}/one ] && exit 1; : > {tmp_path}/one; echo 31")
    tools("scancel", "exit 1")
    with pytest.raises(UserError, match=r"still there: 31; cancel with `scancel 31`"):
        launch(sweep_words(tmp_path), STAGES)


def test_a_sweep_is_two_submissions_and_a_manifest(tools, tmp_path, capsys):
    tools(
        "sbatch",
        f"cat >> {tmp_path}/scripts; [ -e {tmp_path}/one ] && {{ echo 32; exit; }}; : > {tmp_path}/one; echo 31",
    )
    assert launch(sweep_words(tmp_path), STAGES) == 0
    scripts = (tmp_path / "scripts").read_text()
    assert "--until data" in scripts.partition("--array=0-1")[0]
    assert "#SBATCH --dependency=afterok:31\n" in scripts
    kept = {path.name.endswith("-data.sh"): path.read_text() for path in (tmp_path / "r/sweeps").glob("*/*.sh")}
    assert kept[True] + kept[False] == scripts, "what is kept beside the logs is what was submitted"
    (manifest,) = (tmp_path / "r/sweeps").glob("*/sweep.json")
    assert [point["job"] for point in json.loads(manifest.read_text())["points"]] == ["32_0", "32_1"]
    assert "to cancel: scancel 32\n" in capsys.readouterr().out


def test_whoever_reads_no_further_gets_his_job_all_the_same(tools, tmp_path):
    """`launch ... | head -1`: what it says breaks off, what it does must not."""
    tools("sbatch", f"cat > {tmp_path}/got; echo 4711")
    words = ("--via", "sbatch", "configs/mini.yaml", f"results={tmp_path / 'r'}")
    nobody, end = os.pipe()
    os.close(nobody)
    argv = [sys.executable, "-m", "codebase", "launch", *words]
    done = subprocess.run(argv, cwd=REPOSITORY, stdout=end, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(end)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "got").exists()


def test_a_full_disk_while_submitting(tmp_path):
    """/dev/full is a file to which nothing can be written; a folder cannot be made in it either."""
    with pytest.raises(OSError, match="No space left") as full, open("/dev/full", "w") as handle:
        handle.write("x" * 100_000)
    said = str(_cannot_write(full.value, tmp_path))
    assert "the disk is full" in said
    assert "results=/scratch" in said
