"""What a failed run says last, through every profile and `launch`; and runs that use the data of another."""

import re
import shutil

from conftest import REPOSITORY

from codebase.config import read_config, to_yaml
from codebase.paths import Paths
from codebase.shared_data import MARKERS

TREE = "name: broken\ndataset: {kind: tree, root: tree, bodies: null}\n"
LOG = r"A job failed; its log: results/broken/logs/index/\w+\.log"


def broken(house):
    """A config whose tree has folders, and nothing in them that can be indexed."""
    (house / "tree").mkdir()
    (house / "configs/broken.yaml").write_text(TREE)
    return "configs/broken.yaml"


def test_the_error_for_people_is_the_last_thing_and_stands_there_once(in_house, house):
    config = broken(house)
    targets = [f"results/broken/index_{split}.h5" for split in ("train", "test")]
    words = ("--profile", "cluster_profiles/local", "--keep-going", "--retries", "3", "--configfile", config)
    done = in_house("snakemake", *words, "--", *targets)
    assert done.returncode == 1
    assert "Trying to restart" not in done.stderr, "nobody can have mended it meanwhile"
    said = done.stderr[done.stderr.rindex("Exiting because") :]
    messages = re.findall(r"^error: .*(?:\n  .+)*", said, flags=re.MULTILINE)
    assert len(messages) == len(set(messages)) >= 1, said
    assert re.search(LOG, said), said


def test_a_job_that_was_killed_is_tried_again(in_house, house):
    config = broken(house)
    stage = "import os\n\nVERSION = 1\n\n\ndef run(config, **paths):\n    os.kill(os.getpid(), 9)\n"
    (house / "codebase/stages/index.py").write_text(stage)
    words = ("--profile", "cluster_profiles/local", "--retries", "1", "--configfile", config)
    done = in_house("snakemake", *words, "--", "results/broken/index_test.h5")
    assert done.returncode == 1
    assert done.stderr.count("Trying to restart") == 1, done.stderr


def test_launch_leaves_with_2_where_the_error_is_for_people(in_house, house):
    done = in_house("codebase", "launch", "--until", "data", broken(house))
    assert done.returncode == 2, done.stderr
    assert re.search(LOG, done.stderr)
    assert done.stderr.rstrip().endswith("mend the cause and run the same command again.")


def test_a_full_disk_before_the_first_job(in_house, house):
    """The folder of results is a file: nothing can be written there, as on a disk that is gone."""
    (house / "results").write_text("")
    done = in_house("snakemake", "-n")
    assert done.returncode == 2, done.stderr
    assert "The run's config cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_on_the_data_of_another_makes_none(in_house, house):
    shutil.copy(REPOSITORY / "tests/data/tiny.yaml", house / "configs")
    words = ("-n", "--configfile", "configs/tiny.yaml", "--config", "name=second", "data_from=results/tiny")
    done = in_house("snakemake", *words)
    assert done.returncode == 2
    assert "data_from names a run whose data are not there: results/tiny/config.yaml is missing" in done.stderr
    base = read_config(house / "configs/tiny.yaml")
    paths = Paths(base)
    files = [path for name in MARKERS for path in paths.markers(name)]
    for subject in base.split.subjects:
        files += [paths.crops(subject), paths.truth(subject), paths.background(subject)]
    for path in [*files, *map(paths.index, ("train", "val", "test"))]:
        (house / path).parent.mkdir(parents=True, exist_ok=True)
        (house / path).touch()
    (house / paths.run_config).write_text(to_yaml(base))
    done = in_house("snakemake", *words)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "train_enc_dec" in said
    assert not re.search(r"^(synthesize|backgrounds|index|crops) +\d", said, flags=re.MULTILINE)
    done = in_house("snakemake", *words, "crops={size: 32}")
    assert done.returncode == 2
    assert "crops would be made differently here" in done.stderr
