"""Lines of Snakemake in the pages and configs can be pasted: what they name is there and is read as it is meant."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

ROOT = Path(__file__).resolve().parents[2]
FILES = ("*.md", "docs/*.md", "configs/**/*.yaml", "cluster_profiles/*/*.yaml")
PAGES = [page for pattern in FILES for page in ROOT.glob(pattern)]
# in a block of code, in a comment, or between backticks; what follows two blanks and a hash is a remark
LINE = re.compile(r"^(?:#\s+)?(snakemake .*?)(?:\s+# .*)?$|`(snakemake [^`]+)`", re.MULTILINE)
COMMANDS = sorted({one or other for page in PAGES for one, other in LINE.findall(page.read_text())})
WITH_CONFIG = [command for command in COMMANDS if "--configfile" in command]
YOURS = {"mine.yaml"}


@pytest.mark.parametrize("command", WITH_CONFIG)
def test_configs_are_configs_and_targets_are_targets(command):
    read = get_argument_parser().parse_args(shlex.split(command)[1:])
    assert not [target for target in read.targets if str(target).endswith(".yaml")]
    for file in map(str, read.configfile):
        assert file in YOURS or (file.endswith(".yaml") and (ROOT / file).is_file()), file
    assert read.profile or read.cores or read.dryrun, "where it runs is not said"


def test_the_pages_show_commands():
    assert len(WITH_CONFIG) > 10


def test_the_label_sweep_of_small(in_house):
    (command,) = (line for line in WITH_CONFIG if "label_sweep" in line)
    done = in_house(*shlex.split(command), "-n")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^train_label_images +72$", done.stdout, re.MULTILINE)
