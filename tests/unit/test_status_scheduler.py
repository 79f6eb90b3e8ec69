"""What Slurm and LSF answer, and what is made of silence."""

import pytest
from launching import tool

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


AWAY = "Unable to contact slurm controller (connect failure)"
WORDS = {
    "waiting": ("PENDING", "PEND", "WAIT", "PROV"), "running": ("COMPLETING", "RUN", "SSUSP"),
    "done": ("COMPLETED", "DONE"), "failed": ("TIMEOUT", "NODE_FAIL", "EXIT"), "lost": ("UNKWN",),
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


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ("slurm_load_jobs error: Invalid job id specified", ""),
        (f"slurm_load_jobs error: {AWAY}", f"scontrol: slurm_load_jobs error: {AWAY}"),
    ],
)
def test_a_controller_that_is_away_has_forgotten_nobody(said, trouble, tmp_path, monkeypatch):
    """squeue still answered, of the jobs that run; how another ended was not to be had."""
    tool(tmp_path, "squeue", "true")
    tool(tmp_path, "scontrol", f"echo '{said}' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert scheduler.ask(["17"]) == Answer("slurm", {}, trouble)
    tool(tmp_path, "sacct", "echo '17|COMPLETED|0:0|n1'")
    assert scheduler.ask(["17"]) == Answer("slurm", {"17": JobState("17", "COMPLETED", "n1", 0)})


def test_an_answer_in_another_encoding_is_an_answer(tmp_path, monkeypatch):
    tool(tmp_path, "squeue", r"printf '17|17|RUNNING|n0|cl\351|/a\n'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert scheduler.ask().known["17"].word == "RUNNING"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("No unfinished job found", []),
        ("No job found", []),
        ("Job <17> is not found", ["17"]),
        ("No job found", ["17"]),
    ],
)
def test_lsf_without_jobs_is_an_answer(said, asked, tmp_path, monkeypatch):
    bjobs(tmp_path, monkeypatch, f"echo '{said}' >&2; exit 255")
    assert scheduler.ask(asked, "lsf") == Answer("lsf", {})


def test_lsf_is_asked_for_jobs_that_wait_beside_those_that_are_named(tmp_path, monkeypatch):
    """As bjobs does: with numbers it lists these alone. A forgotten one is named to it, the others come unasked."""
    lines = "17|0|RUN|-|n0|Snakemake_rule_a", "18|0|PEND|-|-|Snakemake_rule_b", "9|2|EXIT|130|n0|c"
    bjobs(
        tmp_path, monkeypatch,
        f"case $* in *9) echo '{lines[2]}'; exit 255 ;; *) echo '{lines[0]}'; echo '{lines[1]}' ;; esac",
    )  # fmt: skip
    found = scheduler.ask(["17", "9[2]"], "lsf")
    assert {job: (state.word, state.code) for job, state in found.known.items()} == {
        "17": ("RUN", None), "18": ("PEND", None), "9[2]": ("EXIT", 130),
    }  # fmt: skip
    assert not found.trouble


def test_a_bjobs_that_fails_is_trouble(tmp_path, monkeypatch):
    bjobs(tmp_path, monkeypatch, "echo 'LSF is down. Please wait ...' >&2; exit 255")
    assert scheduler.ask(["17"], "lsf") == Answer("lsf", None, "bjobs: LSF is down. Please wait ...")


def bjobs(folder, monkeypatch, script):
    tool(folder, "bjobs", script)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
