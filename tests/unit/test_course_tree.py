"""The converter and the readers: what is written is what was there, by our reader and through the door of `extract`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from codebase.body.model import BodyLayer, load_body
from codebase.config import Config, HmrConfig
from codebase.course.samples import CourseSamples
from codebase.course.tree import write_tree
from codebase.data.bodies import bodies_in_im
from codebase.data.course import read_course
from codebase.data.human36m import Meta, parse_folder, read_frame, read_meta
from codebase.errors import ConfigError, DataError
from codebase.geometry import apply_affine, project
from codebase.models.projection import Cameras
from codebase.paths import Paths
from codebase.stages import extract
from tests.course import course_tree, dataset, rewrite_npz
from tests.people import BODY


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course")
    course_tree(folder)
    return folder


def before(meta: Meta) -> np.ndarray:
    """Joints in the camera's frame, mm."""
    return (meta.pose3d_world_mm - meta.T_mm) @ meta.R.T


def metas(home: Path) -> dict[str, tuple]:
    """The true joints in the camera's frame (mm) of S9's folders, by the course's name of a folder."""
    from codebase.data.course_tree import folder_name

    root = Paths(dataset(home)).dataset
    found = {}
    for path in sorted(root.glob("s_09_*")):
        meta = read_meta(path)
        cam = before(meta)
        found[folder_name(parse_folder(path.name))] = (meta, cam)
    return found


def test_layout_is_the_courses(home):
    folders = {p.name for p in (home / "course/S9").iterdir() if p.is_dir()}
    assert folders == {
        "Images", "Directions 1.54138969", "Directions 1.55011271", "Directions.54138969", "Directions.55011271",
    }  # fmt: skip
    assert (home / "course/S9/Images/Directions.54138969/000001.jpg").is_file()
    with np.load(home / "course/S9/Directions.54138969/00000.npz") as file:
        shapes = {key: file[key].shape for key in file.files}
    assert shapes == {
        "betas": (10,), "root_loc": (3,), "root_orient": (3,), "pose_body": (63,), "pose_hand": (6,), "scale_img": (),
        "center_img": (2,),
    }  # fmt: skip
    cameras = json.loads((home / "course/S9/cam_params.json").read_text())
    assert [set(camera) for camera in cameras] == 2 * [
        {"id", "center", "focal_length", "radial_distortion", "tangential_distortion", "res_w", "res_h", "azimuth"}
    ]


def test_bodies_stand_where_they_stood(home):
    """Joints of the npz's bodies, in the camera's frame, are those of the dataset tree."""
    frames = read_course(home / "course", home / "course", ["S9"])
    assert len(frames) == 12
    assert frames.has_body.all()
    assert frames.has_image.all()
    samples = CourseSamples(frames, load_body(BODY), HmrConfig(), (32, 32))
    joints = samples.joints(*samples.bodies(np.arange(12))).numpy() + frames.root_loc_m[:, None]
    for row, name in enumerate(frames.id):
        _, folder, file = name.split("/")
        truth = metas(home)[folder][1][int(Path(file).stem)]
        assert np.abs(1000 * joints[row] - truth).max() < 1.0


def test_vertices_are_smpls_with_root_loc_as_translation(home):
    frames = read_course(home / "course", home / "course", ["S9"])
    samples, layer = CourseSamples(frames, load_body(BODY), HmrConfig(), (32, 32)), BodyLayer(load_body(BODY))
    import torch

    root = torch.from_numpy(frames.root_loc_m.astype(np.float32))
    betas, rotmats = samples.bodies(np.arange(len(frames)))
    pelvis = layer.joints24(betas, rotmats, root)[:, 0].numpy()
    assert np.abs(pelvis - frames.root_loc_m).max() < 0.5  # it is the translation, not the pelvis
    assert np.abs(pelvis - frames.root_loc_m).max() > 0.05
    vertices = layer.vertices(betas, rotmats, root).numpy()
    assert (vertices[..., 2] > 1).all()


def test_boxes_hold_the_person_and_crops_show_them(home):
    frames = read_course(home / "course", home / "course", ["S9"])
    size = (40, 24)
    affine = frames.crop_from_image(size)
    for row in (0, 7):
        _, folder, file = frames.id[row].split("/")
        meta, cam = metas(home)[folder]
        joints = project(cam[int(Path(file).stem)], meta.f_px, meta.c_px)
        inside = apply_affine(affine[row], joints)
        assert inside.min() > 0
        assert (inside.max(0) < size[::-1]).all()
        corner = frames.center_px[row] - 100 * frames.scale[row]
        assert apply_affine(affine[row], corner[None])[0] == pytest.approx([-0.5, -0.5])
        crop = frames.crop(row, size)
        assert crop.shape == (40, 24, 3)
        whole = read_frame(frames.image[row])
        centre = np.rint(frames.center_px[row]).astype(int)
        assert np.abs(crop[20, 12].astype(int) - whole[centre[1], centre[0]].astype(int)).max() < 60


def test_places_and_rays_are_inverse(home):
    frames = read_course(home / "course", home / "course", ["S9"])
    samples = CourseSamples(frames, load_body(BODY), HmrConfig(places=True), (40, 24))
    truth = samples.truth(np.arange(12))
    joints = samples.joints(*samples.bodies(np.arange(12))).double().numpy() + frames.root_loc_m[:, None]
    places = Cameras.of(truth, count=12, half_box_m=1.0).project(truth["joints_im_mm"] / 1000)
    rays = frames.rays(places.double().numpy(), (40, 24))
    assert np.abs(rays - joints[..., :2] / joints[..., 2:]).max() < 1e-6
    assert places.abs().max() < 1


def test_the_im_frame_looks_at_the_middle_of_the_box(home):
    frames = read_course(home / "course", home / "course", ["S9"])
    ray = frames.rays(np.zeros((12, 1, 2)), (40, 24))[:, 0]
    turned = np.einsum("nij,nj->ni", frames.R_cam_im, np.concatenate([ray, np.ones((12, 1))], axis=1))
    assert np.abs(turned[:, :2]).max() < 1e-9
    im, camera = (CourseSamples(frames, load_body(BODY), HmrConfig(frame=f), (40, 24)) for f in ("im", "camera"))
    rows = np.arange(12)
    back = im.in_camera(im.truth(rows)["rotmats"], rows)
    assert (back - camera.truth(rows)["rotmats"]).abs().max() < 1e-5


def test_the_door_reads_it_back(home, tmp_path):
    """Through dataset.kind extract: the same joints before each camera, the same bodies but for the world's turn."""
    config = Config.model_validate({
        "name": "back", "results": tmp_path,
        "dataset": {
            "kind": "extract", "subjects": [1, 8, 9], "acts": [2], "subacts": [1, 2], "cameras": [1, 2], "body": BODY,
        },
        "extract": {"door": "course", "source": home / "course", "masks": "none"},
        "split": {"train": {"subjects": [1]}, "val": {"subjects": [8]}, "test": {"subjects": [9]}},
        "backgrounds": {"every": 1},
    })  # fmt: skip
    paths = Paths(config)
    extract.run(config, subject=9, output=paths.extracted(9))
    for path in sorted(Paths(dataset(home)).dataset.glob("s_09_*")):
        was, now = read_meta(path), read_meta(paths.dataset / path.name)
        cams = [before(meta) for meta in (was, now)]
        assert np.abs(cams[0] - cams[1]).max() < 5.0  # two cameras of float32 bodies, aligned
        assert np.abs(was.f_px - now.f_px).max() < 1e-6
    keys = {"subject": np.full(3, 9), "action": np.full(3, 2), "subaction": np.ones(3, int), "frame": 1 + np.arange(3)}
    eye = np.tile(np.eye(3), (3, 1, 1))
    bodies = [bodies_in_im([folder / "S9.h5"], keys, eye)[1] for folder in (Paths(dataset(home)).bodies, paths.bodies)]
    assert np.abs(bodies[0].betas - bodies[1].betas).max() < 1e-4
    assert np.abs(bodies[0].rotmats[:, 1:] - bodies[1].rotmats[:, 1:]).max() < 1e-4


def test_a_subject_that_is_there_is_left_alone_and_blind_ones_hold_no_body(home, tmp_path):
    (tmp_path / "S1").mkdir()
    write_tree(dataset(home), tmp_path, blind=[9])
    assert not list((tmp_path / "S1").iterdir())
    with np.load(tmp_path / "S9/Directions.54138969/00000.npz") as file:
        assert set(file.files) == {"root_loc", "center_img", "scale_img"}
    frames = read_course(tmp_path, tmp_path, ["S9"])
    assert not frames.has_body.any()
    assert read_course(tmp_path, tmp_path, ["S8"]).has_body.all()


def test_fitted_bodies_make_a_tree_too(home, tmp_path):
    """A folder of posemill.bodies with columns of its own; frames without a body, or not kept, are left out."""
    config = dataset(home)
    shutil.copytree(Paths(config).dataset / "truth", tmp_path / "bodies")
    with h5py.File(tmp_path / "bodies/S9.h5", "a") as file:
        group = file["act_02_subact_01"]
        group["pose_rad"][1] = np.nan
        group["joint_error_mm"] = np.zeros(len(group["pose_rad"]))
        file["joint_offsets_mm"] = np.zeros((17, 3))
        file["act_02_subact_02/kept"] = np.array([True, True, False])
    fitted = config.dataset.model_copy(update={"bodies": tmp_path / "bodies"})
    write_tree(config.model_copy(update={"dataset": fitted}), tmp_path / "course")
    ids = read_course(tmp_path / "course", tmp_path / "course", ["S9"]).id
    assert [name for name in ids if "Directions 1.54138969" in name] == [
        f"S9/Directions 1.54138969/{number:05d}.npz" for number in (0, 2)
    ]
    assert [name for name in ids if "Directions.54138969" in name] == [
        f"S9/Directions.54138969/{number:05d}.npz" for number in (0, 1)
    ]
    assert len(ids) == 8


def test_padding_and_underscores_do_not_matter(home, tmp_path):
    folder = tmp_path / "S9/Directions_1.54138969"
    images = tmp_path / "pictures/S9/Images/Directions_1.54138969"
    folder.mkdir(parents=True)
    images.mkdir(parents=True)
    source = home / "course/S9"
    for number, name in enumerate(["0", "0001", "2"]):
        content = (source / f"Directions 1.54138969/{number:05d}.npz").read_bytes()
        (folder / f"{name}.npz").write_bytes(content)
        picture = (source / f"Images/Directions 1.54138969/{number + 1:06d}.jpg").read_bytes()
        (images / f"{number + 1:06d}.jpg").write_bytes(picture)
    (tmp_path / "S9/cam_params.json").write_bytes((source / "cam_params.json").read_bytes())
    frames = read_course(tmp_path, tmp_path / "pictures", ["S9"])
    assert frames.id == [f"S9/Directions_1.54138969/{name}.npz" for name in ("0", "0001", "2")]
    assert frames.has_image.all()
    assert [path.name for path in frames.image] == ["000001.jpg", "000002.jpg", "000003.jpg"]
    (folder / "01.npz").write_bytes(content)
    with pytest.raises(DataError, match="same frame"):
        read_course(tmp_path, tmp_path / "pictures", ["S9"])


@pytest.mark.parametrize("key", ["root_loc", "center_img", "scale_img"])
def test_an_npz_without_its_box_or_place_is_named(home, tmp_path, key):
    shutil.copytree(home / "course/S9", tmp_path / "S9")
    broken = tmp_path / "S9/Directions.54138969/00001.npz"
    rewrite_npz(broken, **{key: None})
    with pytest.raises(DataError, match=key) as caught:
        read_course(tmp_path, tmp_path, ["S9"])
    assert caught.value.where == broken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale_img": np.float32(0)}, "scale_img is 0"),
        ({"center_img": np.zeros(3)}, "center_img of the right size"),
        ({"root_loc": np.full(3, np.nan)}, "root_loc of the right size"),
    ],
)
def test_numbers_that_make_no_box_are_refused(home, tmp_path, changes, message):
    shutil.copytree(home / "course/S9", tmp_path / "S9")
    rewrite_npz(tmp_path / "S9/Directions.54138969/00001.npz", **changes)
    with pytest.raises(DataError, match=message):
        read_course(tmp_path, tmp_path, ["S9"])


def test_unknown_cameras_and_subjects_are_named(home, tmp_path):
    with pytest.raises(DataError, match="no folder of npz"):
        read_course(home / "course", home / "course", ["S5"])
    shutil.copytree(home / "course/S9", tmp_path / "S9")
    (tmp_path / "S9/Directions.54138969").rename(tmp_path / "S9/Directions.11111111")
    with pytest.raises(DataError, match="no camera"):
        read_course(tmp_path, tmp_path, ["S9"])


def test_a_blind_subject_of_no_split_is_said_before_anything_is_made(home, tmp_path):
    with pytest.raises(DataError, match="--blind"):
        write_tree(dataset(home), tmp_path, blind=[5])
    assert not list(tmp_path.iterdir())


def test_a_dataset_without_bodies_says_how_to_get_them(home, tmp_path):
    config = dataset(home)
    bare = config.dataset.model_copy(update={"kind": "tree", "root": Paths(config).dataset})
    with pytest.raises(ConfigError, match="fit_bodies"):
        write_tree(config.model_copy(update={"dataset": bare}), tmp_path)


def test_crops_of_a_flat_picture_are_flat(home, tmp_path):
    """Resampling keeps grey grey, whatever the box; beyond the picture its border repeats."""
    frames = read_course(home / "course", home / "course", ["S9"])
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((96, 96, 3), 77, np.uint8))
    frames.image[0] = tmp_path / "flat.png"
    frames.scale[0] = 3.0
    assert (frames.crop(0, (17, 31)) == 77).all()
