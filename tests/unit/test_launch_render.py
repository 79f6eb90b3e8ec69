"""What is submitted, word for word: tests/snapshots/launch/. After a wanted change: POSEMILL_SNAPSHOTS=write pytest."""

import os
import shlex
import subprocess
from dataclasses import replace

import pytest
from conftest import REPOSITORY

from codebase.errors import UserError
from codebase.launch.job import Job
from codebase.launch.render import bsub_script, sbatch_script
from codebase.launch.submitit_ import submitit_text

SNAPSHOTS = REPOSITORY / "tests/snapshots/launch"
STAGE = ("python", "-m", "codebase", "train-pose", "--config", "my results/config.yaml")
JOB = Job((STAGE,), name="posemill-mini", log="results/mini/logs/launch.log", cores=6, minutes=5760, mem_mb=24576)
SITE = {
    "queue": "long", "account": "vision", "gpu_model": "a100", "gpus": 2,
    "setup": ("module load gcc/12 cuda/12.4", "source /opt/conda.sh"),
}  # fmt: skip
SWEEP = replace(JOB, commands=tuple((*STAGE, f"pose.seed={seed}") for seed in range(6)), max_running=2, after="4711")
CASES = {
    "bsub-plain": (bsub_script, JOB),
    "bsub-old-site": (bsub_script, replace(JOB, log="out.txt", gpu_syntax="rusage", requeue=False)),
    "bsub-old-site-model": (bsub_script, replace(JOB, gpu_syntax="rusage", gpu_model="TeslaV100")),
    "bsub-site": (bsub_script, replace(JOB, **SITE, mem_per="job")),
    "bsub-sweep": (bsub_script, SWEEP),
    "bsub-no-gpu": (bsub_script, replace(JOB, gpus=0)),
    "sbatch-plain": (sbatch_script, JOB),
    "sbatch-gres": (sbatch_script, replace(JOB, gpu_syntax="gres", gpu_model="v100", gpus=2)),
    "sbatch-site": (sbatch_script, replace(JOB, **SITE, mem_per="core")),
    "sbatch-sweep": (sbatch_script, SWEEP),
    "sbatch-no-gpu": (sbatch_script, replace(JOB, gpus=0, requeue=False)),
    "sbatch-nodes": (sbatch_script, replace(JOB, nodes=2, gpus=4)),
    "submitit-plain": (lambda job: submitit_text(job, 20), JOB),
    "submitit-site": (lambda job: submitit_text(job, 3), replace(JOB, **SITE, gpu_syntax="gres")),
    "submitit-sweep": (lambda job: submitit_text(job, 20), SWEEP),
}


@pytest.mark.parametrize("name", CASES)
def test_snapshot(name):
    render, job = CASES[name]
    path, text = SNAPSHOTS / f"{name}.txt", render(job)
    if os.environ.get("POSEMILL_SNAPSHOTS") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{name} changed; if that is meant, run with POSEMILL_SNAPSHOTS=write"


def test_no_snapshot_is_left_over():
    assert {path.stem for path in SNAPSHOTS.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("submitit")])
def test_the_scripts_are_bash(name):
    render, job = CASES[name]
    done = subprocess.run(["bash", "-n"], input=render(job), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_form_of_old_sites_is_what_their_users_typed():
    """`bsub -n 6 -W 96:00 -o out.txt -R "rusage[mem=4096, ngpus_excl_p=1]"`."""
    render, job = CASES["bsub-old-site"]
    flags = [line.removeprefix("#BSUB ") for line in render(job).splitlines() if line.startswith("#BSUB ")]
    for flag in ("-n 6", "-W 96:00", "-o out.txt", '-R "rusage[mem=4096, ngpus_excl_p=1]"'):
        assert flag in flags
    assert not [flag for flag in flags if flag.startswith("-gpu")]


@pytest.mark.parametrize(("render", "flag"), [(bsub_script, "-o"), (sbatch_script, "--output")])
def test_a_log_in_a_folder_with_a_space_is_one_word(render, flag):
    text = render(replace(JOB, log="my results/logs/launch-%j.log"))
    (line,) = (line for line in text.splitlines() if flag in line.replace("=", " ").split())
    assert shlex.split(line.replace("=", " "))[-1] == "my results/logs/launch-%j.log"


@pytest.mark.parametrize(
    ("render", "flags"), [(bsub_script, ("-q", "-P")), (sbatch_script, ("--partition", "--account"))]
)
def test_lsfs_list_of_queues_is_one_word(render, flags):
    text = render(replace(JOB, queue="gpu.4h gpu.24h", account="my lab"))
    words = [
        shlex.split(line.replace("=", " "), comments=False)[1:] for line in text.splitlines() if line.startswith("#")
    ]
    assert [flags[0], "gpu.4h gpu.24h"] in words
    assert [flags[1], "my lab"] in words


@pytest.mark.parametrize("render", [bsub_script, sbatch_script])
@pytest.mark.parametrize("field", ["queue", "log"])
def test_nothing_goes_over_the_end_of_its_line(render, field):
    """What stands below would be run."""
    with pytest.raises(UserError, match="goes over one line"):
        render(replace(JOB, **{field: "gpu.24h\necho mine"}))


@pytest.mark.parametrize(("render", "syntax"), [(bsub_script, "gres"), (sbatch_script, "rusage")])
def test_another_schedulers_syntax_is_refused(render, syntax):
    with pytest.raises(UserError, match=f"--gpu-syntax {syntax} is no way"):
        render(replace(JOB, gpu_syntax=syntax))


@pytest.mark.parametrize("render", [bsub_script, lambda job: submitit_text(job, 1)])
def test_several_nodes_are_slurms_alone(render):
    with pytest.raises(UserError, match="spread over several nodes by Slurm's srun"):
        render(replace(JOB, nodes=2))


def test_each_element_of_an_array_runs_its_own_command(tmp_path):
    """The real shell, with the variable that each scheduler sets."""
    for render, variable, first in ((bsub_script, "LSB_JOBINDEX", 1), (sbatch_script, "SLURM_ARRAY_TASK_ID", 0)):
        job = replace(SWEEP, commands=tuple(("echo", f"point {n}", "$HOME") for n in range(3)))
        for n in range(3):
            environment = {"PATH": os.environ["PATH"], variable: str(first + n), "HOME": "/none"}
            done = subprocess.run(["bash"], input=render(job), text=True, capture_output=True, env=environment)
            assert done.stdout == f"point {n} $HOME\n"
