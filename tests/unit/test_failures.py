"""The end of a failed run: errors for people first and once, else the last lines; full disks in one sentence."""

import errno
from pathlib import Path

from codebase.failures import disk_is_full, failed_logs, last_words, tail_since, user_message, wants_a_person


def log(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_the_message_for_the_user_is_found_at_the_end_of_a_log():
    message = "error: It is broken.\n  where:    a.h5\n  to mend:  delete it\n"
    assert user_message(f"10:00:00 I host x\nerror: an older one\n\n10:00:01 I went on\n{message}") == message
    assert user_message("Traceback (most recent call last):\nValueError: no\n") == ""
    assert user_message("") == ""


def test_another_attempt_helps_who_was_killed_and_not_who_met_an_error():
    assert wants_a_person("10:00:00 I ended after 1.0 s: error\nerror: there is no such file\n  where: x\n")
    assert not wants_a_person(
        "10:00:00 I ended after 1.0 s: killed\nkilled: process 1 was killed\n  to mend: more memory\n"
    )
    assert not wants_a_person("out of time: the state is saved\n")
    assert not wants_a_person("error: an older one\n\n10:00:01 I went on\n")


def test_each_message_stands_once_before_the_faults_of_ours(tmp_path):
    fault = log(tmp_path, "fault.log", "".join(f"line {n}\n    ^^^^\n" for n in range(20)) + "ValueError: no\n")
    first, second = (log(tmp_path, f"{n}.log", "error: The tree is empty.\n  where:    tree\n") for n in range(2))
    stopped = log(tmp_path, "stopped.log", "10:00 I x\nout of time: step 7; the state is saved\n")
    said = last_words([fault, first, second, stopped])
    assert said.count("The tree is empty.") == 1
    assert f"its log: {first} and 1 more" in said
    assert said.index("The tree is empty.") < said.index("ValueError: no")
    assert "^^^" not in said
    assert "line 12\n" not in said
    assert f"A job stopped; its log: {stopped}\n    out of time: step 7" in said


def test_a_job_without_a_log_is_said_to_have_none(tmp_path):
    assert "the job ended before it began" in last_words([tmp_path / "none.log"])
    assert last_words([]) == ""


def test_the_schedulers_log_counts_where_the_jobs_own_is_empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "Error in rule index:\n    log: own.log (check log file(s) for error details)\n"
    said += "    log: /x/.snakemake/slurm_logs/1.log (check log file(s) for error details)\n"
    Path("own.log").write_text("")
    assert failed_logs(said) == [Path("own.log"), Path("/x/.snakemake/slurm_logs/1.log")]
    Path("own.log").write_text("error: x\n")
    assert failed_logs(said + said) == [Path("own.log")]


def test_a_traceback_of_a_full_disk_says_what_to_change(tmp_path):
    """Snakemake's own on a compute node, where the home is over its quota."""
    found = log(tmp_path, "1.log", "Traceback:\n  self.file.close()\n\nOSError: [Errno 122] Disk quota exceeded\n\n")
    said = last_words([found])
    assert "the quota is used up" in said
    assert "XDG_CACHE_HOME" in said.partition("to mend:")[2]
    assert "to mend" not in last_words([log(tmp_path, "2.log", "OSError: [Errno 13] Permission denied: 'x'\n")])


def test_full_disks_and_quotas():
    assert "the disk is full.\n  where:    a.h5" in disk_is_full(OSError(errno.ENOSPC, "No space", "a.h5"))
    assert "the quota is used up.\n  where:    b" in disk_is_full(OSError(errno.EDQUOT, "Disk quota exceeded"), "b")
    assert disk_is_full(OSError("Can't write data (errno = 28, error message = 'No space left on device')"))
    assert disk_is_full(OSError(errno.EACCES, "Permission denied", "a")) == ""
    assert disk_is_full(ValueError("no")) == ""


def test_a_log_of_an_earlier_run_and_one_that_cannot_be_looked_at_say_nothing(tmp_path):
    log = tmp_path / "job.log"
    log.write_text("error: there is no such file\n")
    written = log.stat().st_mtime
    assert wants_a_person(tail_since(log, written - 1))
    assert tail_since(log, written) == ""
    assert tail_since(tmp_path / "none.log", 0.0) == ""
    # `Path.is_file` raises here, as it does of a stale handle; the scheduler's thread must not end of it
    assert tail_since(tmp_path / ("x" * 300), 0.0) == ""
