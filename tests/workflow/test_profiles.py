"""Profiles by bare name: a site's small file laid over ours, and the exact lines that each rule is submitted with.

The lines stand in tests/cluster/snapshots; after a change that is meant, `POSEMILL_SNAPSHOTS=write bash tests/run.sh
tests/workflow/test_profiles.py` writes them anew, and git shows what changed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import REPOSITORY

from codebase.errors import ConfigError
from codebase.profiles import install, merge, render
from codebase.schedulers import refusal_hint

SNAPSHOTS = REPOSITORY / "tests/cluster/snapshots"
RULES = REPOSITORY / "workflow/rules"
SITES = REPOSITORY / "cluster_profiles/sites"
FACADE = REPOSITORY / "tests/cluster/lsf"
OURS = {
    "executor": "lsf",
    "retries": 5,
    "default-resources": {"mem_mb": 4000},
    "set-resources": {
        "train": {"gpu": "$GPUS_POSE", "lsf_extra": "'-gpu num=$GPUS_POSE'", "mem_mb": "8 * attempt"},
        "report": {"mem_mb": 1},
    },
}


def same_as_snapshot(name, text):
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("POSEMILL_SNAPSHOTS") == "write":
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs; if that is meant, see this file's docstring"


def test_a_site_says_only_what_differs():
    site = {"retries": 2, "default-resources": {"lsf_queue": "gpu"}, "set-resources": {"report": {"runtime": 9}}}
    merged = merge(OURS, site)
    assert merged["retries"] == 2
    assert merged["default-resources"] == {"mem_mb": 4000, "lsf_queue": "'gpu'"}
    assert merged["set-resources"]["report"] == {"mem_mb": 1, "runtime": 9}
    assert merged["set-resources"]["train"] == OURS["set-resources"]["train"]
    assert OURS["set-resources"]["report"] == {"mem_mb": 1}, "our own profile was changed"


def test_null_takes_a_key_away():
    merged = merge(OURS, {"retries": None, "default-resources": {"mem_mb": None}})
    assert "retries" not in merged
    assert merged["default-resources"] == {}


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ({"lsf_extra": "-R rusage[ngpus_excl_p={gpus}]"},
         {"gpu": "$GPUS_POSE", "lsf_extra": "'-R rusage[ngpus_excl_p=$GPUS_POSE]'"}),
        ({"gres": "gpu:{gpus}"}, {"gpu": 0, "gres": "'gpu:$GPUS_POSE'"}),
        ({"gpu_model": "a100"}, {"gpu": "$GPUS_POSE", "gpu_model": "'a100'"}),
    ],
)  # fmt: skip
def test_gpu_replaces_our_way_of_asking_in_the_rules_that_have_one(gpu, expected):
    merged = merge(OURS, {"gpu": gpu})["set-resources"]
    assert merged["train"] == expected | {"mem_mb": "8 * attempt"}
    assert merged["report"] == {"mem_mb": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("set-resources: {reports: {mem_mb: 1}}", "Did you mean 'report'?"),
        ("set-resources: {report: 5}", "set-resources.report is no mapping"),
        ("default-resources: gpu", "default-resources is no mapping"),
        ("gpu: 1", "gpu is no mapping"),
        ("- a", "The file is no mapping"),
        ("a: [", "no readable YAML"),
    ],
)
def test_a_wrong_site_file_is_one_message(tmp_path, text, said):
    site = tmp_path / "site.yaml"
    site.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        install("lsf", site, tmp_path)
    assert str(site) in str(error.value)
    assert not (tmp_path / "lsf").exists()


def test_a_profile_or_site_that_is_not_there_is_one_message(tmp_path):
    with pytest.raises(ConfigError, match="no profile 'pbs'"):
        install("pbs", None, tmp_path)
    with pytest.raises(ConfigError, match="site file does not exist"):
        install("lsf", tmp_path / "none.yaml", tmp_path)


def executor_of(site):
    return "lsf" if site.name.startswith("lsf") else "slurm"


@pytest.mark.parametrize("site", sorted(SITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_of_a_site_makes_a_profile(site):
    made = yaml.safe_load(render(executor_of(site), site.relative_to(REPOSITORY)))
    same_as_snapshot(f"profile-{site.stem}", yaml.safe_dump(made, sort_keys=True))


def outside(house, home, *argv, **environment):
    """A command in the house, with an empty home of its own and LSF's commands on PATH."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SNAKEMAKE", "XDG", "LSF", "SLURM"))}
    kept |= {"HOME": str(home), "PATH": f"{FACADE}{os.pathsep}{kept['PATH']}", "LSF_FACADE": str(home / "facade")}
    return subprocess.run(
        argv, cwd=house, env=kept | environment, text=True, timeout=120, check=False, capture_output=True
    )


@pytest.mark.parametrize("name", ["local", "lsf", "lsf-generic", "slurm"])
def test_the_bare_name_works_after_one_command(house, tmp_path, name):
    unknown = outside(house, tmp_path, sys.executable, "-m", "snakemake", "-n", "--profile", name)
    assert unknown.returncode == 1
    made = outside(house, tmp_path, sys.executable, "-m", "codebase", "profile", name)
    assert made.returncode == 0, made.stderr
    assert str(tmp_path / f".config/snakemake/{name}/config.yaml") in made.stdout
    done = outside(house, tmp_path, sys.executable, "-m", "snakemake", "-n", "--profile", name)
    assert done.returncode == 0, done.stderr
    assert "train_hmr" in done.stdout


# Stand in for container engines that are not here: Snakemake asks for their version alone in a dry run.
ENGINES = {"apptainer": "echo 'apptainer version 1.3.4'"}


def test_the_example_of_a_container_builds_the_dag(house, tmp_path):
    engines = tmp_path / "bin"
    engines.mkdir()
    for name, script in ENGINES.items():
        (engines / name).write_text(f"#!/bin/sh\n{script}\n")
        (engines / name).chmod(0o755)
    (house / "posemill.sif").touch()
    outside(house, tmp_path, sys.executable, "-m", "codebase", "profile", "slurm", str(SITES / "apptainer.yaml"))
    path = f"{engines}{os.pathsep}{os.environ['PATH']}"
    done = outside(house, tmp_path, sys.executable, "-m", "snakemake", "-n", "--profile", "slurm", PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr


LINES = {
    "lsf": ("lsf", None),
    "lsf-gpu-model": ("lsf", "lsf10.yaml"),
    "lsf-old": ("lsf", "lsf-old.yaml"),
    "lsf-generic": ("lsf-generic", None),
    "lsf-generic-old": ("lsf-generic", "lsf-old.yaml"),
    "slurm": ("slurm", "slurm.yaml"),
    "slurm-gres": ("slurm", "slurm-gres.yaml"),
    "slurm-modules": ("slurm", "modules.yaml"),
    "slurm-nodes": ("slurm", "modules.yaml"),
    "slurm-nodes-model": ("slurm", "slurm.yaml"),
    "lsf-sweep": ("lsf", None),
    "lsf-old-sweep": ("lsf", "lsf-old.yaml"),
    "lsf-generic-sweep": ("lsf-generic", None),
    "slurm-sweep": ("slurm", "slurm.yaml"),
    "slurm-gres-sweep": ("slurm", "slurm-gres.yaml"),
}
# of the real Human3.6M with a label sweep: rules that the miniature's DAG does not have
SWEEP = [
    "labels={representations: [embedding, fine_tuned, old], amounts: [S1, all], seeds: [0], subjects: [1, 5]}",
    "rivals={old: {enc_dec: {steps: 7}}}",
    "image_pose={gpus: 2}",
    "enc_dec={gpus: 4}",
]


def readable(call, house):
    """A call as one line, without what differs from run to run; the command that the job runs is the last word."""
    line = (
        shlex.join([*call[:-1], "COMMAND"])
        if not call[-1].startswith("--wrap")
        else shlex.join([*call[:-1], "--wrap=COMMAND"])
    )
    line = line.replace(str(house), "HOUSE")
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", line)


@pytest.mark.parametrize("name", LINES)
def test_what_each_rule_is_submitted_with(house, tmp_path, name):
    profile, site = LINES[name]
    argv = [profile] if site is None else [profile, str(SITES / site)]
    made = outside(house, tmp_path, sys.executable, "-m", "codebase", "profile", *argv)
    assert made.returncode == 0, made.stderr
    notes = tmp_path / "notes"
    script = [sys.executable, str(REPOSITORY / "tests/cluster/submissions.py"), str(notes), "--profile", profile]
    wanted = ["hmr={gpus: 2, nodes: 2}"] if "nodes" in name else ["hmr={gpus: 2}"]
    config, wanted = ("h36m", SWEEP) if "sweep" in name else ("mini", wanted)
    (house / "data/human36m").mkdir(parents=True)
    done = outside(house, tmp_path, *script, "--configfile", f"configs/{config}.yaml", "--config", *wanted)
    assert notes.is_file(), done.stdout + done.stderr
    calls = [readable(call, house) for call in map(eval, notes.read_text().splitlines())]
    same_as_snapshot(f"submit-{name}", "\n".join(calls) + "\n")


@pytest.mark.parametrize("name", [name for name in LINES if f"{name}-sweep" in LINES])
def test_the_lines_of_a_profile_are_those_of_all_rules(name):
    """A new rule without a line here is one that nobody has seen submitted."""
    lines = "".join((SNAPSHOTS / f"submit-{kind}.txt").read_text() for kind in (name, f"{name}-sweep"))
    text = "\n".join(path.read_text() for path in RULES.glob("*.smk"))
    rules = re.findall(r"^ *(?:rule|use rule \w+ as) (\w+)", text, flags=re.MULTILINE)
    assert set(re.findall(r"HOUSE/.snakemake/\w+_logs/rule_(\w+)/", lines)) == set(rules)


def bare_path(tmp_path, *without):
    """A PATH on which everything is but the schedulers' commands."""
    folder = tmp_path / "path"
    folder.mkdir()
    for place in ("/bin", "/usr/bin"):
        for tool in os.listdir(place):
            if tool not in without and not (folder / tool).exists():
                (folder / tool).symlink_to(f"{place}/{tool}")
    return str(folder)


@pytest.mark.parametrize(
    ("profile", "missing", "instead"),
    [
        ("slurm", "no sbatch", "--profile lsf"),
        ("lsf", "no bsub", "--profile slurm"),
        ("lsf-generic", "no bsub", "--profile slurm"),
    ],
)
def test_without_its_scheduler_a_profile_is_one_message_before_any_job(house, tmp_path, profile, missing, instead):
    path = bare_path(tmp_path, "sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "bsub", "bjobs", "bkill")
    argv = [sys.executable, "-m", "snakemake", "--profile", f"cluster_profiles/{profile}"]
    done = outside(house, tmp_path, *argv, PATH=path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert missing in done.stderr
    assert instead in done.stderr
    assert "--profile cluster_profiles/local" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((house / "results/mini").glob("logs/*/*"))


def test_lsf_without_badmin_names_the_other_profile(house, tmp_path):
    argv = [sys.executable, "-m", "snakemake", "--profile", "cluster_profiles/lsf"]
    done = outside(house, tmp_path, *argv, LSF_FACADE_NO_BADMIN="1")
    assert done.returncode == 2
    assert "use --profile lsf-generic" in done.stderr
    assert "User permission denied" in done.stderr
    assert shutil.which("bsub", path=str(FACADE))


@pytest.mark.parametrize("name", ["lsf", "lsf-generic"])
def test_an_unknown_queue_is_said_in_lsf_s_words_with_a_hint(house, tmp_path, name):
    site = tmp_path / "site.yaml"
    site.write_text("default-resources: {lsf_queue: gpuu}\nretries: 0\n")
    outside(house, tmp_path, sys.executable, "-m", "codebase", "profile", name, str(site))
    done = outside(house, tmp_path, sys.executable, "-m", "snakemake", "--profile", name)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "gpuu: No such queue. Job not submitted." in done.stderr
    assert "lsf_queue" in done.stderr.partition("to mend")[2]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("sbatch: error: invalid partition specified: gpuu", "slurm_partition"),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination",
            "slurm_account",
        ),
        ("The given account nobodys appears to be invalid. Available accounts:", "slurm_account"),
        ("Bad resource requirement syntax: rusage[ngpus_excl_p=1]. Job not submitted.", "gpu"),
        (
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            "gpu, or less mem_mb",
        ),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid", "runtime"),
    ],
)
def test_a_refusal_says_what_to_change(said, change):
    hint = refusal_hint(f"[date]\n    message: {said}\nmore\n")
    assert hint.startswith(f"The scheduler refused a job: message: {said}")
    assert f"change {change}" in hint
    assert refusal_hint("Job 3 has been submitted with LSF jobid 41\n") == ""
