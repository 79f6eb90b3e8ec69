"""All of Human3.6M is few jobs, from its own files and from a tree."""

import pytest

from benchmarks.dag import EVERY, KINDS, dry_run


@pytest.mark.parametrize("kind", KINDS)
def test_all_frames_of_all_subjects_are_few_jobs(kind, tmp_path):
    *_, jobs = dry_run([*EVERY, *KINDS[kind], f"results={tmp_path}"])
    assert jobs["crops"] == jobs["embed"] == 7
    assert ("extract" in jobs) == kind.startswith("extract")
    assert 30 < sum(jobs.values()) <= (205 if "sweep" in kind else 100)
