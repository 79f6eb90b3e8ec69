"""Which files the jobs of the label sweep take: by the point, the rival or the representation of the job. No rules here.

INPUTS: CONFIG and PATHS of common.smk, the weights of ImageNet where imagenet is swept
OUTPUTS: nothing
"""

import re

from codebase.config import (
    labels_of,
    point_digest,
    point_section,
    point_words,
    points,
)
from codebase.config.labels import STARTS
from codebase.errors import ConfigError
from codebase.provenance import weights_digest
from codebase.published import backbone_file, stage_weights


def without_suffix(path, folder):
    """What a wildcard holds of a checkpoint below a folder."""
    return str(path.relative_to(folder).with_suffix(""))


def one_of(names):
    """A wildcard's constraint: one of these; nothing where there is none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def require_settings():
    """The settings of every point are right, rivals do not meet in one folder, and ImageNet's weights are there."""
    for point in points(CONFIG):
        section = point_section(CONFIG, point)
        if point.representation == "imagenet":
            backbone_file(section)
    for name, rival in RIVALS.items():
        stage_weights(rival.config, "train_enc_dec", f"rivals.{name}.")
    names = [rival.config.enc_dec.name for rival in RIVALS.values()]
    ours = {getattr(CONFIG, network).name for network in NETWORKS}
    if len(set(names)) < len(names) or ours & set(names):
        raise ConfigError(
            f"Rivals share a name of enc_dec with each other or with a network of ours, so their files would meet: {', '.join(names)}.",
            where="rivals",
            mend="give each an enc_dec.name of its own",
        )


or_leave(require_settings)
SWEPT = {
    without_suffix(PATHS.point(point), PATHS.labels): point for point in points(CONFIG)
}
RIVAL_MODELS = {
    without_suffix(rival.checkpoint("enc_dec"), PATHS.root / "runs"): name
    for name, rival in RIVALS.items()
}
RIVAL_ENCODERS = {rival.config.enc_dec.name: name for name, rival in RIVALS.items()}


wildcard_constraints:
    rival_model=one_of(RIVAL_MODELS),
    encoder=one_of(RIVAL_ENCODERS),
    pose_point=one_of(name for name, point in SWEPT.items() if not point.of_images),
    image_point=one_of(name for name, point in SWEPT.items() if point.of_images),
    representation=one_of(CONFIG.labels.representations),


def config_of(name):
    """The config that jobs of a representation read."""
    return str(PATHS.rival_config(name) if name in RIVALS else PATHS.run_config)


def rival_of(wildcards):
    """The paths of the rival that a job's wildcard means."""
    model = getattr(wildcards, "rival_model", None)
    return RIVALS[RIVAL_MODELS[model] if model else RIVAL_ENCODERS[wildcards.encoder]]


def config_of_rival(wildcards):
    """The config of the rival of a job."""
    return run_config(wildcards) and config_of(
        next(name for name, rival in RIVALS.items() if rival is rival_of(wildcards))
    )


def section_of_rival(stage):
    """Digest of the rival's sections that the stage depends on, and of the published weights that they name."""

    def digest(wildcards):
        config = rival_of(wildcards).config
        return stage_digest(config, stage) + weights_digest(
            *stage_weights(config, stage)
        )

    return digest


def model_of_rival(wildcards):
    """The encoder-decoder of the rival of a job."""
    return rival_of(wildcards).checkpoint("enc_dec")


def sources_of_rival_embeddings(wildcards):
    """What a subject's embeddings by a rival were made from."""
    return [model_of_rival(wildcards), PATHS.crops(wildcards.subject)]


def point_of(wildcards):
    """The point of the sweep that a job trains."""
    return SWEPT[getattr(wildcards, "pose_point", None) or wildcards.image_point]


def config_of_point(wildcards):
    """The config that a point's job reads."""
    return run_config(wildcards) and config_of(point_of(wildcards).representation)


def words_of_point(wildcards):
    """What a point lays over its config, as the command line takes it."""
    return point_words(CONFIG, point_of(wildcards))


def digest_of_point(wildcards):
    """Digest of all settings of a point, and of the published weights that it begins with."""
    point = point_of(wildcards)
    imagenet = point.representation == "imagenet"
    weights = backbone_file(point_section(CONFIG, point)) if imagenet else None
    return point_digest(CONFIG, point) + weights_digest(weights)


def embeddings_of(representation, subjects):
    """The embeddings that a representation's networks read; none of one on images."""
    if representation in STARTS:
        return []
    return each(RIVALS.get(representation, PATHS).embeddings, subjects)


def gate_of_embeddings(representation, subjects):
    """Markers that these embeddings passed their check."""
    if representation not in RIVALS:
        return [] if representation in STARTS else gate("embeddings", subjects=subjects)
    encoder = RIVALS[representation].config.enc_dec.name
    return [PATHS.checked("rival_embeddings", f"{encoder}_S{s}") for s in subjects]


def embeddings_of_point(wildcards):
    """The embeddings that a point learns from."""
    return embeddings_of(point_of(wildcards).representation, TRAIN)


def gate_of_pose_point(wildcards):
    """Of these."""
    return gate_of_embeddings(point_of(wildcards).representation, TRAIN)


def people_of_point(wildcards):
    """The labelled people of a point, and those of validation: whose images its network sees."""
    labelled = labels_of(CONFIG, point_of(wildcards).amount)[0]
    return sorted({*labelled, *CONFIG.split.val.subjects})


def crops_of_point(wildcards):
    """Their crops."""
    return each(PATHS.crops, people_of_point(wildcards))


def first_encoder(wildcards):
    """The checkpoint that a point's encoder is taken from; none where it starts from other weights."""
    fine_tuned = point_of(wildcards).representation == "fine_tuned"
    return [PATHS.checkpoint("enc_dec")] if fine_tuned else []


def words_of_first_encoder(wildcards):
    """The option that names it."""
    return [
        word for path in first_encoder(wildcards) for word in ("--enc-dec", str(path))
    ]


def gate_of_image_point(wildcards):
    """Of the crops, and of the encoder where it is taken over."""
    fine_tuned = point_of(wildcards).representation == "fine_tuned"
    people = people_of_point(wildcards)
    return gate("crops", *["enc_dec"] * fine_tuned, subjects=people)


def points_of(wildcards):
    """The checkpoints of all points of a representation, in their order."""
    return [PATHS.point(point) for point in points(CONFIG, wildcards.representation)]


def crops_to_measure(wildcards):
    """The test subjects' crops, where the representation's networks read images."""
    return each(PATHS.crops, TEST) if wildcards.representation in STARTS else []


def embeddings_to_measure(wildcards):
    """The test subjects' embeddings, where its networks read these."""
    return embeddings_of(wildcards.representation, TEST)


def gate_of_measuring(wildcards):
    """Of the points, and of what they are measured on."""
    name = wildcards.representation
    crops = gate("crops", subjects=TEST) if name in STARTS else []
    return [PATHS.checked("labels", name), *crops, *gate_of_embeddings(name, TEST)]
