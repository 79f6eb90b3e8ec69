"""The same profile where Slurm keeps accounts (slurmdbd, MariaDB): jobs followed by sacct, accounts checked."""

import pytest

from tests.cluster.scheduler import call
from tests.cluster.workflows import LONG, House, end, first_line

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
TARGETS = ("results/tiny/checks/index_train.json", "results/tiny/runs/prior/model_6.pt")
# Snakemake in the job alone needs more than the first attempt gets
SITE = {"set-resources": {"train_prior": {"mem_mb": "300 if attempt == 1 else 4000"}}}


def accounts(house):
    """sacct's rows of the jobs of a house, and of their steps: id, state, what they had, account."""
    ids = ",".join(job.id for job in house.slurm.jobs(house.root))
    rows = call("sacct", "-P", "-n", "-j", ids, "-o", "jobid,state,alloctres,account").splitlines()
    return [row.split("|") for row in rows]


@pytest.fixture(scope="module")
def done(slurm_with_accounting, tmp_path_factory):
    """A house in which a part of the DAG has run, its last rule killed for memory at first."""
    house = House(tmp_path_factory.mktemp("accounts") / "house", slurm_with_accounting, **SITE)
    process = house.start("--", *TARGETS)
    try:
        house.finish(process, timeout=2 * LONG)
    finally:
        end(process)
    return house


def test_jobs_are_followed_by_sacct(done):
    assert all((done.root / target).is_file() for target in TARGETS)
    assert "squeue" not in (done.root / "site.yaml").read_text()
    jobs = {job.id: job for job in done.slurm.jobs(done.root)}
    rows = {row[0]: row[1:] for row in accounts(done) if "." not in row[0]}
    assert rows.keys() == jobs.keys()
    assert {account for _, _, account in rows.values()} == {"posemill"}
    for name, (state, had, _) in rows.items():
        assert state == jobs[name].state
        assert ("gres/gpu=1" in had.split(",")) == (jobs[name].rule == "train_prior"), (jobs[name], had)


def test_the_job_killed_for_memory_is_told_by_its_step(done):
    first, last = (job for job in done.slurm.jobs(done.root) if job.rule == "train_prior")
    assert (first.state, last.state) == ("FAILED", "COMPLETED")
    states = {row[1] for row in accounts(done) if row[0].startswith(f"{first.id}.")}
    assert "OUT_OF_MEMORY" in states or "exceeded memory limit" in done.said()
    log = first_line(done.root / "results/tiny/logs/train_prior/all.log")
    assert log["job"] == last.id


def test_an_account_that_does_not_exist(slurm_with_accounting, tmp_path):
    house = House(tmp_path / "house", slurm_with_accounting, **{"default-resources": {"slurm_account": "nobodys"}})
    process = house.start("--retries", "0", "--", TARGETS[1])
    try:
        assert process.wait(LONG) != 0
    finally:
        end(process)
    assert "nobodys" in house.said()
    assert "slurm_account" in house.said()[-3000:]
    assert not house.slurm.jobs(house.root)
