"""What the rules share: the checked config, paths, digests, resources. No rules here.

INPUTS: the config (see workflow/Snakefile), the VERSION line of each file in codebase/stages/
OUTPUTS: {results}/{name}/config.yaml, the merged config, which every job reads
"""

import ast
import atexit
import os
import shutil
import sys
import time
from functools import cache
from pathlib import Path

from snakemake.jobs import Job

from codebase.body_sources import where_to_get
from codebase.config import Config, split_digest, stage_digest, to_yaml, validate_config
from codebase.errors import EXIT_USER_ERROR, DataError, UserError
from codebase.failures import (
    disk_is_full,
    failed_logs,
    last_words,
    tail_since,
    wants_a_person,
)
from codebase.paths import Paths
from codebase.published import encoder_file, perceptual_file
from codebase.schedulers import refusal_hint, require_scheduler
from codebase.shared_data import require_same_data

ENVIRONMENT = "../../envs/codebase.yaml"
NETWORKS = ("enc_dec", "pose", "prior", "smpl", "hmr")


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
    perceptual_file(CONFIG.enc_dec)
    encoder_file(CONFIG.enc_dec)


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


def write_run_config(path):
    """Write the merged config for the jobs, if it changed."""
    text = to_yaml(CONFIG)
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


def forget_finished():
    """Remove the second names of finished models (codebase/training/finished.py): now a forced run trains again."""
    for network in NETWORKS:
        shutil.rmtree(PATHS.run_dir(network) / "finished", ignore_errors=True)


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
    """Digest of the config sections that `stage` depends on: editing another section does not re-run it."""
    return stage_digest(CONFIG, stage)


def memory(megabytes):
    """`mem_mb` that grows with the attempts, so that a job killed for memory gets more.

    To three times as much at most: an attempt may also follow a time limit, and a job that no host can hold waits for ever.
    """

    def mem_mb(wildcards, attempt):
        return megabytes * min(attempt, 3)

    return mem_mb


def gpus(network):
    """The GPUs that training of a network asks for, on all its nodes together."""
    asked = getattr(CONFIG, network)
    return asked.gpus * asked.nodes


def each(path_of, subjects):
    """`path_of(subject)` for each subject, as strings."""
    return [str(path_of(subject)) for subject in subjects]


def body_files(subjects):
    """Files of SMPL parameters of the subjects; none where the dataset has none."""
    return (
        [str(PATHS.bodies / f"S{subject}.h5") for subject in subjects]
        if PATHS.bodies
        else []
    )


def fitted_files(subjects):
    """Files of fitted bodies of test subjects that evaluate reads: to measure against, or to be measured."""
    wanted = PATHS.fits_bodies or PATHS.measures_fits
    return each(PATHS.fitted, subjects) if wanted else []


def label_files(subjects):
    """Files of the bodies of which train_hmr learns; none where there are none."""
    return each(PATHS.fitted, subjects) if PATHS.fits_bodies else body_files(subjects)


def fitted_sequences():
    """Every how many sequences of a subject bodies are fitted: all of them, unless they are but measured."""
    return 1 if PATHS.fits_bodies else max(CONFIG.fit_bodies.measure_every, 1)


def gate(*kinds, subjects=()):
    """Markers of the checks that artefacts of these kinds passed: a job that uses them waits for it (check.smk).

    One marker an artefact, so that a job is due when those that it reads are, not for the sake of others beside them.
    """
    return [
        marker
        for kind in kinds
        if there_is(kind)
        for marker in PATHS.markers(kind, subjects)
    ]


def there_is(kind):
    """Whether artefacts of this kind, which not every run has, are part of this one."""
    wanted = {
        "bodies": PATHS.bodies is not None,
        "fitted": bool(fitted_files(TEST)),
    }
    return wanted.get(kind, True)


def gate_of_labels(subjects):
    """Of the bodies of which train_hmr learns."""
    return gate("fitted" if PATHS.fits_bodies else "bodies", subjects=subjects)


def gate_of_indices(wildcards):
    """Of the indices that the subject of a rule is in."""
    return [
        PATHS.checked("index", Path(path).stem.removeprefix("index_"))
        for path in indices_of_subject(wildcards)
    ]


def gate_of_crops(wildcards):
    """Of the indices that the subject of a rule is in, and of its background."""
    return [
        PATHS.checked("backgrounds", f"S{wildcards.subject}"),
        *gate_of_indices(wildcards),
    ]


def rendered(subjects):
    """What stands for the frames of the subjects in the DAG: the file that synthesize or extract writes last."""
    last = {"synthetic": PATHS.truth, "extract": PATHS.extracted}
    kind = CONFIG.dataset.kind
    return each(last[kind], subjects) if kind in last else []


def extracted_bodies(subject):
    """The SMPL parameters that extract writes beside the frames; none where its source has none."""
    return body_files([subject]) if PATHS.extracts_bodies else []


def rendered_split(wildcards):
    """The same for the subjects of a split."""
    return rendered(getattr(CONFIG.split, wildcards.split).subjects)


def split_section(wildcards):
    """Digest of what one split's index depends on: editing split.test leaves the others, and all training, alone."""
    return split_digest(CONFIG, wildcards.split)


def indices_of_subject(wildcards):
    """Indices of the splits that the subject of a rule is in."""
    return [
        PATHS.index(split)
        for split in ("train", "val", "test")
        if int(wildcards.subject) in getattr(CONFIG.split, split).subjects
    ]


def rendered_subject(wildcards):
    """The same for the subject of a rule."""
    return rendered([wildcards.subject])


STAGES = Path(workflow.basedir) / "codebase" / "stages"
CONFIG = or_leave(checked_config)
PATHS = Paths(CONFIG)
SUBJECTS = CONFIG.split.subjects
TRAIN = tuple(sorted({*CONFIG.split.train.subjects, *CONFIG.split.val.subjects}))
TEST = CONFIG.split.test.subjects
RUN_CONFIG = ancient(run_config)
THREADS, WORKERS = CONFIG.runtime.threads, CONFIG.runtime.workers
or_leave(require_files)
if CONFIG.data_from is not None:
    or_leave(require_same_data, CONFIG, CONFIG.data_from)

# a dry run needs the file to be there, and must not change it under the jobs of a run
if not PATHS.run_config.is_file():
    or_leave(write_run_config, PATHS.run_config)


def explain_failure(logs):
    """The last thing a failed run says: the logs of the failed jobs and their last words, errors for people first."""
    said = [Path(log) for log in logs if Path(log).is_file()]
    words = last_words(failed_logs("".join(path.read_text() for path in said)))
    if words:
        print(f"\n{words}", file=sys.stderr)


def explain_refusal():
    """After a submission that the scheduler refused, what to change. Some plugins raise then, and onerror is not called."""
    logs = [Path(log) for log in workflow.logger_manager.get_logfile()]
    hint = refusal_hint("".join(log.read_text() for log in logs if log.is_file()))
    if hint:
        print(f"\n{hint}", file=sys.stderr)


def try_no_error_again():
    """A job whose log ends with an error that a person must mend fails at once, however many `retries` there are.

    Snakemake counts attempts and knows no exit codes, so its question is answered here. Killed jobs, those out of time
    and those that say nothing are tried again.
    """
    begun, asked = time.time(), Job.restart_times.fget

    def restart_times(job):
        told = [tail_since(Path(log), begun) for log in job.log]
        return 0 if any(map(wants_a_person, told)) else asked(job)

    Job.restart_times = property(restart_times)


if workflow.is_main_process:
    atexit.register(explain_refusal)
    try_no_error_again()


onerror:
    # Snakemake gives a list of its own logs
    explain_failure([log] if isinstance(log, str) else log)


onstart:
    or_leave(require_tree)
    or_leave(require_source)
    or_leave(write_run_config, PATHS.run_config)


# profiles ask for a rule's GPUs (of a node) and nodes by these, for instance "-gpu num=$GPUS_ENC_DEC"
for name in NETWORKS:
    os.environ[f"GPUS_{name.upper()}"] = str(getattr(CONFIG, name).gpus)
    os.environ[f"NODES_{name.upper()}"] = str(getattr(CONFIG, name).nodes)


onsuccess:
    forget_finished()


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
