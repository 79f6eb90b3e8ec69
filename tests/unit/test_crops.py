"""Crops: a point of the image lands where geometry says, nothing aliases, rows are those of the index."""

from __future__ import annotations

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from codebase.data.crops import collect
from codebase.data.human36m import META, read_frame, read_mask_of
from codebase.data.index import read_index
from codebase.data.pixels import PIXELS
from codebase.data.resample import after_reduction, cut, reduction
from codebase.data.store import CropStore
from codebase.errors import DataError
from codebase.geometry import apply_affine, project, world_to_camera
from codebase.skeleton import H36M
from codebase.stages import backgrounds, check, crops, index
from tests.trees import config, poses, write_tree


def affine(scale_x, scale_y, shift_x, shift_y):
    return np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y]], float)


def centroid(image):
    weight = image.astype(float)
    v, u = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


SCALE = st.floats(0.08, 1.8)
SHIFT = st.floats(-3, 3)


@settings(max_examples=60, deadline=None)
@given(SCALE, SCALE, SHIFT, SHIFT, st.integers(30, 150), st.integers(30, 150))
def test_a_dot_lands_at_its_place(scale_x, scale_y, shift_x, shift_y, u, v):
    image = np.zeros((200, 200), np.float32)
    image[v - 12 : v + 13, u - 12 : u + 13] = 250  # a square is brighter than rounding, its centroid is its middle
    to_crop = affine(scale_x, scale_y, shift_x, shift_y)
    crop = cut(image, to_crop, 400, repeat_border=False)
    assert np.abs(centroid(crop) - apply_affine(to_crop, np.array([[u, v]], float))[0]).max() < 0.1


@settings(max_examples=20, deadline=None)
@given(st.floats(0.09, 0.3), SHIFT, SHIFT, st.integers(40, 420), st.integers(40, 420))
def test_a_dot_lands_at_its_place_through_a_jpeg_decoded_smaller(tmp_path_factory, scale, shift_x, shift_y, u, v):
    path = tmp_path_factory.mktemp("dot") / "dot.jpg"
    image = np.zeros((479, 465, 3), np.uint8)
    cv2.circle(image, (u, v), 16, (250, 250, 250), -1, lineType=cv2.LINE_8)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 97])
    to_crop = affine(scale, scale, shift_x, shift_y)
    factor = reduction(to_crop)
    assert factor > 1
    crop = cut(read_frame(path, reduce=factor), after_reduction(to_crop, factor), 150, repeat_border=True)
    place = apply_affine(to_crop, np.array([[u, v]], float))[0]
    assert np.abs(centroid(np.where(crop[..., 0] > 10, crop[..., 0], 0)) - place).max() < 0.1


def test_shrinking_averages_and_does_not_alias():
    checks = ((np.indices((400, 400)).sum(0) % 2) * 255).astype(np.uint8)
    crop = cut(checks, affine(0.25, 0.25, 0.4, -0.3), 64, repeat_border=True)[2:, 2:]
    assert np.abs(crop.astype(int) - 127).max() <= 1  # a bilinear warp shows 0 and 255 here
    assert cut(checks, affine(1, 1, 0, 0), 64, repeat_border=True).tolist() == checks[:64, :64].tolist()


def test_magnifying_interpolates_linearly():
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (20, 1))
    crop = cut(ramp, affine(2, 2, 0, 0), 20, repeat_border=True)
    assert crop[5].tolist() == [5 * i for i in range(20)]


def test_beyond_the_border():
    image = np.full((10, 10, 3), 200, np.uint8)
    far = affine(1, 1, 40, 5)
    assert (cut(image, far, 20, repeat_border=True) == 200).all()
    outside = cut(image, far, 20, repeat_border=False)
    assert (outside == 0).all()


@pytest.mark.parametrize(("pixels", "factor"), [(0.5, 1), (2.9, 1), (3, 2), (5.9, 2), (6, 4), (12, 8), (40, 8)])
def test_decoding_smaller_leaves_more_than_a_pixel_to_a_crop_pixel(pixels, factor):
    assert reduction(affine(1 / pixels, 1 / pixels, 0, 0)) == factor


@pytest.fixture
def made(tmp_path):
    """A tree of 3 subjects with indices, backgrounds and crops of subject 1."""
    tree = write_tree(tmp_path / "tree", frames=4)
    settings_ = config(tree, tmp_path, crops={"size": 48, "box_mm": 2000.0}, runtime={"workers": 2})
    files = {name: tmp_path / f"index_{name}.h5" for name in ("train", "val", "test")}
    index.run(settings_, **{f"output_{name}": path for name, path in files.items()})
    backgrounds.run(settings_, subject=1, output=tmp_path / "background.npy")
    return tree, settings_, list(files.values()), tmp_path / "background.npy", tmp_path / "S1.h5"


def test_a_mask_of_another_size_is_one_error_that_names_both_files(made):
    tree, settings_, indices, background, output = made
    frame = tree.folders[0].file(tree.root, 2)
    # as close as the index does not tell it: it looks at an eighth of the pixels
    cv2.imwrite(str(frame.with_suffix(".png")), np.zeros((92, 96), np.uint8))
    with pytest.raises(DataError, match="The mask has 96 x 92 pixels, its frame 96 x 96") as error:
        crops.run(settings_, subject=1, index=indices, background=background, output=output)
    assert str(frame) in str(error.value)
    assert str(frame.with_suffix(".png")) in str(error.value)
    assert not output.exists()


@settings(max_examples=20)
@given(st.integers(17, 80), st.integers(17, 80), st.sampled_from([1, 2, 4, 8]))
def test_masks_fit_frames_that_are_decoded_smaller(tmp_path_factory, width, height, factor):
    folder = tmp_path_factory.mktemp("pair")
    frame, mask, other = (folder / name for name in ("frame.jpg", "mask.png", "other.png"))
    cv2.imwrite(str(frame), np.zeros((height, width, 3), np.uint8))
    cv2.imwrite(str(mask), np.zeros((height, width), np.uint8))
    cv2.imwrite(str(other), np.zeros((height, width + factor), np.uint8))
    shape = read_frame(frame, reduce=factor).shape
    assert read_mask_of(mask, frame, shape, reduce=factor).shape == (height, width)
    with pytest.raises(DataError, match=rf"{width + factor} x {height} pixels"):
        read_mask_of(other, frame, shape, reduce=factor)


def test_crops_hold_the_rows_of_the_index_and_the_person_where_it_is(made):
    _, settings_, indices, background, output = made
    crops.run(settings_, subject=1, index=indices, background=background, output=output)
    with h5py.File(output) as file:
        found = {name: item[:] for name, item in file.items() if name != "rooms"}
        assert file["image"].id.get_offset() is not None
        assert file.attrs["storage"] == "raw"
        assert file.attrs["size"] == 48
        assert file.attrs["subject"] == 1
    found |= {name: value.numpy() for name, value in CropStore([output]).gather(np.arange(32), PIXELS).items()}
    rows = collect([read_index(path) for path in indices], 1)
    assert len(rows) == 2 * 4 * 4
    for name in ("action", "subaction", "camera", "frame", "has_mask"):
        np.testing.assert_array_equal(found[name], getattr(rows, name))
    for row in range(0, 32, 5):
        pose = poses(1, int(rows.action[row]), 1, 4)[rows.frame[row] - 1]
        pixels = project(world_to_camera(pose, rows.R[row], rows.T_mm[row]), rows.f_px[row], rows.c_px[row])
        inside = apply_affine(found["crop_from_image"][row], pixels)
        assert np.abs(inside[H36M.index("root")] - 23.5).max() < 1e-3
        # trees.py draws the box about the joints, up to half a pixel of the frame off on each side
        low, high = inside.min(0), inside.max(0)
        assert np.abs(centroid(found["mask"][row]) - (low + high) / 2).max() < 0.6
        u, v = np.rint((low + high) / 2).astype(int)
        red, green, blue = found["image"][row, v, u].astype(int)
        assert red > green + 60
        assert red > blue + 60
        centred = (pose - pose[0]) @ found["R_world_im"][row].T
        np.testing.assert_allclose(found["joints_im_mm"][row], centred, atol=0.01)
    check.run(settings_, what="crops", files=[output], against=[], output=output.with_suffix(".json"))


def test_an_unlabelled_person_is_cut_and_has_no_joints(made):
    tree, settings_, indices, background, output = made
    for folder in tree.folders[:4]:
        path = tree.root / folder.name / META
        raw = {key: value for key, value in loadmat(path).items() if not key.startswith("_")}
        raw["pose3d_world"][:2, 1:] = np.nan
        savemat(path, raw)
    index.run(settings_, **{f"output_{path.stem[6:]}": path for path in indices})
    crops.run(settings_, subject=1, index=indices, background=background, output=output)
    with h5py.File(output) as file:
        known = file["has_joints"][:]
        assert (~known).sum() == 8
        assert np.isnan(file["joints_im_mm"][:][~known]).all()
        assert np.isfinite(file["joints_im_mm"][:][known]).all()
        assert np.isfinite(file["root_world_mm"][:]).all()
    check.run(settings_, what="crops", files=[output], against=[], output=output.with_suffix(".json"))
    assert (CropStore([output]).has_joints == known).all()


def test_workers_change_nothing(made):
    _, settings_, indices, background, output = made
    single = settings_.model_copy(update={"runtime": settings_.runtime.model_copy(update={"workers": 1})})
    crops.run(settings_, subject=1, index=indices, background=background, output=output)
    crops.run(single, subject=1, index=indices, background=background, output=output.with_name("again.h5"))
    with h5py.File(output) as one, h5py.File(output.with_name("again.h5")) as two:
        assert one.attrs["digest"] == two.attrs["digest"]
        for name in [name for name in one if name != "rooms"]:
            np.testing.assert_array_equal(one[name][:], two[name][:])


def test_a_frame_that_is_gone_is_named(made):
    tree, settings_, indices, background, output = made
    tree.folders[0].file(tree.root, 2).unlink()
    with pytest.raises(DataError, match=rf"{tree.folders[0].name}_000002\.jpg"):
        crops.run(settings_, subject=1, index=indices, background=background, output=output)
    assert not output.exists()


def test_a_background_that_does_not_fit_is_named(made):
    _, settings_, indices, background, output = made
    np.save(background, np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"background\.npy"):
        crops.run(settings_, subject=1, index=indices, background=background, output=output)
    background.write_bytes(b"")
    with pytest.raises(DataError, match=r"background\.npy"):
        crops.run(settings_, subject=1, index=indices, background=background, output=output)


def test_a_subject_without_rows_gives_an_empty_file(made):
    _, settings_, indices, background, output = made
    crops.run(settings_, subject=7, index=indices, background=background, output=output)
    check.run(settings_, what="crops", files=[output], against=[], output=output.with_suffix(".json"))
    with h5py.File(output) as file:
        assert file["image"].shape == (0, 48, 48, 3)
    assert CropStore([output]).gather(np.zeros(0, np.int64), PIXELS)["mask"].shape == (0, 48, 48)
