"""The shape of the rules: each file says its contract, each rule is a sentence and a command."""

import re

import pytest
import yaml
from conftest import REPOSITORY

FILES = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))
ORDER = ["common", "dataset", "representation", "pose", "body", "predict", "check"]


def rules(text):
    """Name and text of each rule of a file."""
    parts = re.split(r"^ *rule (\w+):\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


RULES = {name: body for file in FILES for name, body in rules(file.read_text()).items()}


def test_files_are_included_in_running_order():
    text = (REPOSITORY / "workflow/Snakefile").read_text()
    assert re.findall(r'^include: "rules/(\w+)\.smk"', text, flags=re.MULTILINE) == ORDER
    assert {file.stem for file in FILES} == set(ORDER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_opens_with_its_contract(file):
    docstring = re.match(r'"""(.+?)"""', file.read_text(), flags=re.DOTALL)
    assert docstring, f"{file} has no docstring"
    assert {"INPUTS:", "OUTPUTS:"} <= set(docstring[1].split())


def test_common_holds_no_rule():
    assert not rules((REPOSITORY / "workflow/rules/common.smk").read_text())


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_a_sentence_and_a_command(name):
    body = RULES[name]
    for directive in ("message", "input", "output", "log", "params", "resources", "conda", "shell"):
        assert re.search(rf"^ +{directive}:", body, flags=re.MULTILINE), f"{name} has no {directive}"
    assert re.search(r'message:\s+"[A-Z].*\."', body), f"the message of {name} is no sentence"
    assert re.search(r'shell:\s+"python -m codebase [a-z-]+ --config \{input\.config:q\}', body)
    assert "2> {log:q}" in body
    assert "version=stage_version(" in body
    assert not re.search(r"\blambda\b|^ +(script|run|retries):", body, flags=re.MULTILINE)


@pytest.mark.parametrize("profile", ["local", "lsf", "slurm"])
def test_a_profile_reruns_exactly_and_retries_where_jobs_have_walls(profile):
    settings = yaml.safe_load((REPOSITORY / f"cluster_profiles/{profile}/config.yaml").read_text())
    assert settings["rerun-triggers"] == ["mtime", "params", "input"]
    assert settings["retries"] >= (3 if profile != "local" else 0)
    needs_gpu = {name for name, body in RULES.items() if "gpu=1" in body}
    asked = {name for name, wants in settings["set-resources"].items() if wants.get("gpu") == 1}
    if profile != "local":
        assert asked == needs_gpu
    if profile == "lsf":
        assert all(settings["set-resources"][name]["lsf_extra"] == "'-gpu num=1'" for name in needs_gpu)


def test_the_picture_shows_every_rule():
    drawn = set(re.findall(r">(\w+)</text>", (REPOSITORY / "docs/dag.svg").read_text()))
    # the picture is the default config's, which renders its frames
    assert drawn == {*RULES, "all"} - {"extract"}, "the DAG changed: run `make dag`"


def test_the_conda_environment_has_the_pins_of_the_other():
    pins = [line.strip() for line in (REPOSITORY / "envs/cpu.txt").read_text().splitlines() if "==" in line]
    conda = yaml.safe_load((REPOSITORY / "envs/codebase.yaml").read_text())
    assert conda["dependencies"][-1]["pip"] == [pin for pin in pins if not pin.startswith("#")]
