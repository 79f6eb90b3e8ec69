"""Snakemake interrupted or killed: its real plugins and our profiles, and commands that say what a scheduler would.

No job runs here; tests/cluster/test_lsf_trouble.py has jobs that do.
"""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from launching import tool

# its plugin asks for both before it submits
KNOWN = {"sinfo": "printf 'PARTITION\\ngpu*\\n'", "sacctmgr": "echo my_account", "sshare": "echo my_account"}
# jobs that stay; bkill may answer after Snakemake's end
LSF = [
    'bsub: echo $((1000000 + $$)) >> "{0}/submitted"; echo "Job <$((1000000 + $$))> is submitted to queue <gpu>."',
    "bjobs: echo RUN",
    "bhist: true",
    'bkill: echo "$@" >> "{0}/cancelled"',
]
TRAINING = (
    "--configfile",
    "configs/mini.yaml",
    "--seconds-between-status-checks",
    "1",
    "--",
    "results/mini/runs/prior/model_500.pt",
)


@pytest.fixture
def slow_slurm(tmp_path):
    """A folder for PATH: an `sbatch` that answers once the file `go` is there, and a `scancel` that takes notes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, answer in KNOWN.items():
        tool(folder, name, answer)
    for name in ("squeue", "sacct", "scontrol"):
        tool(folder, name, "true")
    # its number is its process's: 7 digits, as no other in a line
    submit = (
        'echo $((1000000 + $$)) >> "{0}/submitted"; until [ -e "{0}/go" ]; do sleep 0.05; done; echo $((1000000 + $$))'
    )
    tool(folder, "sbatch", submit.format(tmp_path))
    tool(folder, "scancel", f'echo "$@" >> "{tmp_path}/cancelled"')
    return folder


def numbers(path):
    """The numbers of jobs in a file."""
    return re.findall(r"\d{7}", path.read_text()) if path.is_file() else []


def started(house, tools, said, profile, *words):
    """Snakemake with one of our profiles, in a house; what it says goes to a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAKEMAKE", "LSF", "SLURM"))}
    kept["PATH"] = f"{tools}{os.pathsep}{kept['PATH']}"
    argv = [sys.executable, "-m", "snakemake", "--profile", f"cluster_profiles/{profile}", *words]
    with said.open("w") as file:
        return subprocess.Popen(argv, cwd=house, env=kept, stdout=file, stderr=file)


def wait_for(snakemake, said, condition, seconds=90):
    """Until a condition holds, while Snakemake runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert snakemake.poll() is None, said.read_text()
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.05)


def test_ctrl_c_cancels_also_what_is_submitted_while_it_ends(house, tmp_path, slow_slurm):
    """The plugin submits in threads, and waits for them only after it has cancelled what it knew of."""
    said, made = tmp_path / "said", tmp_path / "submitted"
    words = ("--slurm-init-seconds-before-status-checks", "1", "--configfile", "configs/mini.yaml")
    snakemake = started(house, slow_slurm, said, "slurm", *words)
    try:
        wait_for(snakemake, said, lambda: len(numbers(made)) >= 2)
        snakemake.send_signal(signal.SIGINT)
        # it logs this, and then cancels the nothing that it knows of
        wait_for(snakemake, said, lambda: "Terminating processes" in said.read_text())
        (tmp_path / "go").touch()
        assert snakemake.wait(90) != 0
    finally:
        (tmp_path / "go").touch()
        snakemake.kill()
    assert len(numbers(made)) >= 2
    assert set(numbers(tmp_path / "cancelled")) == set(numbers(made)), said.read_text()


@pytest.fixture
def lsf(tmp_path):
    """A folder for PATH: LSF's commands, for which every job runs for ever."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for line in LSF:
        name, script = line.split(": ", 1)
        tool(folder, name, script.format(tmp_path))
    return folder


@pytest.fixture
def killed(house, tmp_path, lsf):
    """What goes on after a Snakemake that was killed while its one job runs, with words for its command line."""
    said = tmp_path / "first"
    first = started(house, lsf, said, "lsf-generic", *TRAINING)
    try:
        wait_for(first, said, lambda: "Submitted job" in said.read_text())
    finally:
        first.kill()
        first.wait()
    assert started(house, lsf, tmp_path / "unlocked", "lsf-generic", *TRAINING[:2], "--unlock").wait(90) == 0
    return lambda *words: started(house, lsf, tmp_path / "again", "lsf-generic", *words, *TRAINING)


def test_a_killed_snakemake_of_the_generic_profile_finds_its_jobs_again(killed, tmp_path):
    """Each by its own number; and no job is submitted that runs."""
    said, cancelled = tmp_path / "again", tmp_path / "cancelled"
    again = killed()
    try:
        wait_for(again, said, lambda: "external jobid" in said.read_text())
        assert "Resuming incomplete job" in said.read_text()
        again.send_signal(signal.SIGINT)
        assert again.wait(90) != 0
    finally:
        again.kill()
    assert len(numbers(tmp_path / "submitted")) == 1
    end = time.monotonic() + 60
    while not numbers(cancelled):
        assert time.monotonic() < end, "it was left behind"
        time.sleep(0.05)
    assert numbers(cancelled) == numbers(tmp_path / "submitted"), "a job found again is cancelled, too"


def test_a_job_of_another_config_is_not_waited_for(killed, tmp_path):
    """What it makes would pass for what the new config asks for."""
    said = tmp_path / "again"
    again = killed("--config", "prior={learning_rate: 0.5}")
    try:
        wait_for(again, said, lambda: "external jobid" in said.read_text())
    finally:
        again.kill()
    assert "Resuming incomplete job" not in said.read_text()
    assert len(numbers(tmp_path / "submitted")) == 2
