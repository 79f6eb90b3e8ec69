"""Packed masks come back bit for bit, rooms are cut as images are, JPEG crops stay close, damage is told."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codebase.data.crops import write_crops
from codebase.data.index import read_index
from codebase.data.packbits import pack, unpack
from codebase.data.pixels import PIXELS, in_threads
from codebase.data.resample import after_reduction, cut, reduction
from codebase.data.rooms import LEVELS, block_means, cut_room
from codebase.data.store import CropStore
from codebase.errors import DataError
from codebase.stages import backgrounds, crops, index
from tests.trees import config, write_tree

MASKS = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.sampled_from([0, 0, 7, 255]))


def unpacked(packed, shape):
    joined = np.frombuffer(b"".join(packed), np.uint8)
    start = np.cumsum([0, *map(len, packed)])
    out = np.full((len(packed), int(np.prod(shape))), 9, np.uint8)
    unpack(joined, start[:-1], start[1:], out, np.arange(len(packed)))
    return out.reshape(-1, *shape)


@given(MASKS, st.booleans())
def test_masks_come_back_bit_for_bit(mask, flip):
    masks = [mask, 255 - mask if flip else mask, np.zeros_like(mask)]
    np.testing.assert_array_equal(unpacked([pack(item) for item in masks], mask.shape), masks)
    assert pack(masks[2]) == b""


@given(st.integers(0, 999))
def test_noise_grows_by_less_than_a_hundredth(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
    assert len(pack(noise)) <= noise.size * 1.01 + 1
    np.testing.assert_array_equal(unpacked([pack(noise)], noise.shape)[0], noise)


def test_it_is_the_packbits_of_tiff():
    # the example of Apple's Technical Note TN1023
    packed = bytes.fromhex("FE AA 02 80 00 2A FD AA 03 80 00 2A 22 F7 AA")
    plain = bytes.fromhex("AA AA AA 80 00 2A AA AA AA AA 80 00 2A 22 AA AA AA AA AA AA AA AA AA AA")
    assert unpacked([packed], (24,))[0].tobytes() == plain
    assert len(pack(np.frombuffer(plain, np.uint8))) <= len(packed)


@given(MASKS, st.integers(1, 30))
def test_damaged_masks_are_refused_and_nothing_is_overrun(mask, missing):
    packed = pack(np.maximum(mask, 1))
    for damaged in (packed[:-missing] or b"\x80", packed + b"\x00\x05", b"\x81\x01" * 99):
        with pytest.raises(ValueError, match="damaged"):
            unpacked([damaged], mask.shape)


SHIFT = st.floats(-60, 60)


@settings(max_examples=60)
@given(
    st.floats(0.1, 2.5), st.floats(0.1, 2.5), SHIFT, SHIFT, st.integers(4, 90), st.integers(4, 90), st.integers(0, 99)
)
def test_a_room_is_cut_as_an_image_is(scale_x, scale_y, shift_x, shift_y, height, width, seed):
    full = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    affine = np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y]])
    factor = reduction(affine)
    shrunk = after_reduction(affine, factor)
    means = block_means(full, factor)
    expected = cut(means, shrunk, 24, repeat_border=True).astype(int)
    maps = np.array([[0.0, 0, 0, 0], [shrunk[0, 0], shrunk[1, 1], *shrunk[:, 2]]])
    out = np.zeros((3, 24, 24, 3), np.uint8)
    cut_room(np.rint(means * LEVELS).astype(np.uint16), maps, np.array([1]), out, np.array([2]))
    differs = np.abs(out[2].astype(int) - expected)
    assert differs.max() <= 1
    assert (differs > 0).mean() < 0.01  # a rounding here and there
    assert not out[:2].any()


@pytest.fixture
def made(tmp_path):
    """Tree, config, indices and background of subject 1, whose frames decode at a half."""
    tree = write_tree(tmp_path / "tree", frames=4, acts=(2,), width=360, height=340)
    own = config(tree, tmp_path, crops={"size": 48, "box_mm": 2000.0})
    files = {f"output_{name}": tmp_path / f"index_{name}.h5" for name in ("train", "val", "test")}
    index.run(own, **files)
    backgrounds.run(own, subject=1, output=tmp_path / "background.npy")
    return own, list(files.values()), tmp_path / "background.npy", tmp_path


def store_of(made, storage, kept="rooms"):
    own, indices, background, folder = made
    chosen = own.crops.model_copy(update={"storage": storage, "backgrounds": kept})
    changed = own.model_copy(update={"crops": chosen})
    output = folder / f"{storage}.h5"
    crops.run(changed, subject=1, index=indices, background=background, output=output)
    return CropStore([output], read_index(indices[0]).key)


def test_both_storages_read_alike(made):
    raw, jpeg = (store_of(made, storage) for storage in ("raw", "jpeg"))
    rows = np.array([[3, 0, 7], [7, 15, 2]])
    first, second = raw.gather(rows, PIXELS), jpeg.gather(rows, PIXELS)
    for name in PIXELS:
        assert first[name].shape == second[name].shape
        assert first[name].dtype == second[name].dtype == torch.uint8
    assert torch.equal(first["mask"], second["mask"])
    assert torch.equal(first["background"], second["background"])
    assert (first["image"].float() - second["image"].float()).abs().mean() < 1.0
    assert raw.digests == jpeg.digests
    with h5py.File(jpeg._pixels[0].path) as file:
        assert len(file["image_bytes"]) < 16 * 48 * 48 * 3 / 2


@pytest.mark.parametrize("kept", ["each", "rooms"])
def test_the_background_of_a_crop_is_the_room_behind_it(made, kept):
    store, rooms = store_of(made, "raw", kept), np.load(made[2])
    with h5py.File(store._pixels[0].path) as file:
        assert ("background" in file) == (kept == "each")
    seen = store.gather(np.arange(16), ("image", "background", "mask"))
    for row in range(16):
        affine = store.crop_from_image[row]
        factor = reduction(affine)
        assert factor > 1
        room = block_means(rooms[store.camera[row] - 1], factor)
        expected = cut(room, after_reduction(affine, factor), 48, repeat_border=True)
        assert np.abs(seen["background"][row].numpy().astype(int) - expected).max() <= 1
    away = seen["mask"] == 0
    assert (seen["image"].float() - seen["background"].float()).abs()[away].mean() < 10


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(made, threads):
    store, before = store_of(made, "jpeg"), torch.get_num_threads()
    rows = np.random.default_rng(0).integers(0, len(store), 40)
    alone = store.gather(rows, PIXELS)
    torch.set_num_threads(threads)
    try:
        together = store.gather(rows, PIXELS)
    finally:
        torch.set_num_threads(before)
    for name in PIXELS:
        assert torch.equal(alone[name], together[name])


def test_every_number_is_given_to_one_thread():
    seen: list[int] = []
    in_threads(lambda numbers: seen.extend(numbers.tolist()), 50, 4)
    assert sorted(seen) == list(range(50))
    in_threads(lambda numbers: seen.extend(numbers.tolist()), 0, 4)
    assert len(seen) == 50


@pytest.mark.parametrize("name", ["image", "mask"])
def test_a_damaged_crop_is_told_with_its_file(made, name):
    store = store_of(made, "jpeg")
    path = store._pixels[0].path
    with h5py.File(path, "r+") as file:
        file[f"{name}_bytes"][:] = 130
    with pytest.raises(DataError, match=r"(?s)damaged.*jpeg\.h5"):
        CropStore([path]).gather(np.arange(4), [name])


def test_a_run_that_fails_leaves_no_scratch(made, tmp_path):
    own, indices, background, folder = made
    rows = crops.collect([read_index(path) for path in indices], 1)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(DataError):
        write_crops(
            folder / "S1.h5", rows, subject=1, config=own.crops, cameras=(1, 2, 3, 4), background=background,
            root=tmp_path / "nowhere", masks_root=tmp_path,
        )  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == before
