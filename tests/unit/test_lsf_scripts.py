"""The facade of LSF is strict; the scripts of the profile lsf-generic say what they should to LSF and to Snakemake."""

import os
import subprocess
import time

import pytest
from conftest import REPOSITORY

from codebase.schedulers import still_runs

FACADE = REPOSITORY / "tests/cluster/lsf"
GENERIC = REPOSITORY / "cluster_profiles/lsf-generic"


def call(tmp_path, *argv, path=FACADE, **environment):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LSF", "SNAKEMAKE"))}
    kept |= {"PATH": f"{path}{os.pathsep}{kept['PATH']}", "LSF_FACADE": str(tmp_path / "facade")}
    return subprocess.run(
        argv, env=kept | environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("bsub", "-x", "true"), "-x: Illegal option. Job not submitted.\nUsage: bsub"),
        (("bsub", "-q"), "option requires an argument -- q"),
        (("bsub", "-n", "2", "-n", "3", "true"), "-n: Option cannot be used more than once"),
        (("bsub", "-n", "0", "true"), "0: Bad processor number"),
        (("bsub", "-q", "gpuu", "true"), "gpuu: No such queue. Job not submitted."),
        (("bsub", "-R", "rusage[foo=1]", "true"), "Bad resource requirement syntax: rusage[foo=1]"),
        (("bsub", "-R", "rusage[mem=1", "true"), "Bad resource requirement syntax"),
        (("bsub", "-R", "span[ptile=2]", "true"), "Bad resource requirement syntax"),
        (("bsub", "-R", "rusage[mem=1]", "-R", "rusage[mem=2]", "true"), "mem: Duplicate resource"),
        (("bsub", "-gpu", "num=one", "true"), "Bad GPU requirement syntax"),
        (("bsub", "-gpu", "num=1", "-R", "rusage[ngpus_excl_p=1]", "true"), "exclude each other"),
        (("bsub", "-W", "2h", "true"), "2h: Bad RUNLIMIT specification"),
        (("bsub", "-w", "ended(3)", "true"), "Invalid dependency condition"),
        (("bjobs", "-l"), "-l: Illegal option"),
        (("bjobs", "-noheader", "-o", "jobid cputime"), "cputime: unknown field"),
        (("bjobs", "-noheader", "-o", "jobid stat", "-aJ", "*none*"), "Job <*none*> is not found"),
        (("bkill",), "Illegal job ID"),
        (("bkill", "7"), "Job <7>: No matching job found"),
        (("badmin", "reconfig"), "Usage: badmin showconf mbd"),
        (("lsclusters", "-l"), "Usage: lsclusters"),
        (("bhist", "-l", "-a"), "No matching job found"),
    ],
)
def test_the_facade_refuses_what_lsf_would(tmp_path, argv, said):
    done = call(tmp_path, *argv)
    assert done.returncode == 255, done.stdout + done.stderr
    assert said in done.stderr


def test_the_facade_says_what_snakemake_s_plugin_asks_for(tmp_path):
    lines = call(tmp_path, "badmin", "showconf", "mbd").stdout.splitlines()
    found = dict(line.strip().split(" = ") for line in lines[1:])
    assert set(found) == {"LSB_SHAREDIR", "LSF_CONFDIR", "LSF_UNIT_FOR_LIMITS"}
    cluster = call(tmp_path, "lsclusters", "-w").stdout.splitlines()[1].split()[0]
    with open(f"{found['LSF_CONFDIR']}/lsbatch/{cluster}/configdir/lsb.params") as params:
        assert "DEFAULT_QUEUE = gpu" in params.read()


def commands(tmp_path, **scripts):
    """A folder of commands, each a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("state", "word"),
    [("PEND", "running"), ("RUN", "running"), ("SSUSP", "running"), ("UNKWN", "running"), ("DONE", "success"),
     ("EXIT", "failed"), ("ZOMBI", "failed")],
)  # fmt: skip
def test_a_state_of_lsf_is_one_word_for_snakemake(tmp_path, state, word):
    path = commands(tmp_path, bjobs=f"echo {state}", bhist="exit 255")
    assert call(tmp_path, GENERIC / "status.sh", "7", path=path).stdout == f"{word}\n"


@pytest.mark.parametrize(
    ("history", "word"),
    [("Sat: Done successfully. The CPU time", "success"), ("Sat: Exited with exit code 1.", "failed"), ("", "running")],
)
def test_a_job_that_bjobs_forgot_is_looked_up_in_bhist(tmp_path, history, word):
    path = commands(tmp_path, bjobs="echo 'Job <7> is not found' >&2; exit 255", bhist=f"echo '{history}'")
    assert call(tmp_path, GENERIC / "status.sh", "7", path=path).stdout == f"{word}\n"


@pytest.mark.parametrize(
    ("environment", "memory"),
    [({}, 1334), ({"SNAKEMAKE_LSF_MEMFMT": "perjob"}, 4000), ({"LSF_UNIT_FOR_LIMITS": "KB"}, 1334 * 1024),
     ({"LSF_UNIT_FOR_LIMITS": "GB", "SNAKEMAKE_LSF_MEMFMT": "perjob"}, 4)],
)  # fmt: skip
def test_memory_is_sent_per_core_or_per_job_in_the_site_s_unit(tmp_path, environment, memory):
    path = commands(tmp_path, bsub="echo \"$@\" > calls; echo 'Job <41> is submitted to queue <gpu>.'")
    argv = ("crops", "subject=9", "3", "4000", "120", "gpu", "", "-gpu", "num=1", "job.sh")
    done = call(tmp_path, GENERIC / "submit.sh", *argv, path=path, **environment)
    assert (done.returncode, done.stdout) == (0, "41\n"), done.stderr
    said = (tmp_path / "calls").read_text()
    assert f"-n 3 -W 120 -R rusage[mem={memory}] -R span[hosts=1] -q gpu -gpu num=1 -cwd {tmp_path} job.sh" in said
    assert "-P" not in said
    assert said.startswith("-J posemill_crops:subject=9 ")


def test_a_refused_job_is_said_in_lsf_s_words(tmp_path):
    argv = ("crops", "", "1", "4000", "120", "gpuu", "", "job.sh")
    done = call(tmp_path, GENERIC / "submit.sh", *argv)
    assert done.returncode == 1
    assert "bsub refused a job of rule crops: gpuu: No such queue. Job not submitted." in done.stderr
    assert "to mend" in done.stderr


def test_a_bkill_that_takes_long_outlives_snakemake_s_patience(tmp_path):
    """Snakemake kills the command after 2 seconds; what it cancels then would stay with LSF."""
    path = commands(tmp_path, bkill='until [ -e go ]; do sleep 0.05; done; echo "$@" > calls; mv calls called')
    assert call(tmp_path, GENERIC / "cancel.sh", "7", "8", path=path).returncode == 0
    (tmp_path / "go").touch()
    end = time.monotonic() + 60
    while not (tmp_path / "called").is_file():
        assert time.monotonic() < end, "bkill was killed"
        time.sleep(0.05)
    assert (tmp_path / "called").read_text() == "7 8\n"


def test_jobs_are_cancelled_where_nothing_can_be_written(tmp_path):
    path = commands(tmp_path, bkill='echo "$@" > calls; mv calls called')
    (tmp_path / ".snakemake").write_text("no folder can be made here, as on a full disk\n")
    assert call(tmp_path, GENERIC / "cancel.sh", "7", path=path).returncode == 0
    end = time.monotonic() + 60
    while not (tmp_path / "called").is_file():
        assert time.monotonic() < end, "bkill was not called"
        time.sleep(0.05)


def test_a_folder_with_a_blank_in_its_name(tmp_path):
    """bsub gives the words of a command to a shell, joined by blanks; so does this one."""
    home = tmp_path / "a house"
    home.mkdir()
    path = commands(home, bsub='for last; do :; done; sh -c "$last" >&2; echo "Job <7> is submitted."')
    script = home / "job.sh"
    script.write_text("#!/bin/sh\necho ran > ran\n")
    script.chmod(0o755)
    done = call(home, GENERIC / "submit.sh", "crops", "", "1", "100", "9", "", "", str(script), path=path)
    assert (done.stdout, done.stderr) == ("7\n", "")
    assert (home / "ran").read_text() == "ran\n"


@pytest.mark.parametrize(
    ("answer", "runs"), [("echo PEND", True), ("echo UNKWN", True), ("echo DONE", False), ("echo EXIT", False),
                         ("echo 'Job <7> is not found' >&2; exit 255", False)],
)  # fmt: skip
def test_only_a_job_that_lsf_has_not_finished_is_waited_for_again(tmp_path, monkeypatch, answer, runs):
    path = commands(tmp_path, bjobs=answer)
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")
    assert still_runs("7") is runs


@pytest.mark.parametrize("depth", [1, 2])
def test_our_bjobs_makes_the_plugin_wait_for_a_lost_host(tmp_path, depth):
    """UNKWN becomes RUN, all else stays; it finds the real bjobs also where it stands on PATH more than once."""
    real = commands(tmp_path, bjobs="echo \"$@\" > calls; printf '7 UNKWN\\n8 DONE\\n9 EXIT\\n'; exit 3")
    own = str(REPOSITORY / "cluster_profiles/lsf/bin")
    path = os.pathsep.join([*[own] * depth, str(real)])
    done = call(tmp_path, "bjobs", "-noheader", "-o", "jobid stat", "-aJ", "*(uuid)*", path=path)
    assert (done.returncode, done.stdout) == (3, "7 RUN\n8 DONE\n9 EXIT\n")
    assert (tmp_path / "calls").read_text() == "-noheader -o jobid stat -aJ *(uuid)*\n"
