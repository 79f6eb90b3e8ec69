"""The DAG is built for every config and profile, quickly, without heavy libraries, and refuses a wrong config."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from codebase.cli import build_parser
from codebase.config import read_config
from codebase.config.course import is_course
from codebase.paths import Paths

CONFIGS = sorted(path.name for path in (REPOSITORY / "configs").glob("*.yaml") if not is_course(path))
PROFILES = sorted(path.parent.name for path in (REPOSITORY / "cluster_profiles").glob("*/config.yaml"))


def counts(output):
    """Jobs per rule of a dry run."""
    table = output.partition("Job stats:")[2].partition("\ntotal")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_builds_with_every_profile(in_house, config, profile):
    done = in_house("snakemake", "-n", "--profile", f"cluster_profiles/{profile}", "--configfile", f"configs/{config}")
    assert done.returncode == 0, done.stderr
    jobs = counts(done.stdout + done.stderr)
    settings = read_config(REPOSITORY / "configs" / config)
    people = len(settings.split.subjects)
    assert jobs["crops"] == jobs["embed"] == jobs["backgrounds"] == people
    assert jobs.get("synthesize", 0) == (people if settings.dataset.kind == "synthetic" else 0)
    assert jobs["index"] == 3
    # bodies are fitted to everybody where the dataset has none, else to test subjects, to be compared with their own
    fitted = people if Paths(settings).fits_bodies else len(settings.split.test.subjects)
    assert jobs["fit_bodies"] == jobs["check_fitted"] == fitted
    assert all(jobs[rule] == 1 for rule in ("train_hmr", "predict", "evaluate", "report", "all"))


def test_profiles_are_local_lsf_twice_and_slurm():
    assert PROFILES == ["local", "lsf", "lsf-generic", "slurm"]


def test_a_preset_lies_over_a_config(in_house, house):
    done = in_house("snakemake", "-n", "--configfile", "configs/mini.yaml", "configs/presets/quick.yaml")
    assert done.returncode == 0, done.stderr
    merged = read_config(house / "results/quick/config.yaml")
    assert merged.enc_dec.steps == 20
    assert merged.dataset == read_config(REPOSITORY / "configs/mini.yaml").dataset


def test_without_an_option_the_config_is_mini(in_house, house):
    assert in_house("snakemake", "-n").returncode == 0
    assert read_config(house / "results/mini/config.yaml") == read_config(house / "configs/mini.yaml")


def test_a_given_config_stands_alone(in_house, house):
    (house / "own.yaml").write_text("name: own\n")
    assert in_house("snakemake", "-n", "--configfile", "own.yaml").returncode == 0
    merged = yaml.safe_load((house / "results/own/config.yaml").read_text())
    assert len(merged["dataset"]["acts"]) == 15, "acts of mini.yaml leaked into a config that names none"


def test_a_dry_run_leaves_the_config_of_a_run_alone(in_house, house):
    in_house("snakemake", "-n")
    written = house / "results/mini/config.yaml"
    before = written.read_text()
    done = in_house("snakemake", "-n", "--config", "pose={learning_rate: 0.5}")
    assert done.returncode == 0, done.stderr
    assert written.read_text() == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("crop", {"size": 64}, "did you mean 'crops'?"),
        ("pose", {"step": 3}, "did you mean 'steps'?"),
        ("crops", {"size": -1}, "crops.size"),
        ("split", {"test": {"subjects": [1]}}, "split.test"),
    ],
)
def test_a_wrong_key_is_one_message_and_exit_code_2(in_house, house, key, value, message):
    config = yaml.safe_load((house / "configs/mini.yaml").read_text()) | {key: value}
    (house / "bad.yaml").write_text(yaml.safe_dump(config))
    done = in_house("snakemake", "--profile", "cluster_profiles/local", "--configfile", "bad.yaml")
    assert done.returncode == 2
    assert message in done.stderr
    assert "bad.yaml" in done.stderr
    assert "to mend" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (house / "results").exists()


@pytest.mark.parametrize(("kind", "where"), [("tree", "data/h36m"), ("extract", "data/human36m")])
def test_a_missing_tree_or_source_is_one_message_before_any_job(in_house, kind, where):
    words = ("--profile", "cluster_profiles/local", "--configfile", "configs/h36m.yaml")
    done = in_house("snakemake", *words, "--config", f"dataset={{kind: {kind}}}")
    assert done.returncode == 2
    assert f"where:    {where}\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Execute" not in done.stderr


def test_a_missing_body_is_one_message(in_house):
    done = in_house("snakemake", "-n", "--config", "dataset={body: assets/none.npz}")
    assert done.returncode == 2
    assert "error: dataset.body" in done.stderr
    assert "assets/none.npz" in done.stderr


def test_a_missing_licensed_body_is_one_message_that_says_where_to_get_it(in_house):
    done = in_house("snakemake", "-n", "--config", "dataset={body: bodies/basicmodel_m_lbs_10_207_0_v1.1.0.pkl}")
    assert done.returncode == 2
    for word in ("https://smpl.is.tue.mpg.de", "non-commercial research", "put it at bodies/basicmodel_m", "free_body"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_building_the_dag_imports_no_heavy_library(house):
    script = """
import json, sys
from snakemake.cli import main
try:
    main(["-n", "--quiet", "all", "--profile", "cluster_profiles/local"])
except SystemExit as left:
    assert not left.code, left.code
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=house, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    # not numpy: a plugin of Snakemake itself imports pandas
    assert not loaded & {"torch", "numba", "cv2", "scipy", "h5py", "smplx", "matplotlib"}
    ours = {name.split(".")[1] for name in loaded if name.startswith("codebase.")}
    files = {"paths", "schedulers", "failures", "shared_data", "errors", "body_sources", "published", "provenance"}
    assert ours == {"config"} | files


EXTRACT = [
    "--configfile",
    "configs/presets/quick.yaml",
    "--config",
    "name=here",
    "dataset={kind: extract}",
    "extract={source: nowhere, every: 5}",
]
EXTRACT += ["backgrounds={every: 65}", "split={train: {subjects: [1], every: 5}, val: {subjects: [8], every: 20}}"]


# two people's labels and a tenth of all, by two seeds, of ours, of images, and of a rival
SWEEP = [
    "--config",
    "name=sweep",
    "labels={representations: [embedding, fine_tuned, from_scratch, old], amounts: [S1+S5, 10%], seeds: [0, 1], "
    "subjects: [1, 5, 6]}",
    "rivals={old: {preset: configs/presets/gaggi2019.yaml, enc_dec: {steps: 7, perceptual: none}, pose: {steps: 5}}}",
]


def test_labels_are_swept_by_jobs(in_house, house):
    done = in_house("snakemake", "-n", "-p", *SWEEP)
    assert done.returncode == 0, done.stderr
    jobs = counts(done.stdout)
    people = jobs["embed"]
    # two amounts by two seeds of two representations each
    assert jobs["train_label_pose"] == jobs["train_label_images"] == 8
    assert jobs["train_rival"] == jobs["check_rival"] == jobs["label_sweep"] == 1
    assert jobs["embed_rival"] == jobs["check_rival_embeddings"] == people
    assert jobs["measure_labels"] == jobs["check_labels"] == 4
    commands = re.findall(r"Shell command: (python -m codebase .*) 2>", done.stdout)
    (tuned,) = (one for one in commands if "labels/fine_tuned/10_percent_seed1/" in one and "train-image-pose" in one)
    for word in ("image_pose.start=", "image_pose.seed=1", "label_share=0.1"):
        assert word in tuned
    assert "--enc-dec results/sweep/runs/enc_dec/model_850.pt" in tuned
    # images of the labelled people and of validation, and of nobody else
    crops = set(re.findall(r"crops/S(\d+)\.h5", tuned))
    assert crops == {"1", "5", "6", "8"}
    (rival,) = (one for one in commands if "train-enc-dec" in one and "rivals/old.yaml" in one)
    assert re.search(r"--output results/sweep/runs/\w+/model_7\.pt", rival)
    assert any("rivals/old.yaml" in one and "--output results/sweep/labels/old/S1_S5_seed0/model_5.pt" in one
               for one in commands)  # fmt: skip
    (evaluated,) = (one for one in commands if " evaluate " in one)
    assert "--labels results/sweep/labels/curve.json" in evaluated
    alone = counts(in_house("snakemake", "-n", *SWEEP, "--", "label_sweep").stdout)
    assert "train_hmr" not in alone
    assert alone["train_label_images"] == 8


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (["labels={representations: [embedng]}"], "did you mean 'embedding'?"),
        (["labels={representations: [gaggi2018]}"], "'gaggi2018' is unknown"),
        (["labels={representations: [embedding], amounts: [S1+S77]}"], "S1+S77 names [77]"),
        (["labels={representations: [embedding], amounts: ['seven']}"], "'seven' is no amount of labels"),
        (["labels={representations: [imagenet]}"], "image_pose.backbone_weights must name"),
        (["labels={representations: [imagenet]}", "image_pose={backbone_weights: none.pth}"], "does not exist"),
        (["labels={representations: [x]}", "rivals={x: {preset: none.yaml}}"], "none.yaml"),
        (["labels={representations: [x]}", "rivals={x: {enc_dec: {stepz: 3}}}"], "did you mean 'steps'?"),
        (["labels={representations: [x]}", "rivals={x: {enc_dec: {name: hmr}}}"], "their files would meet: hmr"),
        (["labels={representations: [embedding], settings: {embedding: {stepz: 3}}}"], "did you mean 'steps'?"),
    ],
)
def test_a_wrong_sweep_is_one_message(in_house, sections, said):
    done = in_house("snakemake", "-n", "--config", *sections)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_extraction_stands_where_rendering_does(in_house):
    done = in_house("snakemake", "-n", *EXTRACT)
    assert done.returncode == 0, done.stderr
    jobs = counts(done.stdout)
    assert jobs["extract"] == jobs["backgrounds"] == jobs["crops"] == 4
    assert "synthesize" not in jobs


def test_strides_that_do_not_fit_are_refused(in_house):
    done = in_house("snakemake", "-n", *EXTRACT, "backgrounds={every: 64}")
    assert done.returncode == 2
    assert "backgrounds.every is 64, but extract.every is 5" in done.stderr


def test_what_rules_run_the_command_line_understands(in_house):
    done, extracted = in_house("snakemake", "-n", "-p"), in_house("snakemake", "-n", "-p", *EXTRACT)
    swept = in_house("snakemake", "-n", "-p", *SWEEP)
    pattern = r"Shell command: (python -m codebase .*) 2> (\S+)$"
    commands = set(re.findall(pattern, done.stdout, flags=re.MULTILINE))
    assert len(commands) == sum(counts(done.stdout).values()) - 1, "a job other than `all` without a command of its own"
    commands |= {found for more in (extracted, swept) for found in re.findall(pattern, more.stdout, flags=re.MULTILINE)}
    parsed = [build_parser().parse_args(shlex.split(command)[3:]) for command, _ in commands]
    stages = {options.stage for options in parsed}
    assert stages == {path.stem for path in (REPOSITORY / "codebase/stages").glob("[a-z]*.py")}
    budgets = {options.stage: options.time_budget for options in parsed if "time_budget" in options}
    assert all(value and value > 0 for value in budgets.values())
    assert set(budgets) == {stage for stage in stages if stage.startswith("train_")}


def test_the_linter_of_snakemake_has_no_complaint(in_house):
    done = in_house("snakemake", "--lint")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("sections", "fitted", "learned_from"),
    [
        (["fit_bodies={use: never}"], 0, "dataset/truth/S1.h5"),
        (["fit_bodies={measure_every: 0}"], 0, "dataset/truth/S1.h5"),
        (["fit_bodies={use: auto}"], 2, "dataset/truth/S1.h5"),
        (["fit_bodies={use: always}"], 14, "results/mini/bodies/S1.h5"),
    ],
)
def test_fitted_bodies_are_asked_for_where_they_are_wanted(in_house, sections, fitted, learned_from):
    done = in_house("snakemake", "-n", "--printshellcmds", "--config", *sections)
    assert done.returncode == 0, done.stderr
    jobs = counts(done.stdout)
    assert jobs.get("fit_bodies", 0) == jobs.get("check_fitted", 0) == fitted
    (training,) = re.findall(r"codebase train-hmr .*", done.stdout)
    assert learned_from in training
    every = set(re.findall(r"codebase fit-bodies .* --every (\d+)", done.stdout))
    assert every == ({"1"} if fitted == 14 else {"4"} if fitted else set())


@pytest.mark.parametrize("weight", [0, 0.1])
def test_the_image_network_waits_for_the_prior_where_it_listens_to_it(in_house, weight):
    words = ("-n", "-p", "--until", "train_hmr", "--configfile", "configs/mini.yaml", "--config")
    done = in_house("snakemake", *words, f"hmr={{prior_weight: {weight}}}")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert ("train_prior" in counts(said)) == (weight > 0)
    (command,) = (line for line in said.splitlines() if "codebase train-hmr" in line)
    assert ("--prior results/mini/runs/prior/" in command) == (weight > 0)


@pytest.mark.parametrize("start", ["scratch", "enc_dec"])
def test_the_image_network_waits_for_the_encoder_that_it_begins_with(in_house, start):
    words = ("-n", "-p", "--until", "train_hmr", "--configfile", "configs/mini.yaml", "--config")
    done = in_house("snakemake", *words, f"hmr={{start: {start}}}")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    waits = {"train_enc_dec", "check_enc_dec"} <= set(counts(said))
    assert waits == (start == "enc_dec")
    (command,) = (line for line in said.splitlines() if "codebase train-hmr" in line)
    options = build_parser().parse_args(shlex.split(command.partition("python -m codebase ")[2].partition(" 2> ")[0]))
    assert options.enc_dec == (Path("results/mini/runs/enc_dec/model_850.pt") if waits else None)


def test_an_image_network_cannot_begin_with_an_encoder_of_the_papers(in_house):
    done = in_house("snakemake", "-n", "--configfile", "configs/mini.yaml", "configs/presets/rhodin2018.yaml",
                    "--config", "hmr={start: enc_dec}", "enc_dec={perceptual: none}")  # fmt: skip
    assert done.returncode == 2
    assert "hmr.start is enc_dec, but enc_dec.network is rhodin2018_unet" in done.stderr
