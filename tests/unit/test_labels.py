"""Which labels are learned from; the label sweep's amounts, points and rivals."""

import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.config import (
    EncDecConfig,
    Point,
    labels_of,
    point_digest,
    point_section,
    point_settings,
    point_words,
    points,
    read_config,
    rival_config,
)
from codebase.config.image_pose import ENCODER_KEYS
from codebase.config.learning import TrainConfig
from codebase.data.index import frame_key
from codebase.data.labels import extent, labelled, sequence_of, subject_of
from codebase.errors import ConfigError, DataError

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
