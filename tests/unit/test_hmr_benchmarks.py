"""The comparison and the speed table of the image-to-body network: what they train, measure, and claim."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks import compare_hmr, hmr_runs, hmr_speed
from codebase.body.model import BodyLayer, load_body
from codebase.config import Config
from codebase.data.bodies import Bodies
from codebase.errors import ConfigError
from codebase.files import read_json
from tests.people import BODY, make_people

TINY = {
    "steps": 2, "batch_size": 4, "backbone": "ours", "widths": [8, 8], "blocks": [1, 1], "width": 16, "vertices": 50,
    "log_every": 1, "validate_every": 2, "precision": "fp32",
}  # fmt: skip


def some_bodies(count: int, seed: int) -> Bodies:
    rng = np.random.default_rng(seed)
    rotmats = torch.linalg.qr(torch.from_numpy(rng.normal(size=(count, 24, 3, 3))))[0].float()
    rotmats *= torch.linalg.det(rotmats)[..., None, None]
    return Bodies(rng.normal(size=(count, 10)).astype(np.float32), rotmats.numpy())


def test_variants_are_presets_over_the_configs_section() -> None:
    config = Config(name="some", hmr={"label_subjects": [1, 5], "steps": 7})
    made = {name: compare_hmr.changed(config, name, 3, {}).hmr for name in compare_hmr.VARIANTS}
    preset = yaml.safe_load(Path("configs/presets/eth2021.yaml").read_text())["hmr"]
    for name, section in made.items():
        assert section.seed == 3
        assert section.label_subjects == ((1,) if name.endswith("_S1") else (1, 5)), name
        if name.startswith("eth2021"):
            own = {"name": name} | compare_hmr.VARIANTS[name].changes
            assert {key: getattr(section, key) for key in preset} == preset | own
            assert section.steps == 7
    assert made["eth2021"].backbone_weights is None
    assert not made["eth2021_trained"].frozen
    assert compare_hmr.changed(config, "eth2021", 0, {"steps": 9}).hmr.steps == 9


@pytest.mark.parametrize("text", ["v3.steps=1", "v2=1", "v2.steps"])
def test_settings_of_no_variant_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        compare_hmr.parse_settings([text])


def test_settings_are_read_by_variant() -> None:
    assert compare_hmr.parse_settings(["v2.steps=9", "eth2021.learning_rate=0.001"]) == {
        "v2": {"steps": 9}, "eth2021": {"learning_rate": 0.001},
    }  # fmt: skip


def test_figures_are_the_courses_and_follow_the_corrections() -> None:
    layer, truth = BodyLayer(load_body(BODY)), some_bodies(5, 0)
    far, near = some_bodies(5, 1), Bodies(truth.betas + 0.5, truth.rotmats)
    exact = hmr_runs.measured([truth], truth, layer)
    assert max(exact.values()) < 1e-3
    found = hmr_runs.measured([far, near], truth, layer)
    meshes = [layer.vertices(torch.from_numpy(one.betas), torch.from_numpy(one.rotmats)) for one in (near, far, truth)]
    for key, mesh in (("v2v_l2_m2", meshes[0]), ("v2v_l2_m2/iteration_1", meshes[1])):
        assert found[key] == pytest.approx(float((mesh - meshes[2]).square().mean()), rel=1e-4)
    assert found["v2v_l2_m2"] == found["v2v_l2_m2/iteration_2"] < found["v2v_l2_m2/iteration_1"]
    assert found["pa_pve_mm"] < found["pve_mm"] == found["pve_mm/iteration_2"]
    # one shape of another size: its scale is a part of the error, which N-MPJPE takes out
    assert found["n_mpjpe_mm"] <= found["mpjpe_mm"]
    assert found["v2v_l2_m2"] != found["v2v_l2_m2_pelvis_given"]


def figures(val: float, test: float) -> dict[str, float]:
    return {
        "val/v2v_l2_m2": val, "test/v2v_l2_m2": test, "val/mean_body/v2v_l2_m2": 0.1, "test/mean_body/v2v_l2_m2": 0.08,
        "cpu_minutes": 2.0, "steps": 10, "batch": 4,
    }  # fmt: skip


def test_the_rival_is_the_best_on_validation() -> None:
    found = {
        "v2": [figures(0.01, 0.01), figures(0.02, 0.03)],
        "eth2021": [figures(0.05, 0.02)],
        "eth2021_trained": [figures(0.04, 0.04)],
    }
    said = compare_hmr.claims(found)
    assert "0.250 of the mean body's" in said
    assert "50.0% below" in said
    assert compare_hmr.VARIANTS["eth2021_trained"].words in said
    assert "not done" in compare_hmr.claims({"eth2021": found["eth2021"]})
    rows = compare_hmr.table(found).splitlines()
    assert len(rows) == 2 + 2 * (1 + len(found))
    assert len({row.count("|") for row in rows}) == 1
    assert "0.0200 ± 0.0141" in rows[-3]
    mixed = {"v2": [found["v2"][0], found["v2"][1] | {"steps": 20}]}
    assert "| 10 x 4, 20 x 4 |" in compare_hmr.table(mixed)


def test_a_finished_run_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(tmp_path, train=(1, 5), acts=(2,), cameras=(1,), size=16, sections={"hmr": {"places": False}})
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(people.config.model_dump(mode="json")))
    settings = [f"eth2021_trained.{key}={value}" for key, value in TINY.items()]
    command = ["x", str(config), "--variants", "eth2021_trained", "--seeds", "4", "--set", *settings]
    folder = people.paths.root / "compare_hmr"
    made = folder / "eth2021_trained_seed4"
    watched = [made / "model_2.pt", made / "spent.json", made / "figures.json"]

    def run(*more: str) -> list[int]:
        monkeypatch.setattr(sys, "argv", [*command, *more])
        compare_hmr.main()
        return [path.stat().st_mtime_ns for path in watched]

    first = run()
    known = read_json(made / "figures.json")
    assert known["steps"] == 2
    assert known["cpu_minutes"] > 0
    assert {"val/pve_mm", "test/pve_mm/iteration_3", "test/mean_body/v2v_l2_m2"} <= set(known)
    assert "| 2 x 4 |" in (folder / "table.md").read_text()
    assert run() == first
    assert run("eth2021_trained.learning_rate=0.1")[2] != first[2]
    assert read_json(made / "figures.json")["test/pve_mm"] != known["test/pve_mm"]


def test_speed_counts_what_is_known_of_resnet18() -> None:
    """He et al. (CVPR 2016, table 1): 1.8e9 products; without a classifier 11.18 million weights."""
    model = hmr_speed.network(hmr_speed.section_of(Config(name="x").hmr, "resnet18"), 224)
    assert hmr_speed.million(model.encoder) == pytest.approx(11.18, abs=0.01)
    alone = hmr_speed.section_of(Config(name="x").hmr, "resnet18", places=False, features="pooled")
    assert hmr_speed.gflop(hmr_speed.network(alone, 224), 224) == pytest.approx(2 * 1.82, abs=0.05)


def test_times_are_medians_after_a_warm_up() -> None:
    ticks = iter(np.cumsum([0, 9, 0, 1, 0, 5, 0, 2]).tolist())
    assert hmr_speed.medians({"way": lambda: None}, lambda: next(ticks), 3) == {"way": 2000.0}


def test_speed_table_has_a_cell_for_every_time() -> None:
    section = hmr_speed.section_of(Config(name="x").hmr, "ours", widths=(8, 8), blocks=(1, 1), width=16, vertices=20)
    rig = hmr_speed.Rig(section, load_body(BODY), torch.device("cpu"), 32, 2, 1, hmr_speed.time.process_time)
    text = hmr_speed.table([rig.cost("ours")], 32, 2)
    assert len({line.count("|") for line in text.splitlines()}) == 1
    assert "step of 2, fp32, channels_last" in text
