"""The miniature Human3.6M: cameras, clothes and frames that agree with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.body.arrays import BodyArrays, load_body
from codebase.config import Config
from codebase.data.human36m import Folder, read_frame, read_mask, read_meta
from codebase.errors import DataError
from codebase.files import open_h5
from codebase.geometry import project, world_to_camera
from codebase.render.raster import rasterise
from codebase.skeleton import H36M
from codebase.stages import synthesize
from codebase.stages.synthesize import claim
from codebase.synthetic.appearance import dress, top_distance
from codebase.synthetic.bodies import PEOPLE, make_person
from codebase.synthetic.capture import Session, film, open_session, perform
from codebase.synthetic.cloth import cut
from codebase.synthetic.rig import CENTRES_MM, make_rig

BODY = Path(__file__).parents[2] / "assets" / "free_body.npz"
SIZE = 128


@pytest.fixture(scope="module")
def body() -> BodyArrays:
    return load_body(BODY)


@pytest.fixture(scope="module")
def session(body: BodyArrays) -> Session:
    return open_session(body, 1, seed=0, size=SIZE, cameras=(1, 2, 3, 4))


@given(st.integers(1, 99), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_cameras_stand_as_in_human36m_and_see_the_middle(subject: int, seed: int) -> None:
    for number, camera in make_rig(subject, seed=seed, size=1000).items():
        np.testing.assert_allclose(camera.R @ camera.R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera.R) == pytest.approx(1)
        assert np.linalg.norm(camera.T_mm - CENTRES_MM[number]) < 200
        cam = world_to_camera(np.array([[0, 0, 900.0], [0, 0, 1700.0]]), camera.R, camera.T_mm)
        middle, above = project(cam, camera.f_px, camera.c_px)
        assert np.abs(middle - camera.c_px).max() < 60
        # z of the world points up in the picture
        assert above[1] < middle[1] - 100


def test_sessions_are_calibrated_apart() -> None:
    one, other = make_rig(1, seed=0, size=256), make_rig(5, seed=0, size=256)
    assert np.linalg.norm(one[1].T_mm - other[1].T_mm) > 1


def test_scaling_the_image_scales_the_pixels() -> None:
    small, large = make_rig(1, seed=0, size=250)[1], make_rig(1, seed=0, size=1000)[1]
    point = np.array([[300.0, 200.0, 1200.0]])
    at_small, at_large = (project(world_to_camera(point, c.R, c.T_mm), c.f_px, c.c_px)[0] for c in (small, large))
    # pixel centres at integers: outer edges correspond
    np.testing.assert_allclose((at_small + 0.5) * 4, at_large + 0.5, atol=1e-6)


@given(st.floats(-1.5, 1.5), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_cut_keeps_the_area_on_the_inner_side(level: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(size=(9, 2)), np.zeros((9, 1))], axis=1)
    faces = np.array([[3 * i, 3 * i + 1, 3 * i + 2] for i in range(3)])
    distance = points[:, 0] - level
    inner, outer = cut(faces, distance), cut(faces, -distance)

    def area(vertices: np.ndarray, triangles: np.ndarray) -> float:
        a, b, c = vertices[triangles].transpose(1, 0, 2)
        return float(np.abs(np.cross(b - a, c - a)[:, 2]).sum() / 2)

    total = area(inner.of(points), inner.faces) + area(outer.of(points), outer.faces)
    assert total == pytest.approx(area(points, faces), rel=1e-9)
    if len(inner.faces):
        assert inner.of(distance).max() <= 1e-9


def test_garments_end_where_the_table_says(body: BodyArrays) -> None:
    person = PEOPLE[1]
    distance = top_distance(body.v_template, person.top)
    wearing = body.v_template[distance < 0]
    assert np.abs(wearing[:, 0]).max() < person.top.end
    assert wearing[:, 1].min() > person.top.hem
    neck = body.v_template[body.part == body.part_names.index("face")]
    assert (top_distance(neck, person.top) > 0).all()


@pytest.mark.parametrize("subject", [5, 9, 11, 23])
def test_everybody_gets_dressed(body: BodyArrays, subject: int) -> None:
    outfit = dress(body, make_person(subject, seed=0))
    count = len(body.v_template) + len(outfit.extra_m)
    assert outfit.first.max() < count
    assert outfit.faces.max() < len(outfit.first)
    assert {0, 1, 2, 3, 4, 5} <= set(outfit.material.tolist()) or subject not in PEOPLE
    np.testing.assert_allclose(outfit.extra_weights.sum(1), 1, atol=1e-3)
    assert (outfit.weight >= 0).all()
    assert (outfit.weight <= 1).all()
    assert (outfit.offset_m < 0.15).all()


def test_subjects_differ_and_are_the_same_each_time() -> None:
    people = [make_person(subject, seed=0) for subject in (1, 5, 6, 7, 8, 9, 11, 12, 13, 14)]
    assert len({person.betas for person in people}) == len(people)
    assert len({person.top.colour + person.skin for person in people}) == len(people)
    assert make_person(14, seed=3) == make_person(14, seed=3)
    assert make_person(14, seed=3) != make_person(14, seed=4)


def test_the_frame_shows_the_person_where_mask_and_joints_say(session: Session) -> None:
    take = perform(session, 2, 1, frames=3, fps=2.0)
    shots = film(session, take, 1)
    for number, (image, mask) in shots.items():
        view = session.views[number]
        assert set(np.unique(mask)) == {0, 255}
        cam = world_to_camera(take.joints_world_mm[1], view.camera.R, view.camera.T_mm)
        joints = np.rint(project(cam, view.camera.f_px, view.camera.c_px)).astype(int)
        trunk = joints[H36M.indices("root", "spine", "neck", "head", "left_hip", "right_hip")]
        assert (mask[trunk[:, 1], trunk[:, 0]] == 255).all()
        # outside the person the frame is the empty room, but for noise, shadow and the person's soft edge
        change = np.abs(image.astype(int) - view.still).max(-1)
        assert np.median(change[mask == 255]) > 12
        assert np.median(change[mask == 0]) < 4


def test_the_mask_holds_the_bare_body(session: Session) -> None:
    take = perform(session, 14, 1, frames=2, fps=2.0)
    for number, (_, mask) in film(session, take, 0).items():
        camera = session.views[number].camera
        bare = take.vertices_m[0, : len(session.body.v_template)]
        seen = rasterise((bare - camera.T_mm / 1000) @ camera.R.T, session.body.faces, camera.pinhole).face >= 0
        overlap = (seen & (mask == 255)).sum()
        assert overlap / seen.sum() > 0.97
        assert overlap / (mask == 255).sum() > 0.75


def _config(root: Path, **synthesize_keys: object) -> Config:
    return Config.model_validate(
        {
            "name": "t", "results": root, "dataset": {"acts": [2, 9], "subacts": [1], "body": BODY},
            "synthesize": {"image_size": 64, "frames": 2, **synthesize_keys},
        }
    )  # fmt: skip


def test_the_stage_writes_a_tree_and_resumes(tmp_path: Path) -> None:
    config = _config(tmp_path)
    truth = tmp_path / "t" / "dataset" / "truth" / "S1.h5"
    synthesize.run(config, subject=1, output=truth)
    root = tmp_path / "t" / "dataset"
    first, second = Folder(1, 2, 1, 3), Folder(1, 9, 1, 4)
    assert read_frame(first.file(root, 2)).shape == (64, 64, 3)
    assert read_mask(first.file(root, 2, ".png")).max() == 255
    meta = read_meta(root / first.name)
    assert meta.pose3d_world_mm.shape == (2, 17, 3)
    assert 700 < meta.pose3d_world_mm[0, 0, 2] < 1200
    with open_h5(truth, format_name="posemill.bodies") as file:
        assert file["betas"].shape == (10,)
        assert file["act_02_subact_01/pose_rad"].shape == (2, 24, 3)

    kept, lost = first.file(root, 1), second.file(root, 1)
    stamp, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    synthesize.run(config, subject=1, output=truth)
    assert kept.stat().st_mtime_ns == stamp
    assert lost.read_bytes() == content

    synthesize.run(_config(tmp_path, frames=1), subject=1, output=truth)
    assert not first.file(root, 2).exists()
    assert kept.exists()


def test_the_number_of_workers_changes_no_frame(tmp_path: Path) -> None:
    pictures = []
    for workers in (1, 2):
        config = _config(tmp_path / str(workers)).model_copy(update={"results": tmp_path / str(workers)})
        config = config.model_copy(update={"runtime": config.runtime.model_copy(update={"workers": workers})})
        synthesize.run(config, subject=7, output=tmp_path / str(workers) / "S7.h5")
        root = tmp_path / str(workers) / "t" / "dataset"
        pictures.append(Folder(7, 9, 1, 2).file(root, 2).read_bytes())
    assert pictures[0] == pictures[1]


def test_a_body_without_labels_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    arrays = {key: value for key, value in np.load(BODY).items() if not key.startswith(("part", "landmark"))}
    np.savez(tmp_path / "licensed.npz", **arrays)
    config = _config(tmp_path, frames=1)
    dataset = config.dataset.model_copy(update={"body": tmp_path / "licensed.npz"})
    with pytest.raises(DataError, match="part labels"):
        synthesize.run(config.model_copy(update={"dataset": dataset}), subject=1, output=tmp_path / "S1.h5")


def test_somebodys_tree_is_never_rendered_over(tmp_path: Path) -> None:
    frame = tmp_path / "s_01_act_02_subact_01_ca_01/s_01_act_02_subact_01_ca_01_000001.jpg"
    frame.parent.mkdir()
    frame.write_bytes(b"a frame of Human3.6M")
    with pytest.raises(DataError, match=r"dataset\.kind to tree"):
        claim(tmp_path)
    assert frame.read_bytes() == b"a frame of Human3.6M"
    new = tmp_path / "new"
    claim(new)
    (new / frame.parent.name).mkdir()
    claim(new)  # ours: an interrupted rendering goes on
