"""What Slurm and LSF answer, and what is made of silence."""

import pytest

from codebase.status import scheduler
from codebase.status.scheduler import Answer, JobState, parse_bjobs, parse_scontrol, parse_squeue


def test_answers_of_slurm_and_lsf():
    assert parse_squeue("17_3|18|RUNNING|n0|rule_x|/a|b") == JobState("17_3", "RUNNING", "n0", None, "rule_x|/a", "b")
    assert parse_squeue("18|18|PENDING|(Resources)|(null)|/a") == JobState("18", "PENDING", "Resources", folder="/a")
    assert parse_squeue("slurm_load_jobs error") is None
    line = "JobId=18 JobState=FAILED Reason=NonZeroExitCode ExitCode=2:0 NodeList=n1"
    assert parse_scontrol("18", line) == JobState("18", "FAILED", "n1", 2)
    assert parse_scontrol("18", line.replace("2:0", "0:9")).code == 137
    assert parse_bjobs("17|3|EXIT|75|n0|name") == JobState("17[3]", "EXIT", "n0", 75, "name")
    assert parse_bjobs("17|0|RUN|-|-|name") == JobState("17", "RUN", "", None, "name")
    assert parse_bjobs("No unfinished job found") is None


WORDS = {
    "waiting": ("PENDING", "PEND"), "running": ("COMPLETING", "RUN", "SSUSP"), "done": ("COMPLETED", "DONE"),
    "failed": ("TIMEOUT", "NODE_FAIL", "EXIT"), "lost": ("UNKWN",),
}  # fmt: skip


@pytest.mark.parametrize(("word", "what"), [(word, what) for what, words in WORDS.items() for word in words])
def test_words_of_schedulers(word, what):
    assert JobState("1", word).what == what


def test_a_scheduler_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(scheduler, "TIMEOUT_S", 0.5)
    answer = scheduler.ask(["1"])
    assert (answer.known, answer.trouble) == ({}, "squeue did not answer within 0 s")


def test_lsf_without_jobs_is_an_answer(tmp_path, monkeypatch):
    (tmp_path / "bjobs").write_text("#!/bin/sh\necho 'No unfinished job found' >&2\nexit 255\n")
    (tmp_path / "bjobs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert scheduler.ask([], "lsf") == Answer("lsf", {})
