"""The common jpg tree as it is: masks in a tree of their own, pieces of it missing, cameras beyond four."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from codebase.data.human36m import MASK_SUFFIX, META
from codebase.data.index import read_index
from codebase.data.store import CropStore
from codebase.paths import Paths
from codebase.stages import backgrounds, crops, index
from tests import trees


def through(config):
    """Backgrounds, indices and crops of a tree."""
    paths = Paths(config)
    indices = [paths.index(split) for split in ("train", "val", "test")]
    for subject in config.split.subjects:
        backgrounds.run(config, subject=subject, output=paths.background(subject))
    index.run(config, **dict(zip(("output_train", "output_val", "output_test"), indices, strict=True)))
    for subject in config.split.subjects:
        crops.run(
            config, subject=subject, index=indices, background=paths.background(subject), output=paths.crops(subject)
        )
    return paths


@pytest.fixture
def tree(tmp_path):
    return trees.write_tree(tmp_path / "jpg", cameras=(1, 2, 7, 8))


def test_masks_may_lie_in_a_tree_of_their_own(tree, tmp_path):
    """As the original has them: the same names, .png, under another root, without meta files."""
    plain = through(trees.config(tree, tmp_path / "plain"))
    masks = tmp_path / "masks"
    for path in sorted(tree.root.rglob(f"*{MASK_SUFFIX}")):
        target = masks / path.relative_to(tree.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    without = through(trees.config(tree, tmp_path / "without"))
    apart = through(trees.config(tree, tmp_path / "apart", dataset__masks_root=masks))
    for subject in (1, 8, 9):
        columns = []
        for paths in (plain, apart, without):
            store = CropStore([paths.crops(subject)])
            pixels = store.gather(np.arange(len(store)), ("image", "mask"))
            columns.append({name: values.numpy() for name, values in pixels.items()})
            columns[-1] |= {"has_mask": store.has_mask, "camera": store.camera}
        for name, values in columns[0].items():
            np.testing.assert_array_equal(values, columns[1][name])
        assert columns[0]["has_mask"].all()
        assert not columns[2]["has_mask"].any()
        assert set(columns[0]["camera"]) == {1, 2, 7, 8}


def test_a_tree_with_gaps_goes_on_and_says_what_is_missing(tree, tmp_path):
    first, second, third = tree.folders[0], tree.folders[1], tree.folders[2]
    second_frame = first.file(tree.root, 2)
    second_frame.unlink()  # frames 1 and 3: not consecutive
    first.file(tree.root, 3, MASK_SUFFIX).unlink()
    (tree.root / second.name / META).unlink()
    shutil.rmtree(tree.root / third.name)
    paths = through(trees.config(tree, tmp_path / "results"))
    found = read_index(paths.index("train"))
    mine = (found.camera == 1) & (found.action == first.action)
    assert found.frame[mine].tolist() == [1, 3]
    assert found.has_mask[mine].tolist() == [True, False]
    reasons = {item.name: item.reason for item in found.exclusions}
    assert "no file for these frames: 2" in reasons[first.name]
    assert "does not exist" in reasons[second.name]
    assert "does not exist" in reasons[third.name]
