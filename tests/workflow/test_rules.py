"""The shape of the rules: each file says its contract, each rule is a sentence and a command."""

import re

import pytest
import yaml
from conftest import REPOSITORY

FILES = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))
ORDER = [
    "common", "inputs", "events", "dataset", "representation", "pose", "sweep", "labels", "body", "predict", "check",
]  # fmt: skip


def rules(text):
    """Name and text of each rule of a file; one that uses another's text has that text too, behind its own."""
    parts = re.split(r"^ *(?:rule|use rule (\w+) as) (\w+)(?: with)?:\n", text, flags=re.MULTILINE)[1:]
    found = {}
    for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        found[name] = body + (found[base] if base else "")
    return found


RULES = {name: body for file in FILES for name, body in rules(file.read_text()).items()}
SWEEP = set(rules((REPOSITORY / "workflow/rules/labels.smk").read_text()))


def test_files_are_included_in_running_order():
    text = (REPOSITORY / "workflow/Snakefile").read_text()
    assert re.findall(r'^ *include: "rules/(\w+)\.smk"', text, flags=re.MULTILINE) == ORDER
    assert {file.stem for file in FILES} == set(ORDER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_opens_with_its_contract(file):
    docstring = re.match(r'"""(.+?)"""', file.read_text(), flags=re.DOTALL)
    assert docstring, f"{file} has no docstring"
    assert {"INPUTS:", "OUTPUTS:"} <= set(docstring[1].split())


@pytest.mark.parametrize("name", ["common", "inputs", "events", "sweep"])
def test_helpers_stand_apart_from_rules(name):
    text = (REPOSITORY / f"workflow/rules/{name}.smk").read_text()
    assert not rules(text)
    assert "No rules here." in text[: text.index('"""', 3)]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_a_sentence_and_a_command(name):
    body = RULES[name]
    # a check is due only when its files are: see check.smk
    versioned = not name.startswith("check_")
    for directive in ("message", "input", "output", "log", "resources", "conda", "shell", *["params"] * versioned):
        assert re.search(rf"^ +{directive}:", body, flags=re.MULTILINE), f"{name} has no {directive}"
    assert re.search(r'message:\s+"[A-Z].*\."', body), f"the message of {name} is no sentence"
    assert re.search(r'shell:\s+"python -m codebase [a-z-]+ --config \{input\.config:q\}', body)
    assert "2> {log:q}" in body
    assert ("version=stage_version(" in body) == versioned
    assert not re.search(r"\blambda\b|^ +(script|run|retries):", body, flags=re.MULTILINE)


@pytest.mark.parametrize("profile", ["local", "lsf", "lsf-generic", "slurm"])
def test_a_profile_reruns_exactly_and_retries_where_jobs_have_walls(profile):
    settings = yaml.safe_load((REPOSITORY / f"cluster_profiles/{profile}/config.yaml").read_text())
    assert settings["rerun-triggers"] == ["mtime", "params", "input"]
    assert settings["retries"] >= (3 if profile != "local" else 0)
    wanted = settings["set-resources"]
    assert set(wanted) == set(RULES), "a profile says the resources of every rule, and of no other"
    assert all({"mem_mb", "runtime"} <= set(wants) for wants in wanted.values())
    if profile == "local":
        return
    gpus = {name: re.search(r"^ +gpu=(1|gpus\(\"(\w+)\"\)),", body, flags=re.MULTILINE) for name, body in RULES.items()}
    asked = {name: f"$GPUS_{found[2].upper()}" if found[2] else 1 for name, found in gpus.items() if found}
    found = {name: wants["gpu"] for name, wants in wanted.items() if "gpu" in wants}
    if profile == "slurm":
        for name, count in asked.items():
            nodes = count.replace("GPUS", "NODES") if isinstance(count, str) else 1
            assert wanted[name]["nodes"] == nodes
            assert found[name] == (f"{count} if {nodes} == 1 else 0" if isinstance(count, str) else 1)
            gres = f"'gpu:{count}' if {nodes} > 1 else ''" if isinstance(count, str) else None
            assert wanted[name].get("gres") == gres
    else:
        assert found == asked
    if profile != "slurm":
        assert {name: wants["lsf_extra"] for name, wants in wanted.items() if "lsf_extra" in wants} == {
            name: f"'-gpu num={count}'" for name, count in asked.items()
        }


@pytest.mark.parametrize("profile", ["local", "lsf", "lsf-generic", "slurm"])
def test_memory_and_minutes_of_a_profile_are_at_least_those_of_the_rules(profile):
    wanted = yaml.safe_load((REPOSITORY / f"cluster_profiles/{profile}/config.yaml").read_text())["set-resources"]
    for name, body in RULES.items():
        rule_mb = int(re.search(r"mem_mb=memory\((\d+)\)", body)[1])
        profile_mb = eval(str(wanted[name]["mem_mb"]), {"attempt": 1, "min": min})
        assert profile_mb >= rule_mb, name
        assert wanted[name]["runtime"] >= int(re.search(r"runtime=(\d+)", body)[1]), name
    if profile != "local":
        grown = [eval(wanted["train_hmr"]["mem_mb"], {"attempt": attempt, "min": min}) for attempt in range(1, 7)]
        assert grown == [16000, 32000, 48000, 48000, 48000, 48000]


def test_the_picture_shows_every_rule():
    drawn = set(re.findall(r">(\w+)</text>", (REPOSITORY / "docs/dag.svg").read_text()))
    # the picture is the default config's, which renders its frames and sweeps no labels
    assert drawn == {*RULES, "all"} - {"extract"} - SWEEP, "the DAG changed: run `make dag`"


def test_the_conda_environment_has_the_pins_of_the_other():
    pins = [line.strip() for line in (REPOSITORY / "envs/cpu.txt").read_text().splitlines() if "==" in line]
    conda = yaml.safe_load((REPOSITORY / "envs/codebase.yaml").read_text())
    assert conda["dependencies"][-1]["pip"] == [pin for pin in pins if not pin.startswith("#")]
