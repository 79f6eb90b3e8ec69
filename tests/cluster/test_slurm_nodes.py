"""A training on two nodes through the profile: a process on each, which hold a GPU each and train one network."""

import pytest
import torch

from codebase.training.state import load_checkpoint
from tests.cluster.trained import LOG, OVERRIDES, RUN, STEPS, TARGET, Trained
from tests.cluster.workflows import first_line, history

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def houses(slurm, tmp_path_factory):
    """What trained on one node, and what trained on two."""
    made = {}
    for nodes in (1, 2):
        made[nodes] = Trained(tmp_path_factory.mktemp(f"nodes{nodes}") / "house", slurm)
        wanted = OVERRIDES.replace("{", f"{{nodes: {nodes}, ")
        made[nodes].process = made[nodes].start("--config", wanted, "--", TARGET)
    for house in made.values():
        house.finish(house.process, timeout=600)
    yield made
    for house in made.values():
        house.end()


def test_each_node_gives_a_gpu(houses):
    (one,), (two,) = (houses[nodes].slurm.jobs(houses[nodes].root) for nodes in (1, 2))
    assert (one.state, two.state) == ("COMPLETED", "COMPLETED")
    assert one.gpus == 1
    assert two.node == "n[0-1]"
    assert two.gpus_per_node == 1
    assert first_line(houses[2].root / LOG)["job"] == two.id


def test_two_nodes_train_the_network_of_one(houses):
    one, two = (load_checkpoint(houses[nodes].root / TARGET) for nodes in (1, 2))
    assert history(houses[2].root / RUN) == list(range(1, STEPS + 1))
    assert one.model.keys() == two.model.keys()
    # the sums are rounded in another order, and 200 steps lie between
    assert all(torch.allclose(one.model[name], two.model[name], rtol=1e-2, atol=1e-3) for name in one.model)
    assert two.history[0]["prior"] == pytest.approx(one.history[0]["prior"], rel=1e-5)
