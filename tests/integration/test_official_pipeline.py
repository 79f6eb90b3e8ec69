"""From official archives to crops through the real workflow, and on from an interrupted run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml
from conftest import make_house, run_in

from codebase.config import read_config
from codebase.data.crops import FORMAT, VERSION
from codebase.data.human36m import list_frames
from codebase.data.index import read_index
from codebase.data.store import CropStore
from codebase.files import open_h5
from codebase.geometry import project, world_to_camera
from codebase.paths import Paths
from tests.official.writer import pack, write_official

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SUBJECTS, FRAMES = (1, 8, 9), 13
CONFIG = {
    "name": "official",
    "dataset": {"kind": "extract", "subjects": list(SUBJECTS), "acts": [2], "subacts": [1], "cameras": [1, 2]},
    "extract": {"source": "archives", "every": 2},
    "split": {
        "train": {"subjects": [1], "every": 2}, "val": {"subjects": [8], "every": 4},
        "test": {"subjects": [9], "every": 6},
    },
    "backgrounds": {"every": 2}, "crops": {"size": 32}, "runtime": {"workers": 1, "threads": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A house with official archives, one video of them broken, in which the workflow has cut the crops."""
    root = make_house(tmp_path_factory.mktemp("official") / "house")
    official = write_official(
        root.parent / "source", subjects=SUBJECTS, subacts=(1,), cameras=(1, 2), frames=FRAMES, size=128
    )
    official.video(8, 2, 1, 2).write_bytes(b"broken")
    pack(official, root / "archives")
    shutil.copy(official.root / "metadata.xml", root / "archives")
    (root / "configs/official.yaml").write_text(yaml.safe_dump(CONFIG))
    done = snakemake(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, official


def snakemake(root, *more):
    crops = [f"results/official/crops/S{subject}.h5" for subject in SUBJECTS]
    words = ("--configfile", "configs/official.yaml", "--profile", "cluster_profiles/local", "--cores", "2", *more)
    return run_in(root, "snakemake", *crops, *words, timeout=500)


def paths_of(root):
    return Paths(read_config(root / "results/official/config.yaml"))


def test_the_tree_the_indices_and_the_crops_hold_the_same_frames(house):
    root, _ = house
    paths = paths_of(root)
    name = "s_01_act_02_subact_01_ca_01"
    assert list_frames(root / paths.dataset / name, name).tolist() == [1, 3, 5, 7, 9, 11, 13]
    expected = {"train": [1, 3, 5, 7, 9, 11, 13], "val": [1, 5, 9, 13], "test": [1, 7, 13]}
    for (split, frames), subject in zip(expected.items(), SUBJECTS, strict=True):
        index = read_index(root / paths.index(split))
        cameras = [1] if subject == 8 else [1, 2]
        assert index.frame.tolist() == [frame for frame in frames for _ in cameras]
        assert index.has_mask.all()
        with open_h5(root / paths.crops(subject), format_name=FORMAT, version=VERSION) as file:
            np.testing.assert_array_equal(file["frame"][:], index.frame)


def test_what_was_broken_is_named_in_the_index(house):
    root, _ = house
    index = read_index(root / paths_of(root).index("val"))
    assert [(item.name, item.kind) for item in index.exclusions] == [("s_08_act_02_subact_01_ca_02", "folder")]
    assert "no readable video" in index.exclusions[0].reason
    told = json.loads((root / paths_of(root).extracted(8)).read_text())
    assert told["counts"]["left_out_folders"] == 1


def test_the_lens_reaches_the_crops(house):
    """Joints of a crop's own camera, an ideal one, lie where the crop shows them: on the person's mask."""
    root, official = house
    paths = paths_of(root)
    hits = []
    masks = CropStore([root / paths.crops(1)]).gather(np.arange(14), ["mask"])["mask"].numpy().reshape(14, 32, 32)
    with open_h5(root / paths.crops(1), format_name=FORMAT, version=VERSION) as file:
        for row in range(len(file["frame"])):
            joints = official.takes[1, 2, 1].joints_mm[file["frame"][row] - 1]
            seen = world_to_camera(joints, file["R"][row], file["T_mm"][row])
            pixels = project(seen, file["f_px"][row], file["c_px"][row])
            affine = file["crop_from_image"][row]
            u, v = np.rint(affine[:, :2] @ pixels.T + affine[:, 2:]).astype(int)
            inside = (u >= 0) & (u < 32) & (v >= 0) & (v < 32)
            hits.append((masks[row][v[inside], u[inside]] > 0).mean())
    assert np.mean(hits) > 0.8


def test_a_second_run_has_nothing_to_do(house):
    root, _ = house
    done = snakemake(root)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_mended_source_fills_the_gap_and_nothing_else(house):
    root, official = house
    dataset = root / paths_of(root).dataset
    before = {path: path.stat().st_mtime_ns for path in dataset.glob("s_*/*")}
    healthy = official.video(8, 2, 1, 1).read_bytes()
    official.video(8, 2, 1, 2).write_bytes(healthy)  # of the wrong size by two rows, which is tolerated
    shutil.rmtree(root / "archives")
    pack(official, root / "archives")
    shutil.copy(official.root / "metadata.xml", root / "archives")
    done = snakemake(root, "--forcerun", "extract")
    assert done.returncode == 0, done.stderr
    assert (dataset / "s_08_act_02_subact_01_ca_02").is_dir()
    assert before.keys() <= set(dataset.glob("s_*/*"))
    assert not read_index(root / paths_of(root).index("val")).exclusions
