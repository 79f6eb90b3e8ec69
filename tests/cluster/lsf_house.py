"""A house whose Snakemake submits to LSF: the real plugin, our profiles, and the facade of LSF over the live Slurm."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml
from conftest import REPOSITORY, make_house

FACADE = REPOSITORY / "tests/cluster/lsf"
TINY = REPOSITORY / "tests/data/tiny.yaml"


class LsfHouse:
    """A copy of the repository's working parts in which `snakemake --profile NAME` runs, with a home of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.facade = make_house(root), root.parent / "facade"
        shutil.copy(TINY, self.root / "configs/tiny.yaml")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SNAKEMAKE", "SLURM", "LSF"))}
        self.environment = kept | {
            "PATH": f"{FACADE}{os.pathsep}{os.environ['PATH']}",
            "LSF_FACADE": str(self.facade),
            "XDG_CONFIG_HOME": str(root.parent / "home"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *argv: str, timeout: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command in this house; output captured, stderr after stdout."""
        return subprocess.run(
            argv, cwd=self.root, env=self.environment | environment, text=True, timeout=timeout, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def install(self, name: str, **site: object) -> None:
        """`python -m codebase profile NAME site.yaml`."""
        (self.root / "site.yaml").write_text(yaml.safe_dump(site))
        done = self.run(sys.executable, "-m", "codebase", "profile", name, "site.yaml")
        assert done.returncode == 0, done.stdout

    def snakemake(
        self, name: str, *words: str, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`snakemake --profile NAME --configfile configs/tiny.yaml ...`."""
        return self.run(*self._argv(name), *words, timeout=timeout, **environment)

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """The same in a process group of its own; what it says goes to `snakemake.log`."""
        with (self.root / "snakemake.log").open("ab") as log:
            return subprocess.Popen(
                [*self._argv(name), *words], cwd=self.root, env=self.environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def _argv(self, name: str) -> list[str]:
        argv = [sys.executable, str(FACADE / "impatient.py"), "--profile", name]
        return [*argv, "--configfile", "configs/tiny.yaml"]

    def await_lost(self, seconds: float = 60) -> str:
        """The id of a lost job that Snakemake has asked for since."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for mark in (self.facade / "jobs").glob("*.lost"):
                asked = (self.facade / "calls").stat().st_mtime > mark.stat().st_mtime + 3
                if asked and not mark.with_suffix(".killed").exists() and not mark.with_suffix(".seen").exists():
                    mark.with_suffix(".seen").touch()
                    return mark.stem
            time.sleep(0.2)
        raise AssertionError("no lost job")

    def calls(self, command: str) -> list[list[str]]:
        """The words of each call of a command of LSF so far."""
        lines = (self.facade / "calls").read_text().splitlines()
        return [words[1:] for words in map(shlex.split, lines) if words[0] == command]

    def submitted(self) -> dict[str, list[dict[str, str]]]:
        """By rule, the options of each submission, `-R` joined."""
        found: dict[str, list[dict[str, str]]] = {}
        for words in self.calls("bsub"):
            options: dict[str, str] = {}
            for flag, value in itertools.pairwise(words):
                if re.fullmatch(r"-[A-Za-z]+", flag):
                    options[flag] = f"{options[flag]} {value}" if flag in options else value
            rule = re.match(r"(?:Snakemake_rule_|posemill_)(\w+?)(?::|___|$)", options["-J"])
            assert rule is not None, options
            found.setdefault(rule[1], []).append(options)
        return found
