"""`bash train.sh bsub configs/modelfinal.yaml` is the course's own line, or LSF 10's; --dry-run prints what is sent."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from conftest import REPOSITORY

from codebase.errors import UserError
from codebase.launch.course import course_of
from codebase.launch.main import launch
from tests.launching import STAGES, options, tool

YAML = "configs/modelfinal.yaml"
SEED = 'cd codebase && bsub -n 6 -W 96:00 -o out.txt -R "rusage[mem=4096, ngpus_excl_p=1]" python train.py ../configs/modelfinal.yaml'  # noqa: E501


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def said(capsys, *words: str) -> str:
    assert launch(options(*words), STAGES) == 0
    return capsys.readouterr().out.strip()


def test_the_seeds_line_word_for_word(capsys):
    assert said(capsys, "--via", "bsub", "--dry-run", YAML) == SEED


def test_the_modern_form_by_config_or_option(capsys):
    modern = SEED.replace(', ngpus_excl_p=1]"', ']" -gpu "num=1"')
    assert said(capsys, "--via", "bsub", "--dry-run", "--gpu-syntax", "gpu", YAML) == modern
    by_config = said(capsys, "--via", "bsub", "--dry-run", YAML, "launch.gpu_syntax=gpu")
    assert by_config == f'{modern} "launch.gpu_syntax=gpu"'


def test_options_win_and_other_wishes_are_said(capsys):
    line = said(
        capsys, "--via", "bsub", "--dry-run", "--queue", "gpuq", "--cores", "2", "--minutes", "90", YAML,
        "launch.gpu_memory_mb=10240", "launch.requeue=true",
    )  # fmt: skip
    for part in ("-n 2", "-W 1:30", "-q gpuq", '-R "select[gpu_mtotal0>=10240]"', "-Q 75"):
        assert part in line


def test_memory_of_the_job_is_told_by_the_core(capsys):
    line = said(capsys, "--via", "bsub", "--dry-run", "--mem-mb", "32000", YAML)
    assert "rusage[mem=5334, " in line
    script = said(capsys, "--via", "sbatch", "--dry-run", "--mem-mb", "32000", "--cores", "4", YAML)
    assert "#SBATCH --mem=32000M" in script


def test_memory_is_told_by_the_core_or_by_the_job(capsys):
    line = said(capsys, "--via", "bsub", "--dry-run", "--mem-per", "job", YAML)
    assert "rusage[mem=24576, " in line
    script = said(capsys, "--via", "sbatch", "--dry-run", "--mem-per", "core", YAML)
    assert "#SBATCH --mem-per-cpu=4096M" in script


@pytest.mark.parametrize("key", ["requeue=true", "gpu_memory_mb=10240"])
def test_what_lsf_alone_does_is_not_forgotten_on_slurm(key):
    with pytest.raises(UserError, match=f"launch.{key.partition('=')[0]}: that is asked of LSF alone"):
        launch(options("--via", "sbatch", "--dry-run", YAML, f"launch.{key}"), STAGES)


def test_an_option_wins_also_where_it_says_what_is_usual_elsewhere(capsys):
    line = said(capsys, "--via", "bsub", "--dry-run", "--minutes", "1440", "--mem-mb", "16000", YAML)
    assert "-W 24:00" in line
    assert "rusage[mem=2667, " in line


def test_lines_before_the_command_are_not_forgotten(capsys):
    with pytest.raises(UserError, match="--setup"):
        launch(options("--via", "bsub", "--dry-run", "--setup", "module load cuda", YAML), STAGES)
    script = said(capsys, "--via", "sbatch", "--dry-run", "--setup", "module load cuda", YAML)
    assert "\nmodule load cuda\n" in script


def test_a_log_elsewhere_is_there_with_slurm_too(capsys):
    assert "--output=codebase/out.txt" in said(capsys, "--via", "sbatch", "--dry-run", YAML)
    assert "--output=/scratch/a.txt" in said(capsys, "--via", "sbatch", "--dry-run", "--log", "/scratch/a.txt", YAML)


@pytest.mark.parametrize("wish", [["--nodes", "2"], ["--wait"], ["--time-budget", "60m"]])
def test_what_it_cannot_do_is_refused_and_not_forgotten(wish):
    with pytest.raises(UserError, match="one job"):
        launch(options("--via", "bsub", "--dry-run", *wish, YAML), STAGES)


def test_a_run_on_the_cpu_asks_for_no_gpu(capsys):
    assert "ngpus_excl_p" not in said(capsys, "--via", "bsub", "--dry-run", YAML, "device=cpu")


def test_here_it_is_the_courses_command(capsys):
    assert said(capsys, "--dry-run", YAML) == "cd codebase && python train.py ../configs/modelfinal.yaml"


def test_here_signals_reach_it(capsys, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("codebase.launch.course.run_command", lambda argv, folder: asked.append((argv, folder)) or 75)
    assert launch(options(YAML), STAGES) == 75
    ((argv, folder),) = asked
    assert (argv[1:], folder) == (["train.py", "../configs/modelfinal.yaml"], REPOSITORY / "codebase")


def test_slurm_gets_a_script_of_it(capsys):
    text = said(capsys, "--via", "sbatch", "--dry-run", YAML)
    assert "#SBATCH --cpus-per-task=6" in text
    assert "cd codebase && exec python train.py ../configs/modelfinal.yaml" in text


def test_a_config_with_a_space_in_its_name_is_one_word_everywhere(capsys, tmp_path: Path):
    copy = tmp_path / "my model.yaml"
    copy.write_text(Path(YAML).read_text())
    text = said(capsys, "--via", "sbatch", "--dry-run", str(copy))
    assert "#SBATCH --job-name=posemill-my_model\n" in text
    bash = shlex.split(text.splitlines()[-1])
    assert shlex.split(bash[-1])[-1].endswith("/my model.yaml")


def test_what_is_printed_is_what_is_submitted(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A bsub that notes its words and where it was called."""
    tool(
        tmp_path, "bsub", f'pwd > {tmp_path}/said; printf "%s\\n" "$@" >> {tmp_path}/said; echo "Job <17> is submitted"'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("codebase.launch.course.environment", lambda: {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    out = said(capsys, "--via", "bsub", YAML)
    assert out.splitlines()[0] == SEED
    assert out.splitlines()[1] == "submitted: job 17; to cancel: bkill 17"
    where, *words = (tmp_path / "said").read_text().splitlines()
    assert where == str(REPOSITORY / "codebase")
    assert words == [
        "-n", "6", "-W", "96:00", "-o", "out.txt", "-R", "rusage[mem=4096, ngpus_excl_p=1]", "python", "train.py",
        "../configs/modelfinal.yaml",
    ]  # fmt: skip


def test_a_refusal_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tool(tmp_path, "bsub", 'echo "No such queue. Job not submitted." >&2; exit 255')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("codebase.launch.course.environment", lambda: {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    with pytest.raises(UserError, match="No such queue"):
        launch(options("--via", "bsub", YAML), STAGES)


def test_sweeps_are_refused_and_our_configs_go_their_way():
    with pytest.raises(UserError, match="one job"):
        launch(options("--via", "bsub", "--sweep", "hmr.seed=0,1", "--", YAML), STAGES)
    assert course_of(["configs/mini.yaml"]) is None
    assert course_of(["train-hmr", "--config", "x"]) is None
    assert course_of([]) is None
