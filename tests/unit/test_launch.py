"""From the words of `launch` to jobs; what is said when something is wrong; signals and exit codes of runs here."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import REPOSITORY, run_in

from codebase.cli import COMMANDS, build_parser, main
from codebase.errors import ConfigError, DataError, UserError
from codebase.launch import local, plan, submit
from codebase.launch.main import launch
from codebase.launch.site import gpu_of_site
from codebase.launch.sweep import point_name, read_sweep, split_values, table


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("POSEMILL_SITE", raising=False)


STAGES = {name: stage.trains for name, stage in COMMANDS.items()}


def options(*words):
    return build_parser().parse_args(["launch", *words])


def commands(*words):
    """The commands that would run inside the jobs."""
    return plan.plan_jobs(options(*words), STAGES).job.commands


def tool(folder, name, script):
    """A command for PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Write commands onto a PATH that has nothing of a scheduler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cat", "sh", "bash", "sort", "echo"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    return lambda name, script: tool(folder, name, script)


def test_overrides_become_a_config_that_snakemake_reads_alike():
    argv = plan.dag_argv(REPOSITORY / "c.yaml", ["pose.steps=10", "pose.seed=2", "name=a b"], cores=2, gpus=1)
    at = argv.index("--config")
    given = dict(word.split("=", 1) for word in argv[at + 1 : at + 3])
    assert {key: yaml.safe_load(value) for key, value in given.items()} == {
        "pose": {"steps": 10, "seed": 2},
        "name": "a b",
    }
    assert argv[at + 3 :] == ("--cores", "2", "--resources", "gpu=1")


def test_dry_run_prints_and_submits_nothing(tools, capsys):
    for via in ("bsub", "sbatch", "submitit", "local"):
        assert main(["launch", "--via", via, "--dry-run", "configs/small.yaml", "name=other"]) == 0
        assert "configs/small.yaml" in capsys.readouterr().out
    assert not (REPOSITORY / "results/other").exists()


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


def test_an_own_time_budget_stays():
    words = ("train-prior", "--config", "c.yaml", "--time-budget", "5m")
    (argv,) = commands("--via", "bsub", "--", *words)
    assert argv[argv.index("--") + 1 :] == words


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
        (["--sweep", "pose.seed=0,1", "--", "train-pose"], "neither swept"),
        (["--sweep", "pose.seed", "--", "configs/mini.yaml"], "no such|not understood|does not exist"),
        (["--sweep", "pose.seed=", "--", "configs/mini.yaml"], "not understood"),
        (["--sweep", "name=a,b", "--", "configs/mini.yaml"], "not understood"),
        (["--sweep", "pose.seed=0", "pose.seed=1", "--", "configs/mini.yaml"], "not understood"),
        (["--sweep", "pose.sed=0,1", "--", "configs/mini.yaml"], "did you mean 'seed'"),
        (["--sweep", "pose.steps=5,many", "--", "configs/mini.yaml"], "pose.steps"),
        (["configs/none.yaml"], "does not exist"),
        (["configs/mini.yaml", "pose.step=1"], "did you mean 'steps'"),
        (["--collect"], "the folder of one sweep"),
        (["--gpu-syntax", "rusage", "configs/mini.yaml"], "no way in which sbatch"),
        (["--site", "none.yaml", "configs/mini.yaml"], "site file cannot be read"),
    ],
)
def test_wrong_words(words, what, tools):
    with pytest.raises(UserError, match=what):
        launch(options("--via", "sbatch", "--dry-run", *words), STAGES)


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


# --- sweeps


def test_values_are_split_outside_of_brackets():
    assert split_values("0,1, 2") == ["0", "1", "2"]
    assert split_values("[1],[1,5],{a: [2,3]}") == ["[1]", "[1,5]", "{a: [2,3]}"]
    assert split_values("a,,a") == ["a"]


def test_every_combination_has_a_name_of_its_own_and_shares_the_data():
    found = read_sweep(REPOSITORY / "configs/mini.yaml", [], ["enc_dec.seed=0,1,2", "pose.label_subjects=[1],[1,5]"])
    assert [point.values["enc_dec.seed"] for point in found.points] == ["0", "0", "1", "1", "2", "2"]
    assert len({point.name for point in found.points}) == len({point.root for point in found.points}) == 6
    assert found.points[1].name == "mini-enc_dec.seed-0-pose.label_subjects-1_5"
    assert all("data_from=results/mini" in point.overrides for point in found.points)


def test_values_that_look_alike_in_a_name_do_not_collide():
    words = ["pose.label_subjects=[1,5],[5,1],[1, 5]", "pose.dropout=0.1,0.10"]
    names = [point.name for point in read_sweep(REPOSITORY / "configs/mini.yaml", [], words).points]
    assert len(set(names)) == 6


def test_a_sweep_of_the_data_shares_none():
    found = read_sweep(REPOSITORY / "configs/mini.yaml", [], ["crops.size=32,64"])
    assert (found.data, found.needs_data) == (None, False)
    assert not any("data_from" in word for point in found.points for word in point.overrides)


def test_long_names_become_digests():
    name = point_name("mini", {"enc_dec.encoder_widths": "[" + "64," * 60 + "64]"})
    assert name.startswith("mini-")
    assert len(name) < 20


def test_the_table_of_a_sweep(tmp_path):
    done, not_done = tmp_path / "a", tmp_path / "b"
    done.mkdir()
    (done / "metrics.json").write_text('{"pose/mpjpe_mm": 61.23456, "other": 2}')
    points = [
        {"name": run.name, "root": str(run), "values": {"pose.seed": seed}, "job": ""}
        for run, seed in ((done, "0"), (not_done, "1"))
    ]
    (tmp_path / "sweep.json").write_text(json.dumps({"points": points}))
    header, rows = table(tmp_path)
    assert header == ["run", "pose.seed", "pose/mpjpe_mm"]
    assert rows == [["a", "0", "61.23"], ["b", "1", "-"]]
    assert local.table_text(header, rows).splitlines()[1] == "a            0          61.23"
    with pytest.raises(DataError, match="This is no sweep"):
        table(tmp_path / "nothing")


# --- submitting


@pytest.mark.parametrize("via", ["bsub", "sbatch"])
def test_without_a_scheduler_it_says_what_to_do(via, tools):
    with pytest.raises(UserError, match=f"There is no {via} on PATH") as error:
        submit.submit(via, "script")
    assert "bash train.sh local" in error.value.mend


def test_it_names_the_scheduler_that_is_there(tools):
    tools("bsub", "cat")
    with pytest.raises(UserError) as error:
        submit.submit("sbatch", "script")
    assert error.value.mend.startswith("use bsub, which is here")


def test_submitit_without_slurm(tools, tmp_path):
    with pytest.raises(UserError, match="submitit finds no Slurm here"):
        launch(options("--via", "submitit", "configs/mini.yaml", f"results={tmp_path}"), STAGES)


def test_an_unknown_queue_brings_the_list_of_queues(tools):
    tools("sbatch", "cat > /dev/null; echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1")
    tools("sinfo", "echo 'gpu*'; echo urgent")
    with pytest.raises(UserError, match="invalid partition specified: nowhere") as error:
        submit.submit("sbatch", "#!/bin/sh\n")
    assert "gpu*\n" in error.value.expected + "\n"
    assert "urgent" in error.value.expected
    tools("bsub", "cat > /dev/null; echo 'nowhere: No such queue. Job not submitted.' >&2; exit 255")
    tools("bqueues", "echo QUEUE_NAME; echo gpu.24h")
    with pytest.raises(UserError, match="No such queue") as error:
        submit.submit("bsub", "#!/bin/sh\n")
    assert "gpu.24h" in error.value.expected


def test_a_refusal_without_a_list_still_repeats_what_was_said(tools):
    tools("sbatch", "cat > /dev/null; echo 'Batch job submission failed: something new' >&2; exit 1")
    with pytest.raises(UserError, match="something new"):
        submit.submit("sbatch", "#!/bin/sh\n")


def test_the_id_is_read_and_the_script_arrives(tools, tmp_path):
    tools("sbatch", f"cat > {tmp_path}/got; echo '4711;cluster'")
    assert submit.submit("sbatch", "#!/bin/sh\necho x\n") == "4711"
    assert (tmp_path / "got").read_text() == "#!/bin/sh\necho x\n"
    tools("bsub", "cat > /dev/null; echo 'Job <12> is submitted to queue <normal>.'")
    assert submit.submit("bsub", "x") == "12"


def sweep_words(tmp_path):
    return options(
        "--via", "sbatch", "--sweep", "pose.seed=0,1", "--", "configs/mini.yaml", f"results={tmp_path / 'r'}"
    )


def test_a_failed_second_submission_cancels_the_first(tools, tmp_path, capsys):
    tools(
        "sbatch",
        f"cat > /dev/null; [ -e {tmp_path}/one ] && {{ echo 'no more' >&2; exit 1; }}; : > {tmp_path}/one; echo 31",
    )
    tools("scancel", f'echo "$@" > {tmp_path}/cancelled')
    with pytest.raises(UserError, match=r"no more[^$]*what was submitted before \(31\) is cancelled"):
        launch(sweep_words(tmp_path), STAGES)
    assert (tmp_path / "cancelled").read_text() == "31\n"


def test_what_cannot_be_cancelled_is_listed(tools, tmp_path):
    tools("sbatch", f"cat > /dev/null; [ -e {tmp_path}/one ] && exit 1; : > {tmp_path}/one; echo 31")
    tools("scancel", "exit 1")
    with pytest.raises(UserError, match=r"still there: 31; cancel with `scancel 31`"):
        launch(sweep_words(tmp_path), STAGES)


def test_a_sweep_is_two_submissions_and_a_manifest(tools, tmp_path, capsys):
    tools(
        "sbatch",
        f"cat >> {tmp_path}/scripts; [ -e {tmp_path}/one ] && {{ echo 32; exit; }}; : > {tmp_path}/one; echo 31",
    )
    assert launch(sweep_words(tmp_path), STAGES) == 0
    scripts = (tmp_path / "scripts").read_text()
    assert "--until data" in scripts.partition("--array=0-1")[0]
    assert "#SBATCH --dependency=afterok:31\n" in scripts
    (manifest,) = (tmp_path / "r/sweeps").glob("*/sweep.json")
    assert [point["job"] for point in json.loads(manifest.read_text())["points"]] == ["32_0", "32_1"]
    assert "to cancel: scancel 32\n" in capsys.readouterr().out


def test_a_full_disk_while_submitting(tmp_path):
    """/dev/full is a file to which nothing can be written; a folder cannot be made in it either."""
    from codebase.launch.main import _cannot_write

    with pytest.raises(OSError, match="No space left") as full, open("/dev/full", "w") as handle:
        handle.write("x" * 100_000)
    said = str(_cannot_write(full.value, tmp_path))
    assert "the disk is full" in said
    assert "results=/scratch" in said


# --- sites


def test_one_site_file_serves_launch_too(tmp_path, capsys):
    site = tmp_path / "site.yaml"
    site.write_text(
        "default-resources: {lsf_queue: gpu.24h, lsf_project: \"'es_ml'\", slurm_partition: a100}\n"
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


def test_gpu_of_a_slurm_site():
    assert gpu_of_site({"gres": "gpu:a100:{gpus}"}, "sbatch") == {"gpu_syntax": "gres", "gpu_model": "a100"}
    assert gpu_of_site({"gres": "gpu:{gpus}"}, "sbatch") == {"gpu_syntax": "gres"}
    assert gpu_of_site({"gpu_model": "v100"}, "sbatch") == {"gpu_model": "v100"}


# --- running here


def test_failed_jobs_are_collected_from_what_snakemake_says(capfd):
    said = "Error in rule index:\n    log: results/a/logs/index.log (check log file(s) for error details)\n"
    argv = [sys.executable, "-c", f"import sys; sys.stderr.write({said!r}); sys.exit(1)"]
    code, logs, idle = local.follow(argv, os.environ)
    assert (code, [str(log) for log in logs], idle) == (1, ["results/a/logs/index.log"], False)
    assert capfd.readouterr().err == said, "what Snakemake says must reach the user"


def test_nothing_to_do_is_said():
    argv = [sys.executable, "-c", "import sys; sys.stderr.write('Nothing to be done (all files are present).\\n')"]
    assert local.follow(argv, os.environ) == (0, [], True)


TELLS = "import signal, sys, time; signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75));"
TELLS += "print('ready', flush=True); time.sleep(60)"


def start_recorded(tmp_path, code, *more, environment=None):
    """What `launch --in-job` does, around a command of the test's."""
    script = (
        "import sys; from codebase.launch import local; from codebase.launch.record import run_recorded;"
        "from pathlib import Path;"
        f"run = lambda: local.run_command([sys.executable, '-c', {code!r}]);"
        f"sys.exit(run_recorded(Path({str(tmp_path)!r}), 3, run))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=os.environ | (environment or {}), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code", "expected"), [(signal.SIGUSR2, TELLS, 75), (signal.SIGTERM, TELLS.replace("USR2", "TERM"), 143)]
)
def test_signals_reach_the_command_and_the_record_says_how_it_ended(number, code, expected, tmp_path):
    process = start_recorded(tmp_path, code)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(timeout=30) == expected
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("job-*.json"))
    assert (record["code"], record["again"]) == (expected, expected == 75)


@pytest.mark.parametrize(("attempt", "asks"), [("0", True), ("2", True), ("3", False)])
def test_a_job_of_slurm_that_is_out_of_time_asks_for_its_requeue(attempt, asks, tmp_path):
    tool(tmp_path, "scontrol", f'echo "$@" > {tmp_path}/asked')
    environment = {"SLURM_JOB_ID": "8", "SLURM_RESTART_COUNT": attempt, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = start_recorded(tmp_path, "import sys; sys.exit(75)", environment=environment)
    assert process.wait(timeout=30) == 75
    assert (tmp_path / "asked").is_file() == asks
    if asks:
        assert (tmp_path / "asked").read_text() == "requeue 8\n"


def test_a_cancelled_job_does_not_come_back(tmp_path):
    """scancel sends SIGTERM; the stage saves and leaves with 75, and nobody must requeue it."""
    tool(tmp_path, "scontrol", f'echo "$@" > {tmp_path}/asked')
    code = TELLS.replace("USR2", "TERM")
    environment = {"SLURM_JOB_ID": "8", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = start_recorded(tmp_path, code, environment=environment)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.wait(timeout=30) == 143
    assert not (tmp_path / "asked").exists()


def test_time_is_over_before_the_scheduler_says_so(monkeypatch):
    """The budget of a whole DAG: training stages get the signal, Snakemake starts nothing more."""
    code = "import time; time.sleep(60)"
    start = time.monotonic()
    got, _, _ = local.follow([sys.executable, "-c", code], os.environ, time_budget=1.0)
    assert got == 75
    assert time.monotonic() - start < 30


def test_submitit_on_this_machine_runs_again_after_75(tmp_path):
    """submitit's own local executor: only a list of strings is pickled, 75 means again, the limit holds."""
    pytest.importorskip("submitit")
    from codebase.launch.job import Job
    from codebase.launch.submitit_ import submit_submitit

    count = f"import pathlib, sys; p = pathlib.Path({str(tmp_path / 'count')!r});"
    count += "n = len(p.read_text()) if p.exists() else 0; p.write_text('x' * (n + 1)); sys.exit(0 if n == 2 else 75)"
    job = Job(((sys.executable, "-c", count),), name="t", log="", gpus=0, minutes=5)
    submit_submitit(job, tmp_path / "s", requeues=5, executor="local")
    deadline = time.monotonic() + 60
    while not (results := list((tmp_path / "s").glob("*_result.pkl"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert results, [path.read_text() for path in (tmp_path / "s").glob("*.out")]
    assert (tmp_path / "count").read_text() == "xxx"
    (pickled,) = (path.read_bytes() for path in (tmp_path / "s").glob("*_submitted.pkl"))
    assert b"codebase.launch.carried" in pickled
    assert sum(pickled.count(word) for word in (b"codebase.config", b"pydantic", b"Job")) == 0


def test_train_sh_passes_words_on():
    words = ["--no-venv", "--queue", "local", "--wait", "configs/mini.yaml", "pose.steps=3", "--dry-run"]
    done = subprocess.run(
        ["bash", "train.sh", "sbatch", *words],
        cwd=REPOSITORY, env=os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --partition=local\n" in done.stdout
    assert done.stdout.rstrip().endswith("configs/mini.yaml pose.steps=3")


def test_the_sources_of_shared_data_are_checked(tmp_path):
    """`data_from` with other data, and with none."""
    words = ["check-config", "configs/mini.yaml"]
    assert run_in(REPOSITORY, "codebase", *words, "data_from=results/none").returncode == 0
    from codebase.config import read_config, to_yaml
    from codebase.paths import Paths
    from codebase.shared_data import MARKERS, has_same_data, require_same_data

    base = read_config(REPOSITORY / "configs/mini.yaml", [f"results={tmp_path}"])
    with pytest.raises(DataError, match=r"config\.yaml is missing"):
        require_same_data(base, tmp_path / "mini")
    (tmp_path / "mini/checks").mkdir(parents=True)
    (tmp_path / "mini/config.yaml").write_text(to_yaml(base))
    with pytest.raises(DataError, match=r"index_train\.json is missing"):
        require_same_data(base, tmp_path / "mini")
    for path in (path for name in MARKERS for path in Paths(base).markers(name)):
        path.write_text("{}")
    assert has_same_data(base, tmp_path / "mini")
    other = read_config(REPOSITORY / "configs/mini.yaml", [f"results={tmp_path}", "crops.size=32"])
    with pytest.raises(ConfigError, match="crops would be made"):
        require_same_data(other, tmp_path / "mini")
