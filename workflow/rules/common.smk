"""What the rules share: the checked config, paths, digests, resources. No rules here.

INPUTS: the config (see workflow/Snakefile), the VERSION line of each file in codebase/stages/
OUTPUTS: {results}/{name}/config.yaml, the merged config, which every job reads, and {results}/{name}/rivals/{rival}.yaml, which a
         rival's jobs read in its place: here only where they are not there yet, otherwise by events.smk
"""

import ast
import os
import shutil
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from codebase.body_sources import where_to_get
from codebase.config import (
    Config,
    hmr_network,
    rival_config,
    split_digest,
    stage_digest,
    to_yaml,
    validate_config,
)
from codebase.errors import EXIT_USER_ERROR, DataError, UserError
from codebase.failures import disk_is_full
from codebase.paths import Paths
from codebase.provenance import weights_digest
from codebase.published import stage_weights
from codebase.schedulers import require_scheduler
from codebase.shared_data import require_same_data

ENVIRONMENT = "../../envs/codebase.yaml"
NETWORKS = ("enc_dec", "pose", "image_pose", "prior", "smpl", "hmr")


wildcard_constraints:
    subject=r"\d+",
    split="train|val|test",


def or_leave(function, *arguments):
    """Call, and on a user's error end the run here: its message, no traceback, exit code 2."""
    try:
        return function(*arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None


def checked_config():
    """The validated config; every wrong key is named."""
    return validate_config(
        Config, config, where=" + ".join(str(path) for path in workflow.configfiles)
    )


def require_files():
    """The files that no rule makes must be there, also for a dry run."""
    made = CONFIG.dataset.kind == "synthetic" or PATHS.extracts_bodies
    given = [] if made else body_files(SUBJECTS)
    for path, key in [
        (CONFIG.dataset.body, "dataset.body"),
        *((Path(path), "dataset.bodies") for path in given),
    ]:
        if not path.is_file():
            raise DataError(
                f"{key} leads to a file that does not exist.",
                where=path,
                mend=where_to_get(path) if key == "dataset.body" else f"correct {key}",
            )
    for stage in ("train_enc_dec", "train_hmr"):
        stage_weights(CONFIG, stage)
    hmr_network(CONFIG.hmr, CONFIG.enc_dec)


def require_tree():
    """The dataset tree must be there before a job starts; a dry run does not need it."""
    root = PATHS.dataset
    if CONFIG.dataset.kind == "tree" and not root.is_dir():
        raise DataError(
            "The folder of the dataset does not exist.",
            where=root,
            expected="folders such as s_01_act_02_subact_01_ca_01 in it",
            mend="correct dataset.root, or set dataset.kind to synthetic",
        )


def require_source():
    """What the tree is extracted from must be there before a job starts; a dry run does not need it."""
    wanted = {
        "extract.source": CONFIG.extract.source,
        "extract.metadata": CONFIG.extract.metadata,
        "extract.frames": CONFIG.extract.frames,
        "extract.masks_root": CONFIG.extract.masks_root,
        "extract.intrinsics": CONFIG.extract.intrinsics,
    }
    for key, path in wanted.items():
        if CONFIG.dataset.kind == "extract" and path and not path.exists():
            raise DataError(
                f"{key} leads to nothing.",
                where=path,
                expected="what docs/datasets.md says of this door",
                mend=f"correct {key}",
            )


@cache
def scheduler_at_hand():
    """Leave with a message where the profile's scheduler is not there."""
    settings = workflow.executor_settings
    or_leave(
        require_scheduler,
        workflow.executor_plugin.name,
        getattr(settings, "submit_cmd", None) or "",
    )


def run_config(wildcards):
    """The merged config. An input of every rule, so it is asked for while the DAG is built.

    That is when the executor is known and its plugin has not begun: LSF's dies of an IndexError where there is no badmin.
    """
    if workflow.executor_plugin is not None and workflow.is_main_process:
        scheduler_at_hand()
    return str(PATHS.run_config)


def write_config(path, merged):
    """Write a merged config for the jobs, if it changed."""
    text = to_yaml(merged)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        said = (
            disk_is_full(error, path) or f"The run's config cannot be written: {error}"
        )
        raise DataError(said) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def stage_version(stage):
    """The `VERSION = n` of a stage, read without importing the stage and its heavy libraries."""
    source = STAGES / f"{stage}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if (
            isinstance(node, (ast.Assign, ast.AnnAssign))
            and getattr(targets[0], "id", "") == "VERSION"
        ):
            return ast.literal_eval(node.value)
    raise WorkflowError(f"{source} has no line `VERSION = n`")


def section(stage):
    """Digest of the config sections that `stage` depends on, and of the published weights that they name.

    Editing another section does not re-run it.
    """
    return stage_digest(CONFIG, stage) + weights_digest(*stage_weights(CONFIG, stage))


def memory(megabytes):
    """`mem_mb` that grows with the attempts, so that a job killed for memory gets more.

    To three times as much at most: an attempt may also follow a time limit, and a job that no host can hold waits for ever.
    """

    def mem_mb(wildcards, attempt):
        return megabytes * min(attempt, 3)

    return mem_mb


def body_files(subjects):
    """Files of SMPL parameters of the subjects; none where the dataset has none."""
    return (
        [str(PATHS.bodies / f"S{subject}.h5") for subject in subjects]
        if PATHS.bodies
        else []
    )


def gpus(network):
    """The GPUs that training of a network asks for, on all its nodes together."""
    asked = getattr(CONFIG, network)
    return asked.gpus * asked.nodes


STAGES = Path(workflow.basedir) / "codebase" / "stages"
CONFIG = or_leave(checked_config)
PATHS = Paths(CONFIG)
SUBJECTS = CONFIG.split.subjects
TRAIN = tuple(sorted({*CONFIG.split.train.subjects, *CONFIG.split.val.subjects}))
TEST = CONFIG.split.test.subjects
RUN_CONFIG = ancient(run_config)
# the rivals of the label sweep: each has a config of its own, which its jobs read
RIVALS = {
    name: Paths(or_leave(rival_config, CONFIG, name))
    for name in CONFIG.labels.representations
    if name in CONFIG.rivals
}
CONFIGS = {PATHS.run_config: CONFIG} | {
    PATHS.rival_config(name): rival.config for name, rival in RIVALS.items()
}
THREADS, WORKERS = CONFIG.runtime.threads, CONFIG.runtime.workers
or_leave(require_files)
if CONFIG.data_from is not None:
    or_leave(require_same_data, CONFIG, CONFIG.data_from)

# a dry run needs the file to be there, and must not change it under the jobs of a run
for path, merged in CONFIGS.items():
    if not path.is_file():
        or_leave(write_config, path, merged)


# profiles ask for a rule's GPUs (of a node) and nodes by these, for instance "-gpu num=$GPUS_ENC_DEC"
for name in NETWORKS:
    os.environ[f"GPUS_{name.upper()}"] = str(getattr(CONFIG, name).gpus)
    os.environ[f"NODES_{name.upper()}"] = str(getattr(CONFIG, name).nodes)


FIRST_ON_PATH = [str(Path(sys.executable).parent)]
# of lost hosts, Snakemake's LSF plugin is to hear the truth: see the file
if shutil.which("bjobs") and os.environ.get("POSEMILL_LSF_LOST") != "success":
    FIRST_ON_PATH.append(str(Path(workflow.basedir) / "cluster_profiles/lsf/bin"))

# the jobs' `python` is the one that runs Snakemake, also where its environment is not activated
os.environ.update(
    PATH=os.pathsep.join((*FIRST_ON_PATH, os.environ.get("PATH", os.defpath))),
    # a training job may take what a duplicate of it finished
    POSEMILL_WORKFLOW="1",
)
