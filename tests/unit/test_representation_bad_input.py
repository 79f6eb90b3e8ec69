"""What people get wrong about the representation: each is one clear message by the command line, and exit code 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codebase import cli
from codebase.config import Config, to_yaml
from codebase.data.batches import ViewPairs
from codebase.data.embeddings import read_embeddings, write_embeddings
from codebase.data.index import read_index, write_index
from codebase.data.paper_batches import CameraGroups, MainsAndPartners
from codebase.data.store import CropStore
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.pose import PoseNet
from codebase.provenance import file_digest
from codebase.training.notes import read_note
from codebase.training.state import load_checkpoint, save_checkpoint
from tests.learned import part_of
from tests.people import APPEARANCE, POINTS, People, make_people

QUIET = {"steps": 1, "batch_size": 4, "warmup_steps": 0, "log_every": 1, "validate_every": 1}
SECTIONS = {
    "enc_dec": QUIET
    | {"points": POINTS, "appearance": APPEARANCE, "palette": 0, "encoder_widths": [8] * 3, "encoder_blocks": [1] * 3,
       "decoder_widths": [8, 8, 8], "precision": "fp32", "validation_pairs": 4},
    "pose": QUIET | {"hidden": 16, "layers": 1, "members": 1},
    "image_pose": QUIET | {"hidden": 8, "precision": "fp32", "start": "enc_dec"},
    "runtime": {"threads": 1, "device": "cpu"},
}  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    """Crops and embeddings of S1 and S5 to learn from, seen by three cameras; S8 to validate on."""
    return make_people(tmp_path_factory.mktemp("people"), train=(1, 5), cameras=(1, 2, 3), frames=3, sections=SECTIONS)


def write_config(people: People, folder: Path, **sections: dict) -> Path:
    raw = people.config.model_dump(mode="json")
    for name, changes in sections.items():
        raw[name] |= changes
    path = folder / "config.yaml"
    path.write_text(to_yaml(Config.model_validate(raw)))
    return path


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def train_enc_dec(people: People, folder: Path, keep: np.ndarray | None = None, **changes: object) -> int:
    """The command on the rows of the training split that are kept."""
    if changes.get("batches", "ours") != "ours":
        changes |= {"colour_augmentation": 0.0, "swap_appearance": 0.0}
    whole = read_index(people.paths.index("train"))
    index = folder / "index_train.h5"
    write_index(index, whole if keep is None else part_of(whole, keep))
    return run(
        "train-enc-dec", "--config", write_config(people, folder, enc_dec=changes), "--index-train", index,
        "--index-val", people.paths.index("val"), "--crops", *people.crops(1, 5, 8), "--output", folder / "model_1.pt",
    )  # fmt: skip


def train_pose(people: People, folder: Path, embeddings: list[Path], **changes: object) -> int:
    return run(
        "train-pose", "--config", write_config(people, folder, pose=changes), "--index-train",
        people.paths.index("train"), "--index-val", people.paths.index("val"), "--embeddings", *embeddings,
        "--output", folder / "model_1.pt",
    )  # fmt: skip


def embed(people: People, folder: Path, checkpoint: Path, **changes: object) -> int:
    config = write_config(people, folder, enc_dec=changes)
    return run(
        "embed", "--config", config, "--checkpoint", checkpoint, "--crops", *people.crops(1), "--output",
        folder / "S1.pkl",
    )  # fmt: skip


def fine_tune(people: People, folder: Path, checkpoint: Path, **changes: object) -> int:
    return run(
        "train-image-pose", "--config", write_config(people, folder, enc_dec=changes), "--index-train",
        people.paths.index("train"), "--index-val", people.paths.index("val"), "--crops", *people.crops(1, 8),
        "--enc-dec", checkpoint, "--output", folder / "tuned_1.pt",
    )  # fmt: skip


def said_in_words(capsys: pytest.CaptureFixture[str], *expected: str) -> None:
    """One message with what, where and how to mend it, and no traceback."""
    said = capsys.readouterr().err
    assert said.count("error: ") == 1, said
    assert "Traceback" not in said
    for words in (*expected, "where:", "to mend:"):
        assert words in said, said


@pytest.mark.parametrize("batches", ["ours", "gaggi2019", "rhodin2018"])
def test_nobody_seen_by_two_cameras_is_an_error_that_says_who_has_which(people, tmp_path, capsys, batches):
    index = read_index(people.paths.index("train"))
    keep = np.where(index.subject == 5, index.camera == 3, index.camera == 1)
    assert train_enc_dec(people, tmp_path, keep, batches=batches) == 2
    said_in_words(capsys, "No instant is seen by two cameras", "S1: camera 1; S5: camera 3")


def test_cameras_that_saw_other_instants_are_no_pair(people, tmp_path, capsys):
    index = read_index(people.paths.index("train"))
    keep = np.where(index.action == 2, index.camera == 1, index.camera == 2)
    assert train_enc_dec(people, tmp_path, keep) == 2
    said_in_words(capsys, "No instant is seen by two cameras", "S1: cameras 1, 2", "saw the same instants")


@pytest.mark.parametrize("batches", ["ours", "gaggi2019", "rhodin2018"])
def test_one_subject_with_one_camera_is_left_out_and_the_log_says_so(people, tmp_path, capsys, batches):
    index = read_index(people.paths.index("train"))
    keep = (index.subject == 1) | (index.camera == 2)
    assert train_enc_dec(people, tmp_path, keep, batches=batches) == 0
    assert "S5: no instant is seen by two cameras (camera 2)" in capsys.readouterr().err
    store = CropStore(people.crops(1, 5), index.key[keep])
    assert {key // 10**12 for key in keys_of(batches, store)} == {1}


@pytest.mark.parametrize("batches", ["ours", "gaggi2019", "rhodin2018"])
def test_of_an_act_that_one_camera_lacks_the_others_make_pairs(people, tmp_path, batches):
    index = read_index(people.paths.index("train"))
    keep = (index.action != 14) | (index.camera != 3)
    assert train_enc_dec(people, tmp_path, keep, batches=batches) == 0
    store = CropStore(people.crops(1, 5), index.key[keep])
    seen = {(key // 10**10 % 100, key % 100) for key in keys_of(batches, store)}
    assert seen == {(2, 1), (2, 2), (2, 3), (14, 1), (14, 2)}


def test_instants_of_one_camera_are_counted_in_the_log(people, tmp_path, capsys):
    index = read_index(people.paths.index("train"))
    keep = (index.action != 14) | (index.camera == 3)
    assert train_enc_dec(people, tmp_path, keep) == 0
    assert "S1: 3 of 6 instants are seen by one camera" in capsys.readouterr().err


def keys_of(batches: str, store: CropStore) -> set[int]:
    """Keys of the views that are encoded or painted, partners' too, in the first steps."""
    kind = {"ours": ViewPairs, "gaggi2019": MainsAndPartners, "rhodin2018": CameraGroups}[batches]
    stream = kind(store, batch_size=8, seed=0)
    found = [stream.rows(step)[: 2 if batches != "rhodin2018" else 1] for step in range(12)]
    return set(store.key[np.concatenate([np.concatenate(rows) for rows in found])].tolist())


def test_subjects_without_labels_are_named(people, tmp_path, capsys):
    found = read_embeddings(people.embeddings(5)[0])
    unlabelled = tmp_path / "S5.pkl"
    write_embeddings(
        unlabelled,
        replace(found, has_joints=np.zeros(len(found), bool), joints_im_mm=np.full_like(found.joints_im_mm, np.nan)),
    )
    embeddings = [*people.embeddings(1), unlabelled, *people.embeddings(8)]
    assert train_pose(people, tmp_path, embeddings, label_subjects=[1, 5]) == 2
    said_in_words(capsys, "no row with known joints of S5.", "pose.label_subjects")
    assert train_pose(people, tmp_path, embeddings) == 0, "S1 has labels, S5 needs none"


def of_encoder(people: People, folder: Path, subject: int, digest: str) -> Path:
    """The embeddings of a subject as another encoder would have made them."""
    path = folder / f"S{subject}.pkl"
    write_embeddings(path, replace(read_embeddings(people.embeddings(subject)[0]), checkpoint_digest=digest))
    return path


def test_embeddings_of_two_encoders_are_no_training_set(people, tmp_path, capsys):
    other = of_encoder(people, tmp_path, 5, "another")
    assert train_pose(people, tmp_path, [*people.embeddings(1), other, *people.embeddings(8)]) == 2
    said_in_words(capsys, "come from 2 encoders", "S5: another")


def test_embeddings_of_encoders_of_other_sizes_are_refused_alike(people, tmp_path, capsys):
    found, other = read_embeddings(people.embeddings(5)[0]), tmp_path / "S5.pkl"
    codes = {"L_3d": found.L_3d[:, 1:], "L_3d_mirrored": found.L_3d_mirrored[:, 1:]}
    write_embeddings(other, replace(found, **codes, checkpoint_digest="another"))
    assert train_pose(people, tmp_path, [*people.embeddings(1), other, *people.embeddings(8)]) == 2
    said_in_words(capsys, "come from 2 encoders", "S5: another")


@pytest.mark.parametrize(("mirror", "why"), [(0.5, "from which pose.mirror learns"), (0.0, "others do")])
def test_embeddings_without_mirrored_images_are_named(people, tmp_path, capsys, mirror, why):
    found, without = read_embeddings(people.embeddings(5)[0]), tmp_path / "S5.pkl"
    write_embeddings(without, replace(found, L_3d_mirrored=found.L_3d_mirrored[:, :0]))
    embeddings = [*people.embeddings(1), without, *people.embeddings(8)]
    assert train_pose(people, tmp_path, embeddings, mirror=mirror) == 2
    said_in_words(capsys, f"of S5 hold no L_3d of mirrored images, {why}", "embed.mirrored")


def test_a_pose_network_remembers_its_encoder(people, tmp_path):
    embeddings = [of_encoder(people, tmp_path, subject, "0123456789abcdef") for subject in (1, 5, 8)]
    assert train_pose(people, tmp_path, embeddings) == 0
    assert read_note(load_checkpoint(tmp_path / "model_1.pt").extra["encoder_digest"]) == "0123456789abcdef"


@pytest.fixture(scope="module")
def encoder(people: People, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the config's encoder-decoder."""
    path = tmp_path_factory.mktemp("encoder") / "model_1.pt"
    torch.manual_seed(0)
    net = EncoderDecoder(people.config.enc_dec, people.config.crops.size)
    save_checkpoint(
        path, modules=dict(net.named_children()), step=1, config=people.config.enc_dec, history=[],
        extra={"crop_size": torch.tensor(people.config.crops.size)},
    )  # fmt: skip
    return path


@pytest.mark.parametrize("command", [embed, fine_tune])
@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"latent_relu": True}, "latent_relu False, not True"),
        ({"normalisation": "imagenet"}, "normalisation plain, not imagenet"),
        ({"network": "gaggi2019", "encoder_widths": (64, 128, 256, 512), "encoder_blocks": (2, 2, 2, 2)},
         "network ours, not gaggi2019"),
        ({"points": 20}, f"points {POINTS}, not 20"),
        ({"encoder_widths": (8, 8, 16)}, "encoder_widths [8, 8, 8], not [8, 8, 16]"),
        ({"encoder_background": False}, "encoder_background True, not False"),
    ],
)  # fmt: skip
def test_the_encoder_of_another_preset_is_refused_with_what_differs(
    people, encoder, tmp_path, capsys, command, changes, difference
):
    """Also where every weight has the same shape, so that nothing but the result would be wrong."""
    assert command(people, tmp_path, encoder, **changes) == 2
    said_in_words(capsys, "another encoder-decoder than the config's", difference, str(encoder))
    assert not {"S1.pkl", "tuned_1.pt"} & {path.name for path in tmp_path.iterdir()}


def test_how_it_was_trained_makes_no_other_encoder(people, encoder, tmp_path):
    assert embed(people, tmp_path, encoder, steps=77, learning_rate=0.5, name="elsewhere") == 0
    assert read_embeddings(tmp_path / "S1.pkl").checkpoint_digest == file_digest(encoder)


def test_fine_tuning_asks_for_the_encoder_s_points_alone(people, encoder, tmp_path):
    """Neither the heads of a palette nor the decoder are a part of a network on images."""
    assert fine_tune(people, tmp_path, encoder, palette=3, decoder_widths=(8, 8, 16), decoder_blocks=2, steps=77) == 0
    tuned, learned = (load_checkpoint(path) for path in (tmp_path / "tuned_1.pt", encoder))
    names = [name for name in learned.model if name.startswith("encoder.") and name.endswith("running_mean")]
    assert names
    for name in names:  # statistics of a learned encoder stay
        assert torch.equal(tuned.model[f"net.{name}"], learned.model[name])


@pytest.mark.parametrize("command", [embed, fine_tune])
def test_a_checkpoint_of_another_stage_is_refused_by_name(people, tmp_path, capsys, command):
    path = tmp_path / "model_1.pt"
    net = PoseNet(people.config.pose, POINTS)
    save_checkpoint(path, modules={"pose": net}, step=1, config=people.config.pose, history=[], extra={})
    assert command(people, tmp_path, path) == 2
    said_in_words(capsys, "no encoder-decoder, but: pose", str(path), "train_enc_dec")


@pytest.mark.parametrize(("command", "where"), [(embed, "S1.h5"), (fine_tune, "model_1.pt")])
def test_an_encoder_of_other_crops_is_refused(people, encoder, tmp_path, capsys, command, where):
    found = torch.load(encoder, weights_only=True)
    found["extra"]["crop_size"] = torch.tensor(64)
    torch.save(found, tmp_path / "model_1.pt")
    assert command(people, tmp_path, tmp_path / "model_1.pt") == 2
    said_in_words(capsys, "trained on crops of 64 px, these have 32 px", where)


def test_crops_that_the_decoder_cannot_halve_are_refused(people, tmp_path, capsys):
    widths = [8] * 6
    assert train_enc_dec(people, tmp_path, decoder_widths=widths) == 2
    said_in_words(capsys, "crops of 32 px cannot be halved 6 times", "enc_dec.decoder_widths")


def test_an_appearance_too_long_for_a_papers_network_is_named(people, tmp_path, capsys):
    assert train_enc_dec(people, tmp_path, network="gaggi2019", appearance=600) == 2
    said_in_words(capsys, "enc_dec.appearance is 600; this network has room for 511", "key that it names")
