"""Batches: the right rows, the same after a resume, pairs of views of one instant, partners of one subject."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from codebase.config import CropsConfig
from codebase.data.batches import CropStore, Frames, ViewPairs, in_turn
from codebase.data.crops import FORMAT, VERSION, CropRows, write_crops
from codebase.data.index import frame_key
from codebase.data.packbits import pack
from codebase.data.pixels import encode_jpeg
from codebase.errors import DataError, UserError
from codebase.files import create_h5
from tests.trees import camera, poses

SIZE = 8


def rows_of(subject, acts=(2, 3), cameras=(1, 2, 3), frames=3, drop=()):
    """Rows as the index orders them, without masks, so that no dataset tree is needed."""
    images = [(a, f, c) for a in acts for f in range(1, frames + 1) for c in cameras if (a, f, c) not in drop]
    views = {c: camera(c, width=96, height=96) for c in cameras}
    action, frame, number = np.array(images, np.int32).reshape(-1, 3).T
    return CropRows(
        action=action, subaction=np.ones_like(action), camera=number, frame=frame,
        has_mask=np.ones(len(action), bool),
        joints_world_mm=np.array([poses(subject, a, 1, f)[f - 1] for a, f, _ in images], np.float32).reshape(-1, 17, 3),
        **{
            name: np.array([views[c][name] for _, _, c in images]).reshape(-1, *shape)
            for name, shape in (("R", (3, 3)), ("T_mm", (3,)), ("f_px", (2,)), ("c_px", (2,)))
        },
        distortion=np.zeros((len(action), 5)),
    )  # fmt: skip


def write(folder, subject, size=SIZE, storage="raw", **rows):
    """A file of crops whose pixels tell their row: image 0 (16 subject + row), background 100 + camera, mask row."""
    from codebase.data import crops

    found = rows_of(subject, **rows)
    path, background = folder / f"S{subject}.h5", folder / "background.npy"
    np.save(background, np.broadcast_to(np.arange(101, 105, dtype=np.uint8)[:, None, None, None], (4, 4, 4, 3)))

    def pixels(task):
        own = frame_key(task.subject, task.rows.action, 1, task.rows.camera, task.rows.frame)
        every = frame_key(subject, found.action, 1, found.camera, found.frame)
        tint = (np.searchsorted(every, own) + 16 * task.subject).astype(np.uint8)
        image = np.broadcast_to(tint[:, None, None, None], (len(own), size, size, 3))
        packed = [pack(np.ascontiguousarray(item[..., 0])) for item in image]
        return (list(image) if storage == "raw" else [encode_jpeg(np.ascontiguousarray(i), 95) for i in image]), packed

    patch = pytest.MonkeyPatch()
    patch.setattr(crops, "_cut_rows", pixels)
    try:
        write_crops(
            path, found, subject=subject, config=CropsConfig(size=size, storage=storage), cameras=(1, 2, 3, 4),
            background=background, root=folder, masks_root=folder,
        )  # fmt: skip
    finally:
        patch.undo()
    return path


@pytest.fixture(params=["raw", "jpeg"])
def files(tmp_path, request):
    return [write(tmp_path, subject, storage=request.param) for subject in (5, 1)]


@pytest.fixture
def store(files):
    return CropStore(files)


def test_rows_are_sorted_whatever_the_order_of_the_files(store):
    assert (np.diff(store.key) > 0).all()
    assert store.subject.tolist() == [1] * 18 + [5] * 18
    assert set(store.digests) == {1, 5}


def test_a_batch_holds_what_the_file_holds(files, store):
    rows = np.array([[20, 3, 3], [35, 0, 17]])
    batch = store.gather(rows, ("image", "mask", "background", "joints_im_mm", "R_world_im", "camera", "key"))
    assert batch["image"].shape == (2, 3, SIZE, SIZE, 3)
    assert batch["image"].dtype == torch.uint8
    assert batch["R_world_im"].dtype == torch.float32
    assert batch["image"][:, :, 0, 0, 0].tolist() == [[82, 19, 19], [97, 16, 33]]
    assert batch["mask"][:, :, 0, 0].tolist() == [[82, 19, 19], [97, 16, 33]]
    assert batch["background"].shape == (2, 3, SIZE, SIZE, 3)
    assert batch["background"][..., 0, 0, 0].tolist() == (100 + batch["camera"]).tolist()
    with h5py.File(files[1]) as one:
        np.testing.assert_array_equal(batch["joints_im_mm"][0, 1], one["joints_im_mm"][3])
    assert batch["key"].tolist() == store.key[rows].tolist()


def test_only_rows_of_the_split_are_there(files, store):
    keys = store.key[[3, 7, 20]]
    chosen = CropStore(files, keys)
    assert chosen.key.tolist() == keys.tolist()
    assert chosen.gather(np.arange(3), ["image"])["image"][:, 0, 0, 0].tolist() == [19, 23, 82]
    with pytest.raises(DataError, match="lack 1 of the 4 rows"):
        CropStore(files, np.append(keys, frame_key(1, 9, 1, 1, 1)))


def test_files_that_do_not_fit_are_refused(files, tmp_path):
    with pytest.raises(DataError, match="S7"):
        CropStore([tmp_path / "S7.h5"])
    with pytest.raises(DataError, match="size"):
        CropStore([files[0], write(tmp_path, 9, size=4)])
    with create_h5(tmp_path / "S2.h5", format_name=FORMAT, version=VERSION):
        pass
    with pytest.raises(DataError, match="lack"):
        CropStore([tmp_path / "S2.h5"])
    with h5py.File(files[0], "r+") as file:
        packed = file["mask_bytes"][:]
        del file["mask_bytes"]
        file.create_dataset("mask_bytes", data=packed, chunks=(16,))
    with pytest.raises(DataError, match="contiguous"):
        CropStore(files)


def test_a_subject_without_rows_is_no_obstacle(files, tmp_path):
    assert len(CropStore([*files, write(tmp_path, 7, frames=0)])) == 36


def streams(store, seed=0):
    yield ViewPairs(store, batch_size=5, seed=seed)
    yield Frames(np.arange(len(store)), lambda rows: store.gather(rows, ["key", "image"]), batch_size=7, seed=seed)


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", range(2))
def test_a_resumed_stream_goes_on_exactly(store, kind):
    first, second = list(streams(store))[kind], list(streams(store))[kind]
    for _ in range(11):
        next(first)
    second.load_state_dict(first.state_dict())
    assert all(same(next(first), next(second)) for _ in range(9))
    other = list(streams(store, seed=1))[kind]
    assert not same(list(streams(store))[kind].batch(0), other.batch(0))
    with pytest.raises(DataError, match="seed"):
        other.load_state_dict(first.state_dict())


def test_batches_made_ahead_are_the_same_batches(store):
    for plain, ahead in zip(streams(store), streams(store), strict=True):
        ahead.ahead = True
        for _ in range(6):
            first, second = next(plain), next(ahead)
            assert all(torch.equal(first[name], second[name]) for name in first)
        for stream in (plain, ahead):
            stream.load_state_dict({"seed": stream.seed, "step": 2})
        first, second = next(plain), next(ahead)
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert ahead.state_dict() == plain.state_dict() == {"seed": plain.seed, "step": 3}


def test_every_row_comes_once_an_epoch(store):
    stream = Frames(np.arange(36), lambda rows: {"row": torch.from_numpy(rows)}, batch_size=8, seed=3)
    rows = torch.cat([next(stream)["row"] for _ in range(9)]).numpy()
    assert sorted(rows[:36]) == sorted(rows[36:]) == list(range(36))
    assert rows[:36].tolist() != rows[36:].tolist()
    assert [len(part) for part in in_turn(np.arange(36), 8)] == [8, 8, 8, 8, 4]


def test_pairs_are_two_cameras_of_one_instant_and_partners_another_act(store):
    stream = ViewPairs(store, batch_size=12, seed=0)
    seen = set()
    for step in range(30):
        source, target, partner = stream.rows(step)
        assert (store.instant[source] == store.instant[target]).all()
        assert (store.camera[source] != store.camera[target]).all()
        assert (store.subject[source] == store.subject[partner]).all()
        assert (store.action[source] != store.action[partner]).all()
        seen |= set(zip(store.camera[source].tolist(), store.camera[target].tolist(), strict=True))
        assert len(set(store.instant[source])) == 12  # there are 12 instants: every batch is an epoch
    assert len(seen) == 6
    batch = stream.batch(0)
    source, target, partner = stream.rows(0)
    assert torch.equal(batch["target_R_world_im"], store.gather(target, ["R_world_im"])["R_world_im"])
    assert (batch["partner_image"][:, 0, 0, 0].numpy() // 16 == store.subject[partner]).all()
    assert (batch["target_background"][:, 0, 0, 0].numpy() == 100 + store.camera[target]).all()


def test_partners_where_there_is_one_act_or_one_instant(tmp_path):
    store = CropStore([write(tmp_path, 1, acts=(2,)), write(tmp_path, 5, acts=(2,), frames=1)])
    for step in range(5):
        source, _, partner = ViewPairs(store, batch_size=8, seed=0).rows(step)
        many = store.subject[source] == 1
        assert (store.instant[source][many] != store.instant[partner][many]).all()
        assert (store.subject[source] == store.subject[partner]).all()


def test_instants_seen_by_one_camera_make_no_pair(tmp_path):
    drop = {(2, 1, 1), (2, 1, 2)}
    store = CropStore([write(tmp_path, 1, drop=drop)])
    assert ViewPairs(store, batch_size=2, seed=0).count == 5
    with pytest.raises(UserError, match="camera"):
        ViewPairs(CropStore([write(tmp_path, 5, cameras=(2,))]), batch_size=2, seed=0)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_have_shares_of_the_one_order(store, processes):
    for step in (0, 3, 8):
        whole = ViewPairs(store, batch_size=6, seed=4)
        shares = [ViewPairs(store, batch_size=6, seed=4, share=(rank, processes)) for rank in range(processes)]
        for one, parts in zip(whole.rows(step), zip(*(part.rows(step) for part in shares), strict=True), strict=True):
            assert one.tolist() == np.concatenate(parts).tolist()
    resumed = Frames(np.arange(36), lambda rows: {"row": torch.from_numpy(rows)}, batch_size=6, seed=1, share=(1, 2))
    resumed.load_state_dict({"seed": 1, "step": 5})
    straight = Frames(np.arange(36), lambda rows: {"row": torch.from_numpy(rows)}, batch_size=6, seed=1)
    assert next(resumed)["row"].tolist() == straight.batch(5)["row"][3:].tolist()
    with pytest.raises(UserError, match="shared equally by 4"):
        ViewPairs(store, batch_size=6, seed=4, share=(0, 4))
