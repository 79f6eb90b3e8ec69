"""Ctrl-C while jobs are still being submitted: Snakemake's real Slurm plugin, and commands that take their time."""

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


def test_ctrl_c_cancels_also_what_is_submitted_while_it_ends(house, tmp_path, slow_slurm):
    """The plugin submits in threads, and waits for them only after it has cancelled what it knew of."""
    said, made = tmp_path / "said", tmp_path / "submitted"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEMAKE")}
    environment["PATH"] = f"{slow_slurm}{os.pathsep}{environment['PATH']}"
    words = ["--slurm-init-seconds-before-status-checks", "1", "--configfile", "configs/mini.yaml"]
    argv = [sys.executable, "-m", "snakemake", "--profile", "cluster_profiles/slurm", *words]
    with said.open("w") as file:
        snakemake = subprocess.Popen(argv, cwd=house, env=environment, stdout=file, stderr=file)

    def wait_for(condition, seconds=90):
        end = time.monotonic() + seconds
        while not condition():
            assert snakemake.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.05)

    try:
        wait_for(lambda: len(numbers(made)) >= 2)
        snakemake.send_signal(signal.SIGINT)
        # it logs this, and then cancels the nothing that it knows of
        wait_for(lambda: "Terminating processes" in said.read_text())
        (tmp_path / "go").touch()
        assert snakemake.wait(90) != 0
    finally:
        (tmp_path / "go").touch()
        snakemake.kill()
    assert len(numbers(made)) >= 2
    assert set(numbers(tmp_path / "cancelled")) == set(numbers(made)), said.read_text()
