"""The command line: a frozen surface that equals the stages' signatures, exit codes, threads."""

import argparse
import ast
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY, run_in

from codebase import cli
from codebase.errors import DataError, OutOfTimeError

STAGES = sorted(path.stem for path in (REPOSITORY / "codebase/stages").glob("[a-z]*.py"))

# Frozen: rules, scripts and people's shell histories call exactly this.
SURFACE = {
    "synthesize": "--subject --output",
    "extract": "--subject --output",
    "backgrounds": "--subject --output",
    "index": "--output-train --output-val --output-test",
    "crops": "--subject --index --background --output",
    "train-enc-dec": "--index-train --index-val --crops --output --time-budget",
    "embed": "--checkpoint --crops --output",
    "train-pose": "--index-train --index-val --embeddings --output --time-budget",
    "train-image-pose": "--index-train --index-val --crops --enc-dec --output --time-budget",
    "measure-labels": "--representation --index-test --crops --embeddings --checkpoints --output",
    "label-sweep": "--measured --output --picture",
    "train-prior": "--body --output --time-budget",
    "fit-bodies": "--subject --index --body --every --output",
    "train-smpl": "--index-train --index-val --embeddings --crops --prior --body --output --time-budget",
    "train-hmr": "--index-train --index-val --crops --bodies --body --prior --enc-dec --output --time-budget",
    "predict": "--index-test --crops --embeddings --enc-dec --pose --smpl --hmr --body --output --csv --meshes",
    "evaluate": "--predictions --bodies --fitted --body --crops --prior --enc-dec --embeddings --pose --labels"
    " --output",
    "report": "--metrics --predictions --index-test --checkpoints --body --labels --output",
    "check": "--what --files --against --output",
    "check-config": "",
    "check-data": "--masks-root --sheets --workers --config --json",
    "schema": "--write",
    "launch": "--via --dry-run --cores --minutes --mem-mb --gpus --gpu-model --nodes --queue --account --gpu-syntax"
    " --mem-per --setup --site --log --sweep --max-running --collect --wait --requeues --executor --until"
    " --time-budget --in-job --nolock",
    "status": "--json --watch --results",
    "profile": "--print",
    "body": "",
    "novel-view": "--at --axis --elevation --through-cameras --frames --background --appearance-of --checkpoint"
    " --output --strip",
    "course-tree": "--config --output --blind",
    "train": "--model_file",
    "test": "--model_file",
}


def subcommands():
    (action,) = (a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return action.choices


def test_the_surface_is_frozen():
    found = {
        name: {option for action in parser._actions for option in action.option_strings}
        for name, parser in subcommands().items()
    }
    common = {"-h", "--help", "--traceback"}
    expected = {name: set(options.split()) for name, options in SURFACE.items()}
    stages = {stage.replace("_", "-") for stage in cli.COMMANDS}
    every = {
        n: o | common | ({"--config"} if n in stages else set()) | ({"--set"} if n.startswith("train-") else set())
        for n, o in expected.items()
    }
    assert found == every | {"body": {"-h", "--help"}}  # its tools have options, see below


def test_the_surface_of_the_body_tools_is_frozen():
    (tools,) = (a for a in subcommands()["body"]._actions if isinstance(a, argparse._SubParsersAction))
    found = {
        name: [action.option_strings[0] if action.option_strings else action.dest for action in parser._actions]
        for name, parser in tools.choices.items()
    }
    assert found == {
        "info": ["-h", "file", "--traceback"],
        "convert": ["-h", "file", "output", "--traceback"],
        "view": ["-h", "file", "output", "--betas", "--pose", "--body", "--head", "--at", "--traceback"],
    }


def test_every_stage_has_a_subcommand():
    assert set(STAGES) == set(cli.COMMANDS)


@pytest.mark.parametrize("stage", STAGES)
def test_options_are_the_parameters_of_the_stage(stage):
    tree = ast.parse((REPOSITORY / f"codebase/stages/{stage}.py").read_text(encoding="utf-8"))
    (run,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    command = cli.COMMANDS[stage]
    expected = [*command.options, *(["budget_s"] if command.trains else [])]
    assert [argument.arg for argument in run.args.args] == ["config"]
    assert sorted(argument.arg for argument in run.args.kwonlyargs) == sorted(expected)
    for argument in run.args.kwonlyargs:
        is_list = "list" in ast.unparse(argument.annotation) or "Sequence" in ast.unparse(argument.annotation)
        assert is_list == (argument.arg in command.lists), f"{stage}: --{argument.arg}"


@pytest.fixture
def stage(monkeypatch):
    """Put a function in the place of the stage `evaluate`; returns a caller of its command line."""

    def call(run, *more):
        real = cli.importlib.import_module
        stand_in = {"codebase.stages.evaluate": SimpleNamespace(run=run)}
        monkeypatch.setattr(
            cli.importlib,
            "import_module",
            lambda name, *more, **named: stand_in.get(name) or real(name, *more, **named),
        )
        config = str(REPOSITORY / "configs/mini.yaml")
        return cli.main(
            ["evaluate", "--config", config, "--predictions", "p", "--bodies", "--body", "b", "--output", "o", *more]
        )

    return call


def raiser(error):
    def run(config, **paths):
        raise error

    return run


def test_a_stage_gets_its_paths_and_the_config(stage):
    got = {}
    assert stage(lambda config, **paths: got.update(paths, name=config.name)) == 0
    assert got["name"] == "mini"
    assert got["bodies"] == []
    assert str(got["predictions"]) == "p"


def test_a_user_error_is_one_message_and_exit_code_2(stage, capsys):
    assert stage(raiser(DataError("It is broken.", where="a.h5", mend="delete it"))) == 2
    said = capsys.readouterr().err
    assert "error: It is broken.\n  where:    a.h5\n  to mend:  delete it\n" in said
    assert "Traceback" not in said


def test_a_traceback_can_be_asked_for(stage):
    with pytest.raises(DataError):
        stage(raiser(DataError("It is broken.")), "--traceback")


def test_out_of_time_is_75_and_an_interrupt_130(stage):
    assert stage(raiser(OutOfTimeError("step 7"))) == 75
    assert stage(raiser(KeyboardInterrupt())) == 130


def test_a_fault_of_ours_keeps_its_traceback(stage):
    with pytest.raises(ZeroDivisionError):
        stage(raiser(ZeroDivisionError()))


@pytest.mark.parametrize(("text", "expected"), [("240m", 14400), ("90", 90), ("90s", 90), ("0.5m", 30)])
def test_durations(text, expected):
    assert cli.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-3", "0", "3h4", "nan"])
def test_wrong_durations(text):
    with pytest.raises(argparse.ArgumentTypeError):
        cli.seconds(text)


def test_the_budget_leaves_time_to_start_and_to_save():
    assert cli.budget(14400.0) == 14280
    assert cli.budget(600.0) == 540
    assert cli.budget(60.0) == 40
    assert cli.budget(1.5) == 1.0


def test_threads_are_bounded_unless_the_environment_does(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    cli.limit_threads(3)
    assert os.environ["OMP_NUM_THREADS"] == os.environ["NUMBA_NUM_THREADS"] == "3"
    assert os.environ["MKL_NUM_THREADS"] == "5"
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_underscores_serve_as_dashes(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["train_pose", "--help"])
    assert left.value.code == 0
    assert "train-pose" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["no-such-stage"], ["embed"], []])
def test_wrong_usage_is_exit_code_2(words):
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 2


def test_help_imports_no_heavy_library():
    script = "import sys; from codebase.cli import build_parser; build_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "numba", "cv2", "h5py", "snakemake"}


def test_stages_that_need_no_network_start_without_torch():
    stages = "synthesize", "backgrounds", "index", "crops", "check"
    script = "".join(f"import codebase.stages.{stage}\n" for stage in stages) + "import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "smplx", "matplotlib"}


def test_check_config_by_process():
    assert run_in(REPOSITORY, "codebase", "check-config", "configs/mini.yaml").returncode == 0
    done = run_in(REPOSITORY, "codebase", "check-config", "configs/mini.yaml", "pose.step=3")
    assert done.returncode == 2
    assert "did you mean 'steps'?" in done.stderr


@pytest.mark.parametrize("script", ["train", "test"])
def test_shims_run_from_inside_the_package(script):
    words = ["--model_file", "model_1.pt"] if script == "test" else []
    done = subprocess.run(
        [sys.executable, f"{script}.py", "../configs/h36m.yaml", *words],
        cwd=REPOSITORY / "codebase", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    expected = (
        "The model file does not exist" if script == "test" else "missing, the first: results/h36m/index_train.h5"
    )
    assert expected in done.stderr


def test_only_the_shims_touch_sys_path():
    touching = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "codebase").rglob("*.py")
        if "sys.path" in path.read_text(encoding="utf-8")
    }
    assert touching == {"codebase/train.py", "codebase/test.py"}
