"""The rig door: calibrations of three kinds, pictures, videos, joints, roots, boxes; what is wrong in rig.json."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor, wait

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from codebase.config import Config
from codebase.config.rig import Rig
from codebase.data.doors import hull
from codebase.data.doors.calibration import read_cameras, to_z_up
from codebase.data.doors.difference import person_mask, room_of
from codebase.data.doors.pictures import Files, Picture, _jpeg_size
from codebase.data.doors.rig_source import read_rig
from codebase.data.human36m import MASK_SUFFIX, Folder, list_frames, read_frame, read_mask, read_meta
from codebase.data.indexing import build
from codebase.data.scan import scan
from codebase.errors import UserError
from codebase.paths import Paths
from codebase.training.lock import RunLock
from tests.doors.people import render
from tests.doors.rigs import DIST, HEIGHT, WIDTH, Y_UP, film, rig_camera, write_rig
from tests.official.runs import run

EYE = np.eye(3).tolist()
K = [[500, 0, 320], [0, 501, 240], [0, 0, 1]]
CAMERA = {"name": "a", "size": [640, 480], "K": K, "R": EYE, "t": [0, 0, 0]}
OTHER = CAMERA | {"name": "b", "t": [1, 0, 0]}
SEQUENCE = {"subject": 1, "act": 2, "views": {"a": {"images": "a/%04d.png"}, "b": {"images": "b/%04d.png"}}}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return render(tmp_path_factory.mktemp("people") / "tree", acts=(2, 14, 16))


@pytest.fixture(scope="module")
def rig(people, tmp_path_factory):
    return write_rig(tmp_path_factory.mktemp("rig"), people)


def config_of(folder, source, *, cameras=(1, 2, 3), **keys):
    return Config.model_validate({
        "name": "run", "results": folder, "backgrounds": {"every": 1},
        "dataset": {"kind": "extract", "subjects": (1, 8), "acts": (2, 14, 16), "subacts": (1,), "cameras": cameras},
        "split": {"train": {"subjects": (1,)}, "val": {"subjects": (1,)}, "test": {"subjects": (8,)}},
        "extract": {"door": "rig", "source": source, **keys},
    })  # fmt: skip


def left_out_of_the_index(config):
    tree = Paths(config).dataset
    return build(scan(config.dataset, tree, tree, subjects=(1,)), config, tree, tree, split="train").exclusions


def reasons(content):
    return " | ".join(f"{item['name']}: {item['reason']}" for item in content["left_out"])


def changed(source, target, subject, change):
    """A copy of a rig whose S{subject}/rig.json was edited."""
    shutil.copytree(source, target)
    path = target / f"S{subject}" / "rig.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return target


def test_a_labelled_subject_comes_back_in_z_up_and_mm(people, rig, tmp_path):
    config = config_of(tmp_path, rig)
    content = run(config)
    assert content["counts"] == {
        "folders": 9, "frames": 54, "masks": 54, "left_out_folders": 0, "left_out_frames": 0, "left_out_masks": 0,
    }  # fmt: skip
    root = Paths(config).dataset
    for act in people.acts:
        for number in (1, 2, 3):
            folder, shot = Folder(1, act, 1, number), people.shot(1, act, number)
            lens, meta = rig_camera(people.shot(1, people.acts[0], number), "x"), read_meta(root / folder.name)
            np.testing.assert_allclose(meta.pose3d_world_mm, shot.joints_world_mm, atol=1e-6)
            np.testing.assert_allclose(meta.T_mm, shot.T_mm, atol=1e-6)
            np.testing.assert_allclose(meta.distortion, DIST)
            found = cv2.imread(str(folder.file(root, 3)))[..., ::-1].astype(float)
            assert np.abs(found - film(shot.frames[2], shot, lens, cv2.INTER_LINEAR)).mean() < 3  # JPEG's loss
            truth = film(shot.masks[2].astype(np.uint8) * 255, shot, lens, cv2.INTER_LINEAR) >= 128
            assert (read_mask(folder.file(root, 3, MASK_SUFFIX)) >= 128).tolist() == truth.tolist()
            assert (meta.width, meta.height) == (WIDTH, HEIGHT)


def test_without_joints_and_masks_roots_and_masks_are_found(people, rig, tmp_path):
    config = config_of(tmp_path, rig)
    content = run(config, subject=8)
    assert content["counts"]["folders"] == 9
    root, errors, overlaps = Paths(config).dataset, [], []
    for act in people.acts:
        folder, shot = Folder(8, act, 1, 2), people.shot(8, act, 2)
        meta, lens = read_meta(root / folder.name), rig_camera(people.shot(8, people.acts[0], 2), "x")
        assert np.isnan(meta.pose3d_world_mm[:, 1:]).all()
        errors += np.linalg.norm(meta.pose3d_world_mm[:, 0] - shot.joints_world_mm[:, 0], axis=1).tolist()
        for frame in list_frames(root / folder.name, folder.name, MASK_SUFFIX).tolist():
            truth = film(shot.masks[frame - 1].astype(np.uint8) * 255, shot, lens, cv2.INTER_LINEAR) >= 128
            found = read_mask(folder.file(root, frame, MASK_SUFFIX)) >= 128
            overlaps.append((truth & found).sum() / (truth | found).sum())
    assert np.nanmedian(errors) < 250
    assert np.median(overlaps) > 0.6


def test_videos_and_late_cameras_give_the_same_instants(people, tmp_path):
    source = write_rig(tmp_path / "rig", people, first=1, videos=True)

    def later(content):
        view = content["sequences"][0]["views"]["cam_b"]
        view["first"] = 3  # its picture 3 shows the first instant, as if it had been switched on earlier

    changed(source, tmp_path / "late", 1, later)
    config = config_of(tmp_path, tmp_path / "late", every=1)
    content = run(config)
    root, shot = Paths(config).dataset, people.shot(1, 2, 2)
    assert list_frames(root / Folder(1, 2, 1, 2).name, Folder(1, 2, 1, 2).name).tolist() == [1, 2, 3, 4]
    lens = rig_camera(shot, "x")
    found = read_frame(Folder(1, 2, 1, 2).file(root, 1)).astype(float)
    gaps = [np.abs(found - film(frame, shot, lens, cv2.INTER_LINEAR)).mean() for frame in shot.frames]
    assert int(np.argmin(gaps)) == 2
    assert "no picture with these numbers: 7, 8" in reasons(content)


def test_a_second_run_writes_nothing_and_a_changed_source_is_read_again(rig, tmp_path):
    source = shutil.copytree(rig, tmp_path / "rig")
    config = config_of(tmp_path, source)
    run(config)
    root = Paths(config).dataset
    first, second = (Folder(1, act, 1, 1).file(root, 3) for act in (2, 14))
    before = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    run(config)
    assert (first.stat().st_mtime_ns, second.stat().st_mtime_ns) == before
    place = source / "S1" / "act2" / "cam_a"
    (place / "0002.png").write_bytes((place / "0003.png").read_bytes())
    run(config)
    assert first.read_bytes() == Folder(1, 2, 1, 1).file(root, 4).read_bytes()
    assert second.stat().st_mtime_ns == before[1]


def test_two_jobs_of_one_subject_do_not_write_at_once(rig, tmp_path):
    """As a Snakemake that was killed and started again submits them."""
    config = config_of(tmp_path, rig)
    with ThreadPoolExecutor() as pool, RunLock(tmp_path / "run/locks/extract_S1", "d") as other:
        other.acquire(lambda: None)
        waiting = pool.submit(run, config)
        wait([waiting], timeout=1)
        assert not waiting.done()
        assert not (tmp_path / "run/dataset").exists()
        other.release(finished=False)
        assert len(waiting.result(timeout=60)["folders"]) == 9


def test_pictures_that_are_broken_missing_or_doubled_are_left_out(rig, tmp_path):
    source = shutil.copytree(rig, tmp_path / "rig")
    place = source / "S1" / "act2" / "cam_a"
    (place / "0000.png").write_bytes(b"")
    cv2.imwrite(str(place / "0001.png"), np.zeros((20, 20, 3), np.uint8))
    (place / "0002.png").unlink()
    shutil.copy(place / "0003.png", place / "3.png")
    (place / "mask_0004.png").unlink()
    text = "this is no picture"
    (place / "0005.png").write_text(text)
    lost = source / "S1" / "act2" / "cam_b" / "0001.png"
    lost.unlink()
    lost.symlink_to("nowhere.png")
    content = run(config_of(tmp_path, source))
    found = reasons(content)
    for reason in (
        "the file is empty", "the picture has 20 x 20 pixels, its camera 200 x 176", "no picture with these numbers: 2",
        "0003.png and 3.png are both picture 3", "there is no mask file", "the file is no readable image",
        "No such file or directory",
    ):  # fmt: skip
        assert reason in found
    assert content["counts"]["folders"] == 9
    # the index repeats each reason, and counts each picture once
    found = left_out_of_the_index(config_of(tmp_path, source))
    name = Folder(1, 2, 1, 1).name
    frames = [item for item in found if item.name.startswith(name) and item.kind == "frame"]
    assert [item.count for item in frames] == 5 * [1]
    for reason in (
        "the file is empty",
        "20 x 20 pixels",
        "are both picture 3",
        "these numbers: 2",
        "no readable image",
    ):
        assert sum(reason in item.reason for item in found) == 1
    assert [item.name for item in found if item.kind == "mask"] == [f"{name}/{name}_000005.png"]
    shutil.rmtree(source / "S1" / "act14" / "cam_b")
    (source / "S1" / "act16.npz").write_bytes(b"PK nothing")
    content = run(config_of(tmp_path / "again", source))
    assert "no picture named like act14/cam_b/%04d.png" in reasons(content)
    assert "act16.npz: The file cannot be read" in reasons(content)
    assert content["counts"]["folders"] == 9 - 1 - 3


def test_boxes_and_given_roots_place_people(people, rig, tmp_path):
    def boxes(content):
        for one in content["sequences"]:
            one.pop("joints", None)
            for name, view in one["views"].items():
                number = "abc".index(name[-1]) + 1
                shot = people.shot(1, one["act"], number)
                lens = rig_camera(people.shot(1, people.acts[0], number), name)
                pixels = [lens.pixels(pose) for pose in shot.joints_world_mm]
                rows = [[*p.min(0).tolist(), *(p.max(0) - p.min(0)).tolist()] for p in pixels]
                view["boxes"] = f"boxes_{one['act']}_{name}.json"
                (tmp_path / view["boxes"]).write_text(json.dumps(rows))

    source = changed(rig, tmp_path / "boxed", 1, boxes)
    for path in tmp_path.glob("boxes_*.json"):
        shutil.copy(path, source / "S1")
    config = config_of(tmp_path / "a", source)
    run(config)
    meta = read_meta(Paths(config).dataset / Folder(1, 14, 1, 1).name)
    errors = np.linalg.norm(meta.pose3d_world_mm[:, 0] - people.shot(1, 14, 1).joints_world_mm[:, 0], axis=1)
    assert errors.max() < 300
    assert np.isnan(meta.pose3d_world_mm[:, 1:]).all()

    def roots(content):
        for one in content["sequences"]:
            one["roots"] = {"file": f"roots{one['act']}.npz"}
            one.pop("joints")
            places = people.shot(1, one["act"], 1).joints_world_mm[:3, 0] @ Y_UP.T / 1000
            np.savez(tmp_path / one["roots"]["file"], joints=places, instants=np.array([1, 2, 4]))

    source = changed(rig, tmp_path / "rooted", 1, roots)
    for path in tmp_path.glob("roots*.npz"):
        shutil.copy(path, source / "S1")
    config = config_of(tmp_path / "b", source)
    run(config)
    meta = read_meta(Paths(config).dataset / Folder(1, 2, 1, 1).name)
    np.testing.assert_allclose(meta.pose3d_world_mm[3, 0], people.shot(1, 2, 1).joints_world_mm[2, 0], atol=1e-6)
    assert np.isfinite(meta.pose3d_world_mm[2, 0]).all()  # from the masks


def test_more_than_four_cameras_keep_their_numbers(people, tmp_path):
    source = write_rig(tmp_path / "rig", people, cameras=(1, 2, 3, 4), numbers=(1, 7, 42, 99))
    config = config_of(tmp_path, source, cameras=(7, 42, 99))
    content = run(config)
    assert sorted(content["folders"])[:3] == [Folder(1, 2, 1, n).name for n in (7, 42, 99)]


def panoptic(camera, number):
    """The same camera in Panoptic's own way: cm, y down."""
    flip = np.diag([1, -1, -1])  # our test world is y up; Panoptic's points down
    return {
        "name": f"00_{number:02d}", "type": "hd", "resolution": list(camera.size), "panel": 0, "node": number,
        "K": camera.K.tolist(), "distCoef": camera.dist.tolist(), "R": (camera.R @ flip).tolist(),
        "t": (100 * camera.t_m)[:, None].tolist(),
    }  # fmt: skip


def skeletool(camera, number):
    """The same camera in MPI-INF-3DHP's own way: mm, y up, 4 x 4 matrices."""
    inner, outer = np.eye(4), np.eye(4)
    inner[:3, :3], outer[:3, :3], outer[:3, 3] = camera.K, camera.R, 1000 * camera.t_m
    rows = [" ".join(f"{x:.12g}" for x in matrix.ravel()) for matrix in (inner, outer)]
    return (
        f"name          {number}\n  sensor      10 10\n  size        {camera.size[0]} {camera.size[1]}\n"
        f"  animated    0\n"
        f"  intrinsic   {rows[0]} \n  extrinsic   {rows[1]} \n  radial      0\n"
    )


@pytest.mark.parametrize("kind", ["opencv", "panoptic", "mpi_inf_3dhp"])
def test_calibrations_of_other_makers_give_the_same_cameras(people, tmp_path, kind):
    dist = () if kind == "mpi_inf_3dhp" else DIST
    lenses = [rig_camera(people.shot(1, 2, n), f"cam{n}", dist=dist) for n in (1, 2, 3)]
    path = tmp_path / "calibration"
    names = {"opencv": "cam{}", "panoptic": "00_{:02d}", "mpi_inf_3dhp": "{}"}[kind]
    if kind == "mpi_inf_3dhp":
        blocks = "".join(skeletool(lens, n) for n, lens in enumerate(lenses, start=1))
        path.write_text(f"Skeletool Camera Calibration File V1.0\n{blocks}")
    else:
        entries = [panoptic(c, n) if kind == "panoptic" else c.entry() for n, c in enumerate(lenses, start=1)]
        path.write_text(json.dumps({"calibDataSource": "x", "cameras": entries} if kind == "panoptic" else
                                   {"cameras": entries}))  # fmt: skip
    raw = {
        "calibration": {"format": kind, "file": path.name, "cameras": {names.format(n): 10 * n for n in (1, 2, 3)}},
        "sequences": [SEQUENCE],
    }
    if kind == "opencv":
        raw["world"] = {"up": "y", "unit": "m"}
    cameras = read_cameras(Rig.model_validate(raw), tmp_path)
    points = people.shot(1, 2, 1).joints_world_mm[0]
    for number, lens in enumerate(lenses, start=1):
        found = cameras[names.format(number)]
        assert found.number == 10 * number
        np.testing.assert_allclose(found.T_mm, people.shot(1, 2, number).T_mm, atol=1e-6)
        np.testing.assert_allclose(found.pixels(points), lens.pixels(points), atol=1e-6)


def broken(**changes):
    raw = {"cameras": [CAMERA, OTHER], "sequences": [SEQUENCE]} | changes
    return {key: value for key, value in raw.items() if value is not None}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (broken(cameras=None), "must hold either `cameras` or `calibration`"),
        (broken(cameras=[CAMERA]), "The rig has 1 cameras"),
        (broken(cameras=[CAMERA, CAMERA | {"t": [1, 0, 0]}]), "Two cameras have the name a"),
        (broken(cameras=[CAMERA | {"number": 3}, OTHER | {"number": 3}]), "Two cameras have the number 3"),
        (broken(cameras=[CAMERA, CAMERA | {"name": "b"}]), "stand in the same place and look the same way"),
        (broken(cameras=[CAMERA, OTHER | {"R": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}]), "R of camera b is no rotation"),
        (broken(cameras=[CAMERA, OTHER | {"K": [[500, 0, 320], [0, -5, 240], [0, 0, 1]]}]), "K of camera b"),
        (broken(cameras=[CAMERA, OTHER | {"dist": [0, 0, 0, 0, 0, 0.1, 0, 0]}]), "has 8 numbers; OpenCV's model of 5"),
        (broken(cameras=[CAMERA, OTHER | {"number": 100}]), "The camera number 100 is too large"),
        (broken(cameras=[CAMERA, OTHER | {"distt": [0.1]}]), r"cameras\.1\.distt: unknown key; did you mean 'dist'"),
        (broken(sequences=[SEQUENCE | {"views": {"a": {"imags": "x/%d.png"}}}]), "did you mean 'images'"),
        (broken(sequences=[SEQUENCE | {"views": {"a": {"images": "x.png"}}}]), "must have one number"),
        (broken(sequences=[SEQUENCE, SEQUENCE]), "stand there more than once"),
        (broken(sequences=[SEQUENCE | {"views": {"a": {"video": "x.mp4", "first": 0}}}]), "count from 1"),
        (broken(sequences=[SEQUENCE | {"views": {"z": {"images": "x/%d.png"}}}]), "names the camera 'z'"),
    ],
)
def test_what_is_wrong_in_rig_json_is_named(raw, message, tmp_path):
    (tmp_path / "rig.json").write_text(json.dumps(raw))
    config = config_of(tmp_path / "results", tmp_path)
    with pytest.raises(UserError, match=message):
        run(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"cameras": [], "cameras": []}', "stands twice"), ("{", "no valid JSON"), ("[]", "no JSON object")],
)
def test_a_rig_json_that_is_no_json_is_one_clear_error(text, message, tmp_path):
    (tmp_path / "rig.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_rig(tmp_path / "rig.json")


@pytest.mark.parametrize("up", ["x", "-x", "y", "-y", "z", "-z"])
def test_every_up_is_turned_to_z(up):
    turn, axis = to_z_up(up), np.eye(3)["xyz".index(up[-1])] * (-1 if up.startswith("-") else 1)
    np.testing.assert_array_equal(turn @ axis, [0, 0, 1])
    np.testing.assert_array_equal(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == 1


@given(
    st.lists(st.floats(-800, 800), min_size=3, max_size=3),
    st.integers(2, 5),
    st.floats(0, 2 * np.pi),
    st.integers(0, 2**31),
)
def test_the_hull_of_a_ball_is_at_the_ball(place, count, start, seed):
    """Cameras around a room see a ball of 30 cm: its hull's middle is its own, whatever the lenses."""
    place, rng = np.add(place, [0.0, 0, 900]), np.random.default_rng(seed)
    seen = []
    for number in range(count):
        angle = start + 2 * np.pi * number / count * 0.8
        centre = np.array([4500 * np.cos(angle), 4500 * np.sin(angle), 1500.0])
        forward = (np.array([0, 0, 900]) - centre) / np.linalg.norm(np.array([0, 0, 900]) - centre)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        camera = hull.RigView3d(
            number + 1, str(number), R, centre, np.array([220.0, 221]), np.array([128.0, 120]),
            rng.uniform(-0.05, 0.05, 5) * [1, 0.5, 0.02, 0.02, 0.1], 256, 240,
        )  # fmt: skip
        surface = rng.normal(size=(4000, 3))
        ball = place + 300 * surface / np.linalg.norm(surface, axis=1, keepdims=True)
        pixels = cv2.projectPoints(ball, cv2.Rodrigues(R)[0], -R @ centre, np.array(
            [[220.0, 0, 128], [0, 221, 120], [0, 0, 1]]), camera.distortion)[0][:, 0]  # fmt: skip
        mask = np.zeros((240, 256), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(pixels).astype(np.int32)), 1)
        seen.append(hull.seen_mask(camera, mask.astype(bool)))
    found = np.add(hull.root_of(seen), [0, 0, hull.MIDDLE_ABOVE_ROOT_MM])
    assert np.linalg.norm(found - place) < 60


def test_nobody_in_common_gives_no_root():
    R = Rotation.from_euler("x", -90, degrees=True).as_matrix()
    camera = hull.RigView3d(1, "a", R, np.zeros(3), np.array([100.0, 100]), np.array([50.0, 50]), np.zeros(5), 100, 100)
    other = hull.RigView3d(
        2, "b", R, np.array([9000.0, 0, 0]), np.array([100.0, 100]), np.array([50.0, 50]), np.zeros(5), 100, 100
    )
    mask = np.zeros((100, 100), bool)
    mask[40:60, 10:20] = True
    assert np.isnan(hull.root_of([hull.seen_mask(camera, mask), None])).all()
    assert np.isnan(hull.root_of([hull.seen_mask(camera, mask), hull.seen_mask(other, mask[:, ::-1].copy())])).all()
    assert hull.seen_mask(camera, np.zeros((100, 100), bool)) is None


def test_the_difference_finds_a_person_and_not_the_ghost_where_he_stood():
    rng = np.random.default_rng(1)
    room = np.repeat(np.linspace(90, 160, 120)[:, None, None], 160, 1).repeat(3, 2) + rng.normal(0, 2, (120, 160, 3))
    frames = []
    for number in range(12):
        frame = room + rng.normal(0, 1.5, room.shape)
        x = 30 if number < 8 else 60 + 20 * (number - 8)  # stands still in most frames: the median shows him there
        frame[40:100, x : x + 16] = (30, 60, 120)
        frame[100:106, x : x + 60] *= 0.8  # his shadow
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    found = person_mask(frames[10], room_of(frames))
    truth = np.zeros_like(found)
    truth[40:100, 100:116] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.85
    assert not person_mask(np.clip(room, 0, 255).astype(np.uint8), room_of(frames)).any()


@given(st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_a_jpegs_size_is_in_its_header(width, height, progressive):
    image = np.zeros((height, width, 3), np.uint8)
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])
    assert _jpeg_size(jpeg.tobytes()) == (height, width)
    assert _jpeg_size(jpeg.tobytes()[:10]) == (0, 0)


def test_a_jpeg_is_kept_as_it_is_and_a_png_called_jpg_is_read(tmp_path):
    image = np.arange(3 * 256, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    cv2.imwrite(str(tmp_path / "a.jpg"), image)
    (tmp_path / "b.jpg").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    found = dict(Files({1: tmp_path / "a.jpg", 2: tmp_path / "b.jpg"}).each([1, 2, 3]))
    assert found[1].content() == (tmp_path / "a.jpg").read_bytes()
    np.testing.assert_array_equal(found[2].content(), image[..., ::-1])
    assert isinstance(found[2], Picture)
    assert found[2].size() == (16, 16)


def test_the_example_of_the_docs_is_a_rig(repository):
    text = (repository / "docs/datasets.md").read_text()
    example = text.split('```json\n{\n  "world"')[1].split("```")[0]
    rig = Rig.model_validate(json.loads('{\n  "world"' + example))
    cameras = read_cameras(rig, repository)
    np.testing.assert_allclose(cameras["left"].T_mm, [4000, 0, 1200], atol=1e-9)
    keys = {key for section in (Rig.model_json_schema(), *Rig.model_json_schema()["$defs"].values())
            for key in section["properties"]}  # fmt: skip
    assert not {key for key in keys if f"`{key}" not in text and f".{key}`" not in text and f'"{key}"' not in text}
