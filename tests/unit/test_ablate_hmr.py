"""The ablation of the image-to-body network: what each variant changes, that it runs, and what its tables say."""

from __future__ import annotations

import sys

import yaml

from benchmarks import ablate_hmr as ablation
from codebase.config import Config
from codebase.files import read_json
from tests.people import make_people

TINY = {
    "steps": 2, "batch_size": 4, "widths": [8, 8], "blocks": [1, 1], "width": 16, "vertices": 50, "log_every": 1,
    "validate_every": 2, "precision": "fp32",
}  # fmt: skip


def test_every_variant_changes_keys_that_there_are():
    config = Config(name="some", hmr={"start": "enc_dec", "encoder_rate": 0.3})
    found = {name: ablation.variant(config, name, 3) for name in ablation.VARIANTS}
    assert {name for name, one in found.items() if one is None} == {"no spots of colour"}
    found = {name: one for name, one in found.items() if one is not None}
    assert len({one.hmr.name for one in found.values()}) == len(found)
    for name, one in found.items():
        changed = {key: value for key, value in one.hmr if value != getattr(config.hmr, key) and key != "name"}
        assert changed == ablation.changes(config, name) | {"seed": 3}
    scratch = Config(name="some", hmr={"colour_spots": 6})
    absent = {name for name in ablation.VARIANTS if ablation.variant(scratch, name, 0) is None}
    assert absent == set(ablation.TAKEN_OVER) | {"spots of colour"}
    with_it = config.model_copy(update={"hmr": config.hmr.model_copy(update={"joints_2d_weight": 1.0})})
    assert ablation.variant(with_it, "joints in 2D", 0) is None


def test_a_variant_is_trained_and_both_tables_are_written(tmp_path, monkeypatch, capsys):
    people = make_people(tmp_path, train=(1,), acts=(2,), cameras=(1,), size=16, sections={"hmr": TINY})
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(people.config.model_dump(mode="json")))
    folder = people.paths.root / "ablate_hmr"

    def run(*more: str) -> str:
        only = ["--only", ablation.BASE, "one correction"]
        monkeypatch.setattr(sys, "argv", ["ablate_hmr", str(config), *more, *only])
        ablation.main()
        return capsys.readouterr().out

    said = run()
    found = read_json(folder / "table.json")["runs"]
    assert set(found) == {ablation.BASE, "one correction"}
    base = found[ablation.BASE][0]
    assert base["val/pve_mm"] == base["val/pve_mm/iteration_3"]
    assert f"| {base['val/pve_mm/iteration_1']:.1f} | {base['val/pve_mm/iteration_2']:.1f} |" in said
    assert f"| one correction | {found['one correction'][0]['val/pve_mm']:.1f} |  |  |" in said
    assert said.count("the mean body") == 2  # printed after each run
    stamp = (folder / "as_configured_seed0" / "model_2.pt").stat().st_mtime_ns
    run()
    assert (folder / "as_configured_seed0" / "model_2.pt").stat().st_mtime_ns == stamp
    other = Config.model_validate(people.config.model_dump() | {"hmr": people.config.hmr.model_dump() | {"steps": 9}})
    assert ablation.report(other, folder, [0]).count("as configured") == 0  # of another schedule
