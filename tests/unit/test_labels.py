"""Which labels are learned from; the label sweep's amounts, points and rivals; and pose networks on images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.config import (
    Config,
    EncDecConfig,
    ImagePoseConfig,
    Point,
    image_network,
    labels_of,
    point_digest,
    point_section,
    point_settings,
    point_words,
    points,
    read_config,
    rival_config,
    validate_config,
)
from codebase.config.image_pose import ENCODER_KEYS
from codebase.config.learning import TrainConfig
from codebase.data.index import frame_key
from codebase.data.labels import extent, labelled, sequence_of, subject_of
from codebase.errors import ConfigError, DataError, UserError
from codebase.files import write_json
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.image_pose import ImagePose, restore, start_from_enc_dec, start_from_imagenet
from codebase.stages import label_sweep, measure_labels
from codebase.stages._label_figures import label_figures
from codebase.training import optim
from codebase.training.image_pose_lesson import augmented
from codebase.training.state import Checkpoint

MINI = REPOSITORY / "configs/mini.yaml"
SHARES = (0.01, 0.05, 0.1, 0.5, 1.0)


def keys(subjects=(1, 5, 6), acts=15, subacts=2, frames=20, cameras=4):
    """Keys of an index, sequences of unequal lengths among them."""
    found = [
        frame_key(s, a, b, c, f)
        for s in subjects
        for a in range(2, 2 + acts)
        for b in range(1, subacts + 1)
        for f in range(frames + 3 * (a % 4))
        for c in range(1, cameras + 1)
    ]
    return np.array(found, np.int64)


def chosen(key, share, seed=0, subjects=(1, 5, 6), known=None):
    known = np.ones(len(key), bool) if known is None else known
    return labelled(key, known, subjects=subjects, share=share, seed=seed, where="pose")


def test_a_key_says_its_subject_and_sequence():
    key = np.array([frame_key(11, 16, 2, 4, 123_456)], np.int64)
    assert subject_of(key).tolist() == [11]
    assert sequence_of(key).tolist() == [11_16_02]


@given(seed=st.integers(0, 2**31), order=st.integers(0, 2**31))
@settings(max_examples=20)
def test_shares_are_nested_of_whole_sequences_and_near_what_was_asked(seed, order):
    key = keys(frames=5)
    shuffled = np.random.default_rng(order).permutation(key)
    before = np.zeros(len(key), bool)
    for share in SHARES:
        mine = chosen(shuffled, share, seed)
        assert (before <= mine).all(), "a smaller share is no part of a larger one"
        sequences = np.unique(sequence_of(shuffled[mine]))
        assert mine.sum() == np.isin(sequence_of(shuffled), sequences).sum(), "a sequence was cut"
        longest = np.unique(sequence_of(key), return_counts=True)[1].max()
        assert abs(mine.sum() - share * len(key)) <= longest
        assert set(shuffled[mine]) == set(key[chosen(key, share, seed)]), "the order of rows changed the draw"
        before = mine
    assert before.all()


def test_another_seed_draws_others_and_one_sequence_is_the_least():
    key = keys()
    drawn = {tuple(np.unique(sequence_of(key[chosen(key, 0.05, seed)]))) for seed in range(8)}
    assert len(drawn) > 4
    assert extent(key[chosen(key, 1e-6)])[1] == 1


def test_only_known_poses_of_the_named_people_count():
    key = keys()
    known = sequence_of(key) % 100 == 1
    mine = chosen(key, 1.0, subjects=(1, 6), known=known)
    assert set(subject_of(key[mine])) == {1, 6}
    assert (mine <= known).all()


@pytest.mark.parametrize("subjects", [(1, 7), (7,)])
def test_a_person_without_labels_is_named(subjects):
    with pytest.raises(DataError, match="known joints of S7") as error:
        chosen(keys(), 1.0, subjects=subjects)
    assert "pose.label_subjects" in str(error.value)


def swept(*overrides):
    words = ["labels.representations=[embedding, fine_tuned, from_scratch]", "labels.subjects=[1, 5, 6, 7]"]
    return read_config(MINI, [*words, *overrides])


@pytest.mark.parametrize(
    ("amount", "subjects", "share"),
    [
        ("S1", (1,), 1.0),
        ("S1+S5+S6", (1, 5, 6), 1.0),
        ("all", (1, 5, 6, 7), 1.0),
        ("5%", (1, 5, 6, 7), 0.05),
        ("0.5%", (1, 5, 6, 7), 0.005),
    ],
)
def test_amounts_mean_people_or_shares(amount, subjects, share):
    config = swept(f'labels.amounts=["{amount}"]')
    assert labels_of(config, amount) == (subjects, pytest.approx(share))


def test_without_named_people_all_of_training_have_labels():
    config = read_config(MINI, ["labels.representations=[embedding]"])
    assert labels_of(config, "all")[0] == config.split.train.subjects


def test_points_have_folders_of_their_own_and_settings_that_the_stage_takes():
    config = swept("labels.settings={fine_tuned: {steps: 7, encoder_rate: 0.5}}")
    found = points(config)
    assert len(found) == len({point.name for point in found}) == 3 * 8 * 3
    assert all(set(point.name) <= set("abcdefghijklmnopqrstuvwxyzS0123456789_./") for point in found)
    tuned = next(point for point in found if point.representation == "fine_tuned" and point.amount == "10%")
    assert tuned.section == "image_pose"
    section = point_section(config, tuned)
    assert (section.start, section.steps, section.encoder_rate, section.label_share) == ("enc_dec", 7, 0.5, 0.1)
    again = read_config(MINI, point_words(config, tuned))
    assert again.image_pose == section, "the words of the command line say something else"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["labels.representations=[embedng]"], "did you mean 'embedding'"),
        (["labels.representations=[embedding, embedding]"], "twice"),
        (["labels.amounts=[S1+S1]"], "twice"),
        (["labels.amounts=['0%']"], "no share"),
        (["labels.amounts=['101%']"], "no share"),
        (["labels.amounts=['S1,S5']"], "no amount of labels"),
        (["labels.amounts=[S1+S13]"], "not in labels.subjects"),
        (["labels.subjects=[9]"], "not in split.train.subjects"),
        (["labels.seeds=[-1]"], "seed"),
        (["labels.settings={embedding: {seed: 3}}"], "sweep itself sets"),
        (["labels.settings={gaggi: {}}"], "no representation"),
        (["labels.settings={embedding: {gpus: 2}}"], "set it there"),
        (["rivals={embedding: {}}"], "is taken"),
        (["rivals={curve: {}}"], "is taken"),
        (["rivals={pa: {}}"], "is taken"),
        (["rivals={mean_pose: {}}"], "is taken"),
        (["rivals={Old: {}}"], "small letters, digits, _ and -"),
        (["pose.label_share=0"], "label_share"),
        (["image_pose.label_subjects=[9]"], "not in split.train.subjects"),
        (["image_pose.start=imagenet"], "backbone_weights must name"),
    ],
)
def test_a_wrong_sweep_is_refused_in_words(overrides, said):
    with pytest.raises(ConfigError, match=r"(?s).*") as error:
        swept(*overrides)
    assert said in str(error.value)


def test_a_rival_is_this_config_with_other_networks_beside_ours(tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("name: other\nsmpl: {steps: 3}\nenc_dec: {points: 33, steps: 5}\npose: {hidden: 9}\n")
    config = swept(
        f"rivals={{old: {{preset: {preset}, enc_dec: {{steps: 6}}}}}}", "enc_dec.gpus=2", "pose.label_subjects=[5]"
    )
    rival = rival_config(config, "old")
    assert (rival.enc_dec.points, rival.enc_dec.steps, rival.enc_dec.gpus, rival.pose.hidden) == (33, 6, 2, 9)
    assert rival.enc_dec.name != config.enc_dec.name
    assert rival.pose.name != config.pose.name
    assert (rival.name, rival.smpl, rival.embed) == (config.name, config.smpl, config.embed), "more was swapped"
    plain = rival_config(swept(f"rivals={{old: {{preset: {preset}, pose: {{mirror: 0.0}}}}}}"), "old")
    assert not plain.embed.mirrored, "nobody would read what takes half of the time"
    point = Point("old", "S1", 1)
    assert point_section(config, point).hidden == 9
    assert point_settings(config, point)["label_subjects"] == [1]


def test_a_point_that_lacks_mirrored_embeddings_is_refused_before_its_job():
    config = swept(
        "embed.mirrored=false", "pose.mirror=0", "smpl.mirror=0", "labels.settings={embedding: {mirror: 0.5}}"
    )
    with pytest.raises(ConfigError, match=r"embed\.mirrored") as error:
        point_section(config, Point("embedding", "S1", 0))
    assert "labels, embedding" in str(error.value)


def test_a_points_digest_heeds_what_it_depends_on_and_no_more():
    config = swept()
    scratch, frozen = Point("from_scratch", "S1", 0), Point("embedding", "S1", 0)
    for overrides, of_images, of_embeddings in [
        (["enc_dec.encoder_widths=[8, 8, 8, 8]"], True, False),
        (["enc_dec.steps=5"], False, False),
        (["enc_dec.decoder_widths=[8, 8]"], False, False),
        (["pose.hidden=7"], False, True),
        (["image_pose.flip=0.1"], True, False),
        (["pose.gpus=2", "image_pose.gpus=2"], False, False),
    ]:
        other = swept(*overrides)
        assert (point_digest(config, scratch) != point_digest(other, scratch)) == of_images, overrides
        assert (point_digest(config, frozen) != point_digest(other, frozen)) == of_embeddings, overrides


# What of enc_dec says how it is trained; the rest shapes its encoder, and so the networks on images.
TRAINING = {
    "name", "decay", "palette", "decoder_widths", "decoder_blocks", "batches", "rotation_deg", "swap_appearance",
    "colour_augmentation", "colour_spots", "foreground_weight", "background_weight", "mask_weight", "image_weight",
    "l1_share",
    "validation_pairs", "consistency_weight", "contrastive_weight", "views", "mirror", "pose_colours", "erase",
    "average_decay", "perceptual", "perceptual_weights", "perceptual_weight", "perceptual_norm", "ssim_weight",
    "edges_weight", "scales_weight", "encoder_weights",
}  # fmt: skip


def test_every_key_of_enc_dec_is_known_to_shape_its_encoder_or_not():
    own = set(EncDecConfig.model_fields) - set(TrainConfig.model_fields)
    assert own == set(ENCODER_KEYS) | TRAINING, "say in ENCODER_KEYS or here what a new key of enc_dec does"


# --- networks on images

ENC_DEC = EncDecConfig(
    points=6, appearance=4, palette=3, encoder_blocks=(1, 1), encoder_widths=(8, 16), decoder_widths=(16, 8)
)
SIZE = 16


def network(**settings):
    section = image_network(ImagePoseConfig(hidden=8, dropout=0.0, **settings), ENC_DEC)
    return section, ImagePose(section, SIZE)


def images(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, 3, SIZE, SIZE, generator=generator) for _ in range(2)]


def test_an_encoder_taken_over_sees_what_it_saw():
    torch.manual_seed(3)
    trained = EncoderDecoder(ENC_DEC, SIZE).eval()
    _, net = network(start="enc_dec")
    start_from_enc_dec(net, trained.encoder.state_dict())
    image, background = images()
    with torch.no_grad():
        expected = trained.encoder(image, background).points
        assert torch.equal(net.eval().encoder(image, background).points, expected)
    other = EncoderDecoder(ENC_DEC.model_copy(update={"points": 7}), SIZE)
    with pytest.raises(DataError, match="does not fit the encoder"):
        start_from_enc_dec(net, other.encoder.state_dict())


@pytest.mark.parametrize(("start", "frozen"), [("enc_dec", True), ("scratch", False)])
def test_statistics_of_a_learned_encoder_stay(start, frozen):
    _, net = network(start=start)
    net.train()
    before = {name: value.clone() for name, value in net.encoder.named_buffers() if "running" in name}
    net(*images())
    after = dict(net.encoder.named_buffers())
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items()) == frozen


def test_a_learned_encoder_has_a_rate_of_its_own():
    section, net = network(start="enc_dec", learning_rate=0.01)
    optimizer = optim.adam(section, net.encoder, net.pose, rates=(section.encoder_rate, 1.0))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in net.encoder.parameters()} == {0.1 * 0.01}
    assert {rates[id(p)] for p in net.pose.parameters()} == {0.01}


def test_a_checkpoint_says_what_its_network_is():
    section, net = network()
    back = restore(json.loads(section.model_dump_json()), net.state_dict(), SIZE)
    with torch.no_grad():
        assert torch.equal(back(*images()), net.eval()(*images()))
    with pytest.raises(DataError, match="does not fit"):
        restore(json.loads(section.model_dump_json()), net.state_dict(), 2 * SIZE)


def test_imagenet_never_begins_with_random_weights(tmp_path):
    section, net = network(start="imagenet", backbone_weights=tmp_path / "none.pth")
    with pytest.raises(UserError, match="does not exist") as error:
        start_from_imagenet(net, section)
    assert "image_pose.backbone_weights" in str(error.value)
    assert "none.pth" in str(error.value)
    torch.save({name: value + 1 for name, value in net.encoder.body.state_dict().items()}, tmp_path / "none.pth")
    said = start_from_imagenet(net, section)
    assert "none.pth" in said


def sample(count=6, seed=0):
    rng = np.random.default_rng(seed)
    pixels = {name: torch.from_numpy(rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)) for name in
              ("image", "background")}  # fmt: skip
    mask = torch.zeros(count, SIZE, SIZE, dtype=torch.uint8)
    mask[:, 4:12, 4:12] = 255
    joints = torch.from_numpy(rng.normal(size=(count, 17, 3)).astype(np.float32) * 100)
    return pixels | {"mask": mask, "has_mask": torch.ones(count, dtype=torch.bool), "joints_im_mm": joints}


def test_without_augmentation_a_batch_is_what_the_crops_hold():
    batch = sample()
    image, background, joints = augmented(batch, ImagePoseConfig(colour=0, background=0, flip=0, roll_rad=0))
    assert torch.equal(image.permute(0, 2, 3, 1) * 255, batch["image"].float())
    assert torch.equal(background.permute(0, 2, 3, 1) * 255, batch["background"].float())
    assert torch.equal(joints, batch["joints_im_mm"])


def test_where_nobody_is_image_and_background_change_alike():
    """The empty scene that the encoder is shown stays that of the image, whatever colours or wall it got."""
    batch = sample()
    batch["background"][:, 0] = batch["image"][:, 0]  # a row that shows the room in both
    torch.manual_seed(0)
    image, background, _ = augmented(batch, ImagePoseConfig(colour=1.0, background=1.0, flip=0.5, roll_rad=0))
    outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    outside[4:12, 4:12] = False
    assert torch.allclose(image[:, :, outside], background[:, :, outside], atol=1e-6)
    torch.manual_seed(0)
    image, background, _ = augmented(batch, ImagePoseConfig(colour=1.0, background=0.0, flip=0.0, roll_rad=0))
    assert torch.allclose(image[:, :, 0], background[:, :, 0], atol=1e-6)
    assert (image[:, :, 8] - background[:, :, 8]).abs().mean() > 0.05


def test_spots_change_people_alone():
    batch = sample()
    torch.manual_seed(0)
    only_spots = ImagePoseConfig(colour=0, colour_spots=4, background=0, flip=0, roll_rad=0)
    image, background, _ = augmented(batch, only_spots)
    changed = (image.permute(0, 2, 3, 1) * 255 - batch["image"]).abs().amax(dim=3) > 0.5
    assert changed[batch["mask"] > 0].float().mean() > 0.02
    assert not changed[batch["mask"] == 0].any()
    torch.testing.assert_close(background.permute(0, 2, 3, 1) * 255, batch["background"].float())


def test_a_mirrored_image_has_a_mirrored_pose():
    batch = sample()
    image, _, joints = augmented(batch, ImagePoseConfig(colour=0, background=0, flip=1.0, roll_rad=0))
    assert torch.equal(image.flip(-1).permute(0, 2, 3, 1) * 255, batch["image"].float())
    assert torch.allclose(joints[..., 0].sum(dim=1), -batch["joints_im_mm"][..., 0].sum(dim=1), atol=1e-3)
    assert torch.equal(joints[:, 0, 1:], batch["joints_im_mm"][:, 0, 1:])


# --- the curve


def measured(config, representation, level):
    """A file of measure_labels whose errors are known: level + seed in the first sequence, 10 more in the second."""
    found = [
        {"amount": p.amount, "seed": p.seed, "labelled_frames": 40, "labelled_sequences": 2}
        | {f"{name}mpjpe_mm": [level + p.seed, level + 10.0 + p.seed] for name in ("", "n_", "pa_")}
        for p in points(config, representation)
    ]
    head = {"format": "posemill.labels", "version": 1, "representation": representation, "points": found}
    return head | {"sequences": ["S9/act_02_subact_01", "S9/act_03_subact_01"], "frames": [30, 10]}


def curve_of(tmp_path, config, **levels):
    files = []
    for name, level in levels.items():
        write_json(tmp_path / f"{name}.json", measured(config, name, level))
        files.append(tmp_path / f"{name}.json")
    label_sweep.run(config, measured=files, output=tmp_path / "curve.json", picture=tmp_path / "curve.png")
    return json.loads((tmp_path / "curve.json").read_text())


def test_the_curve_is_the_mean_over_frames_and_seeds_with_intervals_over_sequences(tmp_path):
    config = swept("labels.amounts=[S1, all]", "labels.seeds=[0, 1, 2]", "pose.label_subjects=[1]")
    curve = curve_of(tmp_path, config, embedding=100.0, from_scratch=150.0)
    figure = curve["representations"]["embedding"]["S1"]["n_mpjpe_mm"]
    # (30 * 100 + 10 * 110) / 40 = 102.5, seeds 0, 1, 2
    assert figure["seeds"] == pytest.approx([102.5, 103.5, 104.5])
    assert figure["mean"] == pytest.approx(103.5)
    # both sequences drawn alike: the worst and the best are one of them twice
    assert (figure["ci95_low"], figure["ci95_high"]) == pytest.approx((101.0, 111.0))
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    figures = label_figures(config, [tmp_path / "curve.json"])
    assert figures["pose/from_scratch_n_mpjpe_mm"] == pytest.approx(153.5)
    assert figures["pose/embedding_n_mpjpe_mm_ci95_low"] == pytest.approx(101.0)
    unlike = swept("labels.amounts=[S1, all]", "pose.label_subjects=[1, 5]")
    assert label_figures(unlike, [tmp_path / "curve.json"]) == {}, "figures of other labels than the run's own"
    assert label_figures(config, []) == {}


def test_measures_on_other_people_are_no_curve(tmp_path):
    config = swept("labels.amounts=[S1]", "labels.seeds=[0]")
    other = measured(config, "from_scratch", 1.0) | {"frames": [30, 11]}
    write_json(tmp_path / "a.json", measured(config, "embedding", 1.0))
    write_json(tmp_path / "b.json", other)
    with pytest.raises(DataError, match="other test sequences"):
        label_sweep.run(
            config, measured=[tmp_path / "a.json", tmp_path / "b.json"], output=tmp_path / "c.json",
            picture=tmp_path / "c.png",
        )  # fmt: skip
    with pytest.raises(DataError, match="no curve"):
        label_figures(config, [tmp_path / "a.json"])


def test_a_checkpoint_of_another_point_is_not_measured():
    config = swept("labels.amounts=[S1]", "labels.seeds=[0]")
    point = Point("fine_tuned", "S1", 0)
    own = json.loads(point_section(config, point).model_dump_json())
    measure_labels._require_point(config, point, Checkpoint({}, 1, own, [], {}), Path("m.pt"))
    for other in ({"start": "scratch"}, {"seed": 1}, {"label_subjects": [5]}, {"label_share": 0.5}):
        with pytest.raises(DataError, match=f"trained with {next(iter(other))}"):
            measure_labels._require_point(config, point, Checkpoint({}, 1, own | other, [], {}), Path("m.pt"))


def test_without_draws_the_curve_has_no_intervals(tmp_path):
    config = swept("labels.amounts=[S1]", "labels.seeds=[0]", "evaluate.bootstrap=0")
    figure = curve_of(tmp_path, config, embedding=100.0)["representations"]["embedding"]["S1"]["n_mpjpe_mm"]
    assert set(figure) == {"mean", "seeds"}


def test_measures_of_other_points_are_no_curve(tmp_path):
    write_json(tmp_path / "a.json", measured(swept("labels.amounts=[S1]"), "embedding", 1.0))
    with pytest.raises(DataError, match="other amounts or seeds"):
        label_sweep.run(
            swept("labels.amounts=[S1, all]"), measured=[tmp_path / "a.json"], output=tmp_path / "c.json",
            picture=tmp_path / "c.png",
        )  # fmt: skip


def test_a_config_with_a_sweep_reads_back(tmp_path):
    config = swept("rivals={old: {enc_dec: {points: 3}}}", "labels.settings={embedding: {steps: 3}}")
    data = json.loads(config.model_dump_json())
    assert validate_config(Config, data, where=Path("x")) == config
