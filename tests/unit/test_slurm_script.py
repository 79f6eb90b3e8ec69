"""tests/cluster/slurm.sh where it must not start, or must clear away; without root's rights and without a Slurm."""

import os
import shutil
import subprocess

import pytest
from conftest import REPOSITORY
from launching import tool

CANNOT = 3


@pytest.fixture
def slurm_sh(tmp_path):
    """The script, with its places outside of the folder moved into this one, for somebody who seems to be root."""
    text = (REPOSITORY / "tests/cluster/slurm.sh").read_text()
    assert text.count("=/etc/slurm/") == text.count("=/run/slurm/") == 1
    here = tmp_path / "here"
    (tmp_path / "bin").mkdir()
    here.mkdir()
    (here / "slurm.sh").write_text(text.replace("=/etc/", f"={tmp_path}/etc/").replace("=/run/", f"={tmp_path}/run/"))
    for name in ("accounting.sh", "slurm.conf.in"):
        shutil.copy(REPOSITORY / "tests/cluster" / name, here)
    tool(tmp_path / "bin", "id", "echo 0")
    for name in ("slurmctld", "slurmd", "munged", "apt-get"):
        tool(tmp_path / "bin", name, f"echo {name} >> {tmp_path}/started; exit 1")
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "POSEMILL_SLURM_ROOT": str(tmp_path / "root"),
        "POSEMILL_SLURM_MEMORY": "polling",  # cgroups are the whole host's
    }

    def run(*words):
        argv = ["bash", str(here / "slurm.sh"), *words]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)

    (tmp_path / "etc/slurm").mkdir(parents=True)
    return run


@pytest.mark.parametrize("what", ["file", "link", "dangling", "configless"])
def test_a_real_cluster_is_left_alone(slurm_sh, tmp_path, what):
    conf = tmp_path / "etc/slurm/slurm.conf"
    theirs = tmp_path / "theirs.conf"
    if what == "configless":
        (tmp_path / "run/slurm/conf").mkdir(parents=True)
    elif what == "file":
        conf.write_text("ClusterName=theirs")
    else:
        conf.symlink_to(theirs)
    if what == "link":
        theirs.write_text("ClusterName=theirs")
    before = sorted(tmp_path.rglob("*"))
    done = slurm_sh("start")
    assert done.returncode == CANNOT, done.stderr
    assert "cannot start" in done.stderr
    slurm_sh("stop")
    assert sorted(tmp_path.rglob("*")) == before
    assert what != "file" or conf.read_text() == "ClusterName=theirs"
    assert not (tmp_path / "started").exists()


def test_a_link_whose_folder_was_deleted_is_cleared_away(slurm_sh, tmp_path):
    conf = tmp_path / "etc/slurm/slurm.conf"
    conf.symlink_to(tmp_path / "root/slurm.conf")
    assert slurm_sh("stop").returncode == 0
    assert not conf.is_symlink()
    conf.symlink_to(tmp_path / "root/slurm.conf")
    done = slurm_sh("start")
    assert "munged did not start" in done.stderr, done.stderr  # it came as far as that
    slurm_sh("stop")
    assert not conf.is_symlink()
    assert not (tmp_path / "root").exists()


def test_a_folder_with_somebodys_files_is_left_alone(slurm_sh, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/thesis.tex").touch()
    assert slurm_sh("start").returncode == CANNOT
    slurm_sh("stop")
    assert (tmp_path / "root/thesis.tex").is_file()
