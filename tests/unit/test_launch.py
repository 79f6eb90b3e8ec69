"""From the words of `launch` to jobs: stages, whole runs, sites, wrong words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from launching import STAGES, commands, options, tool

from codebase.cli import build_parser, main
from codebase.errors import UserError
from codebase.launch import plan
from codebase.launch.main import launch
from codebase.launch.site import gpu_of_site


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("POSEMILL_SITE", raising=False)


def test_overrides_become_a_config_that_snakemake_reads_alike():
    argv = plan.dag_argv(REPOSITORY / "c.yaml", ["pose.steps=10", "pose.seed=2", "name=a b"], cores=2, gpus=1)
    at = argv.index("--config")
    given = dict(word.split("=", 1) for word in argv[at + 1 : at + 3])
    assert {key: yaml.safe_load(value) for key, value in given.items()} == {
        "pose": {"steps": 10, "seed": 2},
        "name": "a b",
    }
    assert argv[at + 3 :] == ("--cores", "2", "--resources", "gpu=1")


def test_dry_run_prints_and_submits_nothing(capsys):
    for via in ("bsub", "sbatch", "submitit", "local"):
        assert main(["launch", "--via", via, "--dry-run", "configs/small.yaml", "name=other"]) == 0
        assert "configs/small.yaml" in capsys.readouterr().out
    assert not Path("results/other").exists()


def test_a_training_stage_is_told_the_jobs_time():
    (argv,) = commands("--via", "sbatch", "--minutes", "90", "--", "train-prior", "--config", "c.yaml")
    assert argv[argv.index("--") :] == ("--", "train-prior", "--config", "c.yaml", "--time-budget", "90m")
    (argv,) = commands("--via", "sbatch", "--", "index", "--config", "c.yaml")
    assert "--time-budget" not in argv


def test_a_training_stage_gets_the_gpus_and_nodes_of_its_config(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("name: c\nenc_dec: {gpus: 4, nodes: 2}\n")
    words = ("--via", "sbatch", "--", "train-enc-dec", "--config", str(config))
    job = plan.plan_jobs(options(*words), STAGES).job
    assert (job.gpus, job.nodes) == (4, 2)
    assert plan.plan_jobs(options("--gpus", "1", *words), STAGES).job.gpus == 1
    job = plan.plan_jobs(options(*words, "--set", "enc_dec.gpus=2", "enc_dec.nodes=1", "--crops", "a.h5"), STAGES).job
    assert (job.gpus, job.nodes) == (2, 1)


def test_a_dag_in_one_job_gets_the_gpus_of_its_largest_training():
    (argv,) = commands("--via", "sbatch", "configs/mini.yaml", "enc_dec.gpus=4", "hmr.gpus=2")
    assert argv[argv.index("--gpus") + 1] == "4"
    swept = commands("--via", "bsub", "--sweep", "hmr.gpus=1,2", "--", "configs/mini.yaml")
    assert {argv[argv.index("--gpus") + 1] for argv in swept} == {"2"}
    (argv,) = commands("--via", "sbatch", "--gpus", "1", "configs/mini.yaml", "enc_dec.gpus=4")
    assert argv[argv.index("--gpus") + 1] == "1"
    (argv,) = commands("--via", "sbatch", "configs/mini.yaml", "enc_dec.gpus=2", "runtime.device=cpu")
    assert argv[argv.index("--gpus") + 1] == "1"


def test_an_own_time_budget_stays():
    words = ("train-prior", "--config", "c.yaml", "--time-budget", "5m")
    (argv,) = commands("--via", "bsub", "--", *words)
    assert argv[argv.index("--") + 1 :] == words
    (argv,) = commands("--via", "bsub", "--", "train-prior", "--config=c.yaml", "--time-budget=5m")
    assert argv[argv.index("--") + 1 :] == words


@pytest.mark.parametrize(("asked", "told"), [("60m", "3600s"), ("90m", "5400s"), ("1000m", "5400s")])
def test_a_time_budget_for_launch_is_not_forgotten(asked, told, capsys):
    """In a job never more than the job has."""
    needs, stage = ("--minutes", "90", "--time-budget", asked), ("--", "train-prior", "--config", "c.yaml")
    for words in (("configs/mini.yaml",), stage):
        (argv,) = commands("--via", "sbatch", *needs, *words)
        assert argv[argv.index("--time-budget") + 1] == told
    assert main(["launch", "--dry-run", *needs, *stage]) == 0
    assert f"--time-budget {int(asked[:-1]) * 60}s\n" in capsys.readouterr().out


@pytest.mark.parametrize("via", ["local", "bsub"])
@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--time-budget", "9m", "--", "index", "--config", "c.yaml"], "index cannot"),
        (["--until", "data", "--", "train-prior", "--config", "c.yaml"], "neither swept nor cut off"),
    ],
)
def test_what_a_stage_cannot_do_is_refused_wherever_it_runs(via, words, what):
    with pytest.raises(UserError, match=what):
        launch(options("--via", via, "--dry-run", *words), STAGES)


def test_what_runs_inside_is_understood_by_our_own_command_line():
    for argv in commands("--via", "sbatch", "--sweep", "pose.seed=0,1", "--max-running", "1", "configs/mini.yaml"):
        found = build_parser().parse_args(argv[3:])
        assert (found.via, str(found.in_job), found.nolock) == ("local", "results/sweeps/" + found.in_job.name, True)
        assert found.words[0] == "configs/mini.yaml"


def test_a_config_after_the_swept_keys_is_the_config(capsys):
    words = ["pose.seed=0,1", "configs/small.yaml", "pose.steps=5"]
    assert main(["launch", "--via", "sbatch", "--dry-run", "--sweep", *words]) == 0
    said = capsys.readouterr().out
    assert "configs/small.yaml pose.steps=5 pose.seed=1 name=small-pose.seed-1 data_from=results/small" in said


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--nodes", "2", "configs/mini.yaml"], "runs on one node"),
        (["configs/mini.yaml", "hmr.nodes=2"], "runs on one node"),
        (["--sweep", "pose.seed=0,1", "--", "train-pose"], "neither swept"),
        (["--sweep", "pose.seed", "--", "configs/mini.yaml"], "no such|not understood|does not exist"),
        (["--sweep", "pose.seed=", "--", "configs/mini.yaml"], "not understood"),
        (["--sweep", "name=a,b", "--", "configs/mini.yaml"], "not understood"),
        (["--sweep", "pose.seed=0", "pose.seed=1", "--", "configs/mini.yaml"], "not understood"),
        (["--sweep", "pose.sed=0,1", "--", "configs/mini.yaml"], "did you mean 'seed'"),
        (["--sweep", "pose.steps=5,many", "--", "configs/mini.yaml"], "pose.steps"),
        (["--sweep", "pose.seed=0,-1", "--", "configs/mini.yaml"], "pose.seed"),  # numpy takes none below 0
        (["configs/none.yaml"], "does not exist"),
        (["configs/mini.yaml", "pose.step=1"], "did you mean 'steps'"),
        (["--collect"], "the folder of one sweep"),
        (["--gpu-syntax", "rusage", "configs/mini.yaml"], "no way in which sbatch"),
        (["--site", "none.yaml", "configs/mini.yaml"], "site file cannot be read"),
        (["--via", "local", "--setup", "module load cuda", "configs/mini.yaml"], "--setup: .* this runs here"),
        (["--via", "local", "--log", "a.txt", "configs/modelfinal.yaml"], "--log: .* this runs here"),
        (["--via", "submitit", "--log", "a.txt", "configs/mini.yaml"], "--log: submitit names"),
    ],
)
def test_wrong_words(words, what):
    with pytest.raises(UserError, match=what):
        launch(options("--via", "sbatch", "--dry-run", *words), STAGES)


def test_submitit_on_this_machine_cannot_make_the_data_of_a_sweep_first(tmp_path):
    words = ("--via", "submitit", "--executor", "local", "--sweep", "pose.seed=0,1", "--", "configs/mini.yaml")
    with pytest.raises(UserError, match="starts all jobs at once"):
        launch(options("--dry-run", *words, f"results={tmp_path}"), STAGES)


def test_a_gpu_asked_where_there_is_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match=r"2 GPU\(s\) are asked for, and this process sees 0"):
        launch(options("--gpus", "2", "configs/mini.yaml"), STAGES)


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("0", 1), ("0,1", 2), ("-1", 0), ("GPU-8f2c", 1), ("NoDevFiles", 0)]
)
def test_visible_gpus_are_counted(visible, count, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert plan.gpus_here() == count


def test_a_driver_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    tool(tmp_path, "nvidia-smi", "sleep 5; echo 'GPU 0: A'")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(plan, "_DRIVER_S", 0.2)
    assert plan.gpus_here() == 0
    tool(tmp_path, "nvidia-smi", "echo 'GPU 0: A'; echo 'GPU 1: B'")
    assert plan.gpus_here() == 2


def test_one_site_file_serves_launch_too(tmp_path, capsys):
    site = tmp_path / "site.yaml"
    site.write_text(
        "default-resources:\n  lsf_queue: |\n    gpu.24h\n  lsf_project: \"'es_ml'\"\n  slurm_partition: a100\n"
        "gpu: {lsf_extra: '-R rusage[ngpus_excl_p={gpus}] -R select[gpu_model0==TeslaV100]'}\n"
    )
    main(["launch", "--via", "bsub", "--dry-run", "--site", str(site), "configs/mini.yaml"])
    said = capsys.readouterr().out
    for line in (
        "-q gpu.24h",
        "-P es_ml",
        '-R "rusage[mem=4000, ngpus_excl_p=1]"',
        '-R "select[gpu_model0==TeslaV100]"',
    ):
        assert f"#BSUB {line}\n" in said
    main(["launch", "--via", "sbatch", "--dry-run", "--site", str(site), "--queue", "mine", "configs/mini.yaml"])
    assert "#SBATCH --partition=mine\n" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["default-resources: [slurm_account=x]", "gpu: 1"])
def test_a_site_of_the_wrong_form_is_one_message(text, tmp_path):
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(UserError, match=f"{text.partition(':')[0]} is no mapping"):
        launch(options("--via", "sbatch", "--dry-run", "--site", str(tmp_path / "site.yaml")), STAGES)


def test_overrides_may_stand_behind_options(capsys):
    words = ["--gpus", "1", "configs/mini.yaml", "--minutes", "3", "pose.steps=5"]
    assert main(["launch", "--via", "sbatch", "--dry-run", *words]) == 0
    assert capsys.readouterr().out.rstrip().endswith("configs/mini.yaml pose.steps=5")
    with pytest.raises(SystemExit):
        main(["launch", "--via", "sbatch", "--dry-run", *words, "--pose.steps=5"])


def test_gpu_of_a_slurm_site():
    assert gpu_of_site({"gres": "gpu:a100:{gpus}"}, "sbatch") == {"gpu_syntax": "gres", "gpu_model": "a100"}
    assert gpu_of_site({"gres": "gpu:{gpus}"}, "sbatch") == {"gpu_syntax": "gres"}
    assert gpu_of_site({"gpu_model": "v100"}, "sbatch") == {"gpu_model": "v100"}


@pytest.mark.parametrize(
    "words",
    [
        ["sbatch", "--no-venv", "--queue", "local", "--wait", "configs/mini.yaml", "pose.steps=3", "--dry-run"],
        ["--queue=local", "--no-venv", "--minutes=3", "sbatch", "configs/mini.yaml", "pose.steps=3", "--dry-run"],
    ],
)
def test_train_sh_passes_words_on(words):
    said = train_sh(*words)
    assert "#SBATCH --partition=local\n" in said
    assert said.rstrip().endswith("configs/mini.yaml pose.steps=3")


@pytest.mark.parametrize(
    ("via", "mark"),
    [("local", "--configfile configs/mini.yaml"), ("bsub", '#BSUB -gpu "num=1"'), ("sbatch", "#SBATCH --gpus=1"),
     ("submitit", "# submitit name='posemill-mini'")],
)  # fmt: skip
def test_train_sh_without_a_config_is_the_miniature(via, mark):
    said = train_sh(via, "--no-venv", "--dry-run")
    assert mark in said
    assert "configs/mini.yaml" in said


def train_sh(*words):
    """What `bash train.sh` prints."""
    done = subprocess.run(
        ["bash", "train.sh", *words],
        cwd=REPOSITORY, env=os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
