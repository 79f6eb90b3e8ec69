"""What each job of a DAG is submitted with: the exact lines that Snakemake's plugins hand to bsub or sbatch.

    python submissions.py OUT --profile lsf -n ...      (in a house; the words after OUT are Snakemake's)

Snakemake builds its DAG and loads the real plugin; then every job is submitted at once, as if all before it were done,
to a bsub or sbatch that only takes notes. What the plugins ask beforehand is answered alike, whether this machine has a
Slurm (that may not run) or none. For tests.
"""

import json
import os
import sys
from pathlib import Path

NOTE = """#!{python}
import json, sys
with open({notes!r}, "a") as file:
    file.write(json.dumps([{name!r}, *sys.argv[1:]]) + chr(10))
print({answer!r})
"""
ANSWERS = {"bsub": "Job <1> is submitted to queue <gpu>.", "sbatch": "1"}
KNOWN = {"sinfo": "PARTITION\ngpu*", "sacctmgr": "my_account", "sshare": "my_account"}


def take_notes(folder: Path, notes: Path) -> None:
    """Put commands on PATH that write down what they are called with."""
    folder.mkdir()
    scripts = {name: f"#!/bin/sh\nprintf '%s\\n' '{answer}'\n" for name, answer in KNOWN.items()}
    for name, answer in ANSWERS.items():
        scripts[name] = NOTE.format(python=sys.executable, notes=str(notes), name=name, answer=answer)
    for name, script in scripts.items():
        path = folder / name
        path.write_text(script)
        path.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def submit_all(scheduler: object) -> bool:
    """In place of JobScheduler.schedule: hand every job to the plugin, one rule's jobs once."""
    workflow = scheduler.workflow  # type: ignore[attr-defined]
    seen = set()
    for job in sorted(workflow.dag.needrun_jobs(), key=lambda job: (job.rule.name, str(job.wildcards))):
        if job.rule.name not in seen and not job.is_local:
            seen.add(job.rule.name)
            scheduler._executor.run_job(job)  # type: ignore[attr-defined]
    return True


def main() -> None:
    out = Path(sys.argv[1])
    from snakemake import cli
    from snakemake.scheduling.job_scheduler import JobScheduler

    take_notes(out.with_suffix(".bin"), out)
    JobScheduler.schedule = submit_all
    cli.main(sys.argv[2:])


def read(out: Path) -> list[list[str]]:
    """The calls, each a list of words."""
    return [json.loads(line) for line in out.read_text().splitlines()]


if __name__ == "__main__":
    main()
