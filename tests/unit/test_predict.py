"""predict and evaluate on a small run whose networks are untrained, or replaced by the truth."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import trimesh

from codebase import metrics
from codebase.body.model import BodyLayer, load_body
from codebase.config import EncDecConfig
from codebase.data.bodies import Bodies, bodies_in_im
from codebase.data.embeddings import read_embeddings, write_embeddings
from codebase.data.exports import Predicted
from codebase.data.index import read_index, write_index
from codebase.data.store import CropStore
from codebase.errors import DataError
from codebase.files import read_json
from codebase.geometry import world_to_camera
from codebase.models import encoder_decoder, hmr, pose, smpl
from codebase.paths import Paths
from codebase.skeleton import H36M
from codebase.stages import check, evaluate, predict
from codebase.stages._groups import Groups, Rows
from codebase.training.notes import note
from codebase.training.state import save_checkpoint
from tests.learned import part_of
from tests.people import APPEARANCE, BODY, POINTS, People, make_people

MEAN = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
SECTIONS = {
    "enc_dec": {
        "points": POINTS, "appearance": APPEARANCE, "palette": 0, "encoder_widths": [8] * 3, "encoder_blocks": [1] * 3,
        "decoder_widths": [8, 8, 8], "precision": "fp32",
    },
    "pose": {"hidden": 16, "layers": 1, "members": 1},
    "smpl": {"width": 16, "blocks": 1},
    "hmr": {"widths": (8, 8, 8, 8), "width": 16, "precision": "fp32"},
    "predict": {"batch_size": 5, "meshes": 2, "examples": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    return make_people(tmp_path_factory.mktemp("people"), test=(9, 11), cameras=(1, 2, 3), frames=2, sections=SECTIONS)


@pytest.fixture(scope="module")
def arguments(people: People) -> dict:
    torch.manual_seed(0)
    config, paths, size = people.config, people.paths, people.config.crops.size
    networks = {
        "enc_dec": (encoder_decoder.EncoderDecoder(EncDecConfig.model_validate(config.enc_dec), size), {}),
        "pose": (pose.PoseNet(config.pose, POINTS), {"mean_joints_im_mm": torch.zeros(17, 3)}),
        "smpl": (smpl.build(config.smpl, POINTS, APPEARANCE, MEAN["mean_rotmats"]), MEAN),
        "hmr": (hmr.build(config.hmr, size, **MEAN), MEAN | {"size": torch.tensor(size)}),
    }
    for name, (network, extra) in networks.items():
        section = getattr(config, name)
        modules = dict(network.named_children()) if name == "enc_dec" else {name: network}
        save_checkpoint(paths.checkpoint(name), modules=modules, step=1, config=section, history=[], extra=extra)
    return {
        "index_test": paths.index("test"), "crops": people.crops(9, 11), "embeddings": people.embeddings(9, 11),
        **{name: paths.checkpoint(name) for name in networks}, "body": BODY,
        "output": paths.predictions, "csv": paths.results_csv, "meshes": paths.meshes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def predicted(people: People, arguments: dict) -> Path:
    predict.run(people.config, **arguments)
    return people.paths.predictions


def test_rows_are_those_of_the_index(people: People, predicted: Path) -> None:
    index = read_index(people.paths.index("test"))
    with h5py.File(predicted) as file:
        for name in ("subject", "action", "subaction", "camera", "frame"):
            assert np.array_equal(file[f"frames/{name}"], getattr(index, name))
        for name in ("pose", "smpl", "hmr"):
            joints = file[f"{name}/joints_im_mm"][:]
            assert joints.shape == (len(index), 17, 3)
            assert np.abs(joints[:, H36M.index("root")]).max() < 1e-3
        assert file["smpl/rotmats"].shape == (len(index), 24, 3, 3)
        assert file["baseline/smpl_rotmats"].shape == (24, 3, 3)


def test_novel_views_are_all_ordered_pairs_of_an_instant(predicted: Path) -> None:
    with h5py.File(predicted) as file:
        source, target = file["novel_view/source"][:], file["novel_view/target"][:]
        frames = {name: file[f"frames/{name}"][:] for name in ("subject", "action", "frame", "camera")}
        assert len(source) == 2 * len(frames["camera"])  # three cameras: each has two others
        for name in ("subject", "action", "frame"):
            assert np.array_equal(frames[name][source], frames[name][target])
        assert (frames["camera"][source] != frames["camera"][target]).all()
        assert file["novel_view/examples/prediction"].shape == file["novel_view/examples/target"].shape
        assert len(file["novel_view/examples/pair"]) == 3


def predicted_without(people: People, arguments: dict, folder: Path, alone: tuple[int, ...]) -> tuple[Path, dict]:
    """Predictions and figures of a test split in which camera 2 alone saw some people."""
    index, output = read_index(people.paths.index("test")), folder / "p.h5"
    write_index(folder / "index.h5", part_of(index, ~np.isin(index.subject, alone) | (index.camera == 2)))
    others = {"output": output, "csv": folder / "r.csv", "meshes": folder / "m", "index_test": folder / "index.h5"}
    predict.run(people.config, **(arguments | others))
    return output, measured(people, output, people.truth(9, 11), folder / "m.json")


def test_of_two_people_one_seen_by_one_camera_is_named(
    people: People, arguments: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, found = predicted_without(people, arguments, tmp_path, (9,))
    for end in ("no novel view of it is predicted", "no figure of novel views is of it"):
        assert f"S9: no instant is seen by two cameras (camera 2), so {end}" in caplog.messages
    assert not [line for line in caplog.messages if line.startswith("S11: no instant")]
    with h5py.File(path) as file:
        assert set(file["frames/subject"][:][file["novel_view/source"][:]].tolist()) == {11}
    assert "enc_dec/psnr_all_db/S11" in found
    assert "enc_dec/psnr_all_db/S9" not in found
    assert "pose/mpjpe_mm/S9" in found


def test_where_everybody_is_seen_by_one_camera_all_but_novel_views_is_there(
    people: People, arguments: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, found = predicted_without(people, arguments, tmp_path, (9, 11))
    for subject in (9, 11):
        line = f"S{subject}: no instant is seen by two cameras (camera 2), so no novel view of it is predicted"
        assert line in caplog.messages
    assert any(line.startswith("no novel view is predicted: for some, add cameras") for line in caplog.messages)
    with h5py.File(path) as file:
        assert "novel_view" not in file
        assert len(file["hmr/betas"]) == len(file["frames/subject"])
    assert (tmp_path / "r.csv").is_file()
    assert any((tmp_path / "m").iterdir())
    assert not [name for name in found if "psnr" in name]
    assert {"pose/mpjpe_mm/S9", "smpl/pve_mm", "hmr/pve_mm/S11"} <= set(found)
    checked = {"what": "predictions", "files": [path], "against": [tmp_path / "index.h5"]}
    check.run(people.config, **checked, output=tmp_path / "marker.json")


def test_results_put_the_root_at_its_place(people: People, predicted: Path) -> None:
    """Bodies rebuilt from the CSV alone, as its reader would, must have their root joint where the dataset has it."""
    with people.paths.results_csv.open() as handle:
        rows = list(csv.DictReader(handle))
    store = CropStore(people.crops(9, 11), read_index(people.paths.index("test")).key)
    assert rows[0]["id"] == "S9/act_02_subact_01.54138969/000001"
    assert len(rows) == len(store)
    row = {name: np.array(ast.literal_eval(rows[4][name])) for name in rows[4] if name != "id"}
    vectors = np.concatenate([row["root_orient"], row["pose_body"], row["pose_hand"]]).reshape(1, 24, 3)
    from codebase.body.arrays import lbs_numpy, rotation_matrices

    body = load_body(BODY)
    rotations = rotation_matrices(vectors.astype(np.float32))
    vertices, _ = lbs_numpy(body, row["betas"][None], rotations, row["root_loc"][None])
    root = (body.J17_regressor @ vertices[0])[H36M.index("root")]
    wanted = world_to_camera(store.root_world_mm[4][None], store.R[4], store.T_mm[4])[0] / 1000
    assert root == pytest.approx(wanted, abs=1e-3)
    joints_cam = body.J17_regressor @ vertices[0] - root
    with h5py.File(predicted) as file:
        joints_im = file["hmr/joints_im_mm"][4] / 1000
    cam_im = store.R[4] @ store.R_world_im[4].T
    assert joints_cam == pytest.approx(joints_im @ cam_im.T, abs=1e-3)


def test_meshes_are_upright_and_open_elsewhere_in_every_format(people: People, predicted: Path) -> None:
    files = {form: sorted(people.paths.meshes.glob(f"*.{form}")) for form in ("obj", "ply", "glb")}
    assert [len(found) for found in files.values()] == [2, 2, 2]
    for first, *others in zip(*files.values(), strict=True):
        mesh = trimesh.load(first, force="mesh", process=False)
        assert mesh.vertices.shape == (6890, 3)
        assert mesh.faces.shape == (13776, 3)
        assert mesh.volume > 0  # turned rather than mirrored: faces look outwards
        assert mesh.vertices[:, 2].max() < -1  # before the camera, which looks along -z
        for other in others:
            again = trimesh.load(other, force="mesh", process=False)
            assert np.abs(again.vertices - mesh.vertices).max() < 1e-5
            assert np.array_equal(again.faces, mesh.faces)


def test_formats_of_meshes_are_chosen_by_the_config(
    people: People, arguments: dict, predicted: Path, tmp_path: Path
) -> None:
    section = people.config.predict.model_copy(update={"mesh_formats": ("ply",)})
    config = people.config.model_copy(update={"predict": section})
    outputs = {"output": tmp_path / "p.h5", "csv": tmp_path / "r.csv", "meshes": tmp_path / "m"}
    predict.run(config, **(arguments | outputs))
    assert {path.suffix for path in (tmp_path / "m").iterdir()} == {".ply"}


def test_bodies_that_are_not_finite_are_an_error(people: People) -> None:
    layer = BodyLayer(load_body(BODY))
    rotmats = torch.eye(3).expand(3, 24, 3, 3).clone()
    rotmats[1, 4, 0, 0] = float("nan")
    with pytest.raises(DataError, match="1 of 3 bodies"):
        Predicted.of(layer, rotmats, torch.zeros(3, 10))


def test_predictions_repeat(people: People, arguments: dict, predicted: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.h5"
    predict.run(people.config, **(arguments | {"output": again, "csv": tmp_path / "r.csv", "meshes": tmp_path / "m"}))
    with h5py.File(predicted) as first, h5py.File(again) as second:
        assert np.array_equal(first["hmr/rotmats"], second["hmr/rotmats"])


def test_embeddings_as_hdf5_serve_as_well(people: People, arguments: dict, predicted: Path, tmp_path: Path) -> None:
    section = people.config.embed.model_copy(update={"format": "hdf5"})
    paths = Paths(people.config.model_copy(update={"embed": section, "results": tmp_path}))
    for source, subject in zip(arguments["embeddings"], (9, 11), strict=True):
        write_embeddings(paths.embeddings(subject), read_embeddings(source))
    other = {"embeddings": [paths.embeddings(9), paths.embeddings(11)], "output": tmp_path / "p.h5"}
    assert {path.suffix for path in other["embeddings"]} == {".h5"}
    predict.run(people.config, **(arguments | other | {"csv": tmp_path / "r.csv", "meshes": tmp_path / "m"}))
    with h5py.File(predicted) as first, h5py.File(tmp_path / "p.h5") as second:
        assert np.array_equal(first["pose/joints_im_mm"], second["pose/joints_im_mm"])


def test_other_crops_are_refused(people: People, arguments: dict, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lack"):
        predict.run(people.config, **(arguments | {"embeddings": people.embeddings(9)}))
    with pytest.raises(DataError, match="does not exist"):
        predict.run(people.config, **(arguments | {"hmr": tmp_path / "model_7.pt"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": torch.tensor(48)}, "crops of 48 px"),
        ({"size": torch.tensor((32, 24))}, "crops of 32 x 24 px"),
        ({"frame": "camera"}, "camera's frame"),
    ],
    ids=["size", "oblong", "frame"],
)
def test_a_network_of_other_crops_is_refused(
    people: People, arguments: dict, tmp_path: Path, change: dict, message: str
) -> None:
    """As a course run's own run/model_{it}.pt is: oblong crops, or the camera's frame."""
    section = people.config.hmr.model_copy(update={k: v for k, v in change.items() if k == "frame"})
    size = people.config.crops.size
    extra = MEAN | {"size": change.get("size", torch.tensor(size))}
    modules = {"hmr": hmr.build(section, size, **MEAN)}
    save_checkpoint(tmp_path / "model_1.pt", modules=modules, step=1, config=section, history=[], extra=extra)
    with pytest.raises(DataError, match=message):
        predict.run(people.config, **(arguments | {"hmr": tmp_path / "model_1.pt"}))


@pytest.mark.parametrize("name", ["pose", "smpl"])
def test_a_network_that_learned_from_another_encoder_is_refused(
    people: People, arguments: dict, tmp_path: Path, name: str
) -> None:
    """Its embeddings have the same shape, so that nothing but the poses would be wrong."""
    found = torch.load(arguments[name], weights_only=True)
    for digest in ("none", "0123456789abcdef"):  # the first is that of the embeddings at hand
        found["extra"]["encoder_digest"] = note(digest)
        torch.save(found, tmp_path / "model_1.pt")
        where = arguments | {name: tmp_path / "model_1.pt", "output": tmp_path / "p.h5", "csv": tmp_path / "r.csv"}
        if digest == "none":
            predict.run(people.config, **where)
            continue
        with pytest.raises(DataError, match="embeddings of the encoder 0123456789abcdef, these are of none"):
            predict.run(people.config, **where)


def test_an_encoder_decoder_of_another_preset_is_refused(people: People, arguments: dict, tmp_path: Path) -> None:
    other = people.config.enc_dec.model_copy(update={"points": 20})
    config = people.config.model_copy(update={"enc_dec": other})
    with pytest.raises(DataError, match=f"another encoder-decoder than the config's: points {POINTS}, not 20"):
        predict.run(config, **arguments)


def measured(people: People, path: Path, bodies: list[Path], output: Path) -> dict[str, float]:
    evaluate.run(people.config, predictions=path, bodies=bodies, body=BODY, output=output)
    return read_json(output)


def test_truth_scores_zero(people: People, predicted: Path, tmp_path: Path) -> None:
    """With the true bodies in place of predictions every error of theirs vanishes; a turned body costs its turn."""
    copy = tmp_path / "p.h5"
    copy.write_bytes(predicted.read_bytes())
    with h5py.File(copy, "r+") as file:
        keys = {name: file[f"frames/{name}"][:] for name in ("subject", "action", "subaction", "frame")}
        rows, bodies = bodies_in_im(people.truth(9, 11), keys, file["frames/R_world_im"][:])
        assert len(rows) == len(keys["frame"])
        for name in ("smpl", "hmr"):
            file[f"{name}/betas"][:], file[f"{name}/rotmats"][:] = bodies.betas, bodies.rotmats
        file["pose/joints_im_mm"][:] = file["truth/joints_im_mm"][:]
        turned = bodies.rotmats.copy()
        turned[:, 0] = np.diag([-1.0, 1, -1]) @ turned[:, 0]  # faces the other way
        file["hmr/rotmats"][:] = turned
        file["hmr/earlier/betas"][:], file["hmr/earlier/rotmats"][0] = bodies.betas, bodies.rotmats
    found = measured(people, copy, people.truth(9, 11), tmp_path / "m.json")
    assert found["pose/mpjpe_mm"] == 0
    assert found["smpl/pve_mm"] < 0.01
    assert found["smpl/pa_pve_mm"] < 0.01
    assert found["hmr/pve_mm"] > 50
    assert found["hmr/pa_pve_mm"] < 0.01
    assert found["hmr/v2v_l2_m2"] > 1e-3
    assert found["hmr/pve_mm/iteration_1"] < 0.01 < found["hmr/pve_mm/iteration_2"]
    assert found["hmr/pve_mm/iteration_3"] == found["hmr/pve_mm"]
    assert found["hmr/v2v_l2_m2/iteration_3"] == found["hmr/v2v_l2_m2"] != found["hmr/v2v_l2_m2/iteration_2"]
    assert not any("iteration" in name for name in found if not name.startswith("hmr/"))
    assert found["smpl/mean_body_pve_mm"] > 50
    assert found["smpl/mean_body_pve_mm"] == found["hmr/mean_body_pve_mm"]


def test_metrics_are_flat_and_grouped(people: People, predicted: Path, tmp_path: Path) -> None:
    found = measured(people, predicted, people.truth(9, 11), tmp_path / "m.json")
    for name in (
        "enc_dec/psnr_foreground_db", "enc_dec/psnr_background_only_db", "pose/mpjpe_mm", "pose/n_mpjpe_mm",
        "pose/pa_mpjpe_mm", "pose/mean_pose_mpjpe_mm", "pose/mean_pose_n_mpjpe_mm", "pose/mean_pose_pa_mpjpe_mm",
        "smpl/mpjpe_mm", "smpl/pve_mm", "smpl/pa_pve_mm", "smpl/mean_body_pve_mm", "smpl/mean_body_pa_pve_mm",
        "hmr/v2v_l2_m2", "hmr/mean_v2v_l2_m2", "hmr/pve_mm", "hmr/pa_pve_mm", "hmr/mean_body_pve_mm",
    ):  # fmt: skip
        for suffix in ("", "/S9", "/S11", "/act_02_Directions", "/act_14_Walking"):
            assert np.isfinite(found[name + suffix]), name + suffix
        # as many frames of each subject, so the whole is the mean of the parts
        assert found[name] == pytest.approx((found[name + "/S9"] + found[name + "/S11"]) / 2, rel=1e-6)
    assert found["index/test_rows"] == 2 * 2 * 3 * 2
    assert "NaN" not in json.dumps(found)


def test_what_codes_tell_is_measured_where_crops_and_embeddings_are_given(
    people: People, arguments: dict, predicted: Path, tmp_path: Path
) -> None:
    given = {name: arguments[name] for name in ("crops", "embeddings", "enc_dec", "pose")}
    output = tmp_path / "m.json"
    evaluate.run(people.config, predictions=predicted, bodies=[], body=BODY, output=output, **given)
    found = {name: value for name, value in read_json(output).items() if name.startswith("representation/")}
    for name in ("subject_from_l_3d", "subject_chance", "pose_from_l_app_n_mpjpe_mm", "colour_l_3d_shift",
                 "colour_from_l_3d_r2", "colour_n_mpjpe_change_mm"):  # fmt: skip
        assert np.isfinite(found[f"representation/{name}"]), name
    assert found["representation/colour_l_3d_shift"] > 0
    section = people.config.evaluate.model_copy(update={"colour_rows": 0})
    config = people.config.model_copy(update={"evaluate": section})
    evaluate.run(config, predictions=predicted, bodies=[], body=BODY, output=output, **given)
    assert not [name for name in read_json(output) if "colour" in name]


def test_without_bodies_vertex_figures_are_absent(people: People, predicted: Path, tmp_path: Path) -> None:
    found = measured(people, predicted, [], tmp_path / "m.json")
    assert "smpl/mpjpe_mm" in found
    assert not [name for name in found if "pve" in name or "v2v" in name]


def test_groups_can_be_left_out(people: People, predicted: Path, tmp_path: Path) -> None:
    section = people.config.evaluate.model_copy(update={"per_act": False, "per_subject": False, "per_joint": False})
    config = people.config.model_copy(update={"evaluate": section})
    evaluate.run(config, predictions=predicted, bodies=[], body=BODY, output=tmp_path / "m.json")
    assert all(name.count("/") == 1 for name in read_json(tmp_path / "m.json"))


def test_samples_without_a_person_count_nowhere() -> None:
    rows = Rows(np.array([9, 9, 11]), np.array([2, 2, 2]), np.array([1, 1, 1]))
    groups = Groups(per_act=False, per_subject=True, draws=0)
    found = groups.summarise({"x/y_db": np.array([1.0, np.nan, 4.0])}, rows)
    assert found == {"x/y_db": 2.5, "x/y_db/S9": 1.0, "x/y_db/S11": 4.0}
    assert Groups(True, True, 50).summarise({"x/y_db": np.full(3, np.nan)}, rows) == {}


def test_vertices_stand_about_the_pelvis() -> None:
    layer = BodyLayer(load_body(BODY))
    rotmats = np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1))
    betas = np.ones((1, 10), np.float32)
    vertices = evaluate.vertices_m(layer, Bodies(betas, rotmats))
    pelvis = load_body(BODY).J_regressor[0] @ vertices[0]
    assert np.abs(pelvis).max() < 1e-5
    assert metrics.pve(vertices, vertices + 0.1).item() == pytest.approx(0.1 * 3**0.5, rel=1e-5)


def test_without_true_bodies_vertex_errors_are_against_fitted_ones_and_say_so(
    people: People, predicted: Path, tmp_path: Path
) -> None:
    known, found = tmp_path / "known.json", tmp_path / "fitted.json"
    bodies = people.truth(9, 11)
    evaluate.run(people.config, predictions=predicted, bodies=bodies, body=BODY, output=known)
    evaluate.run(people.config, predictions=predicted, bodies=[], fitted=bodies, body=BODY, output=found)
    against = {name.removeprefix("against_fitted/"): value for name, value in read_json(found).items()}
    assert against == read_json(known)
    named = {name for name in read_json(found) if name.startswith("against_fitted/")}
    assert {"against_fitted/hmr/pve_mm", "against_fitted/smpl/pa_pve_mm/S9"} <= named
    assert not any("pve" in name or "v2v" in name for name in set(read_json(found)) - named)
